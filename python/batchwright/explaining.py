"""Why a job is in its state: what run files, queue, accounting and logs say, and what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from batchwright.clusters.base import as_listing
from batchwright.errors import BatchwrightError, OwnershipLostError
from batchwright.ids import IdsLike, single

if TYPE_CHECKING:
    from batchwright.registry import Registry

_LAST_LINES: Final = 20
_TAIL: Final = 8192
_ADVICE: Final = {
    "error": "Its function raised: see `get_error_messages` and `get_log`, try it by `test_job`.",
    "crashed": "Its process died: see `get_log`; `test_job(external=True)` runs it here.",
    "oom": "It took more memory than it had: `retry_jobs` asks for more.",
    "timeout": "It ran longer than its own `timeout`: raise that resource.",
    "walltime": "Its chunk ran out of time: `retry_jobs` asks for more, or make chunks smaller.",
    "stopped": "It was told to stop from outside: submit it again.",
    "killed": "It was killed: submit it again if that was a mistake.",
    "preempted": "Others had precedence: `retry_jobs`.",
    "node": "Its node failed: `retry_jobs`.",
    "lost": "There is no sign of it any more: `retry_jobs`; see the log of the scheduler.",
    "not_started": "It never began: `retry_jobs`; see the log of the scheduler.",
    "storage": "Its records did not survive: see `doctor`, and disk space and quota.",
    "setup": "It could not begin: the versions, modules, folders or the launch command are wrong.",
}
_STATES: Final = {
    "defined": "Submit it by `submit_jobs`.",
    "submitted": "It waits: for the scheduler, or for jobs of its chunk that come first.",
    "queued": "It waits for the scheduler, whose reason stands above if it gives one.",
    "running": "Wait for it by `wait_for_jobs`, or stop it by `kill_jobs`.",
    "done": "Its result is there: `load_result`.",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that is known of a job."""

    source: str
    """`registry`, `run`, `queue`, `accounting` or `log`."""
    observed: datetime | None
    """When that was so."""
    age: float | None
    """Seconds since then."""
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is in its state."""

    job_id: int
    state: str
    cause: str | None
    evidence: tuple[Evidence, ...]
    advice: str

    def __str__(self) -> str:
        cause = f" ({self.cause})" if self.cause else ""
        lines = [f"Job {self.job_id} is {self.state}{cause}"]
        for item in self.evidence:
            age = "" if item.age is None else f" {item.age:.0f} s ago"
            first, *more = item.text.splitlines() or [""]
            lines.append(f"  {item.source}{age}: {first}")
            lines += [f"    {line}" for line in more]
        return "\n".join([*lines, f"  {self.advice}"])

    __repr__ = __str__


def explain(reg: Registry, id: IdsLike) -> Explanation:
    """Tell why a job is in its state.

    Parameters
    ----------
    id
        The job.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1])
    >>> print(reg.explain(1))
    Job 1 is defined
      registry: it was never submitted
      Submit it by `submit_jobs`.
    """
    from batchwright.tables import get_job_status

    job = single(reg.store, id)
    row: dict[str, Any] = get_job_status(reg, job).to_pylist()[0]
    state, cause = row["state"], row["cause"]
    advice = _ADVICE.get(cause or "", _STATES.get(state, ""))
    return Explanation(job, state, cause, tuple(_evidence(reg, job, row)), advice)


def _evidence(reg: Registry, job: int, row: dict[str, Any]) -> Iterator[Evidence]:
    found = reg.store.core.chunk_of(job)
    if found is None:
        yield Evidence("registry", None, None, "it was never submitted")
        return
    chunk, batch, identity = found
    yield _submission(row, chunk, batch, identity)
    yield from _runs(reg, chunk, row)
    yield from _other_ends(reg, job)
    is_open = row["state"] in ("submitted", "queued", "running")
    if batch and identity == reg.cluster_functions.identity:
        yield from _system(reg, batch, row, is_open=is_open)
    elif is_open:
        yield Evidence("queue", None, None, _unknown(reg, batch, identity))
    yield from _log(reg.store.outputs_of([batch]).get(batch, reg.store.output_path(chunk)))


def _submission(row: dict[str, Any], chunk: str, batch: str, identity: str) -> Evidence:
    named = f"as `{batch}`" if batch else "and its batch id is not known"
    text = f"attempt {row['attempt']} was submitted to {identity} {named}, in chunk {chunk}"
    return _at("registry", row["submitted"], text)


def _unknown(reg: Registry, batch: str, identity: str) -> str:
    if not batch:
        return "it is not settled yet whether the scheduler accepted it"
    mine = reg.cluster_functions.identity
    return f"it was submitted to {identity}, and these cluster functions are {mine}"


def _runs(reg: Registry, chunk: str, row: dict[str, Any]) -> Iterator[Evidence]:
    if row["started"] is not None:
        yield _at("run", row["started"], f"it began on {row['host']}")
    if row["error"]:
        yield _at("run", row["done"], f"it ended: {row['error']}")
    elif row["done"] is not None:
        yield _at("run", row["done"], "it ended")
    newest = _newest(reg.file_dir / "runs" / chunk[:2], chunk)
    if newest is None:
        yield Evidence("run", None, None, "no executor has claimed its chunk")
    else:
        moment = datetime.fromtimestamp(newest, UTC)
        yield _at("run", moment, "the last sign of its chunk's executor")


def _other_ends(reg: Registry, job: int) -> Iterator[Evidence]:
    """Tell of runs that were not the only one, or that ended before their jobs did."""
    try:
        told: list[dict[str, Any]] = [json.loads(run) for run in reg.store.core.runs_of(job)]
    except (BatchwrightError, OSError):
        return
    for run in told:
        closed: dict[str, Any] = run["closed"] or {}
        if run["void"]:
            at, text = run["void"]["at"], f"taken back: {run['void']['reason']}"
        elif closed.get("cause"):
            at, text = closed["at"], f"{_where(run)} ended early: {closed['message']}"
        elif len(told) > 1 and closed:
            at, text = closed["at"], f"{_where(run)} ended"
        elif len(told) > 1 and run["claim"]:
            at, text = run["claim"]["at"], f"{_where(run)} began"
        else:
            continue
        yield _at("run", datetime.fromtimestamp(at / 1e6, UTC), f"run {run['run'] + 1} {text}")


def _where(run: dict[str, Any]) -> str:
    claim: dict[str, Any] = run["claim"] or {"host": "an unknown host", "scheduler": {}}
    node = claim["scheduler"].get("SLURM_JOB_NODELIST", claim["host"])
    return f"on {claim['host']}" + (f" ({node})" if node != claim["host"] else "")


def _newest(folder: Path, chunk: str) -> float | None:
    try:
        return max((path.stat().st_mtime for path in folder.glob(f"{chunk}.*.bwj")), default=None)
    except OSError:
        return None


def _system(reg: Registry, batch: str, row: dict[str, Any], *, is_open: bool) -> Iterator[Evidence]:
    backend = reg.cluster_functions
    now = datetime.now(UTC)
    try:
        if is_open:
            listing = as_listing(backend.list_jobs(reg))
            if listing is None:
                yield Evidence("queue", None, None, f"{backend.name} cannot list jobs")
            elif batch in listing:
                state = listing[batch]
                reason = f": {state.reason}" if state.reason else ""
                yield Evidence("queue", now, 0.0, f"`{batch}` is {state.state}{reason}")
            else:
                yield Evidence("queue", now, 0.0, f"`{batch}` is not listed")
        ended = row["state"] in ("done", "error")  # its own record knows better
        known: Mapping[str, str | None] = {}
        if not ended:
            known = backend.account(reg, {batch: row["started"] is not None})
        if batch in known:
            text = known[batch] or "it is still on its way"
            yield Evidence("accounting", now, 0.0, text)
    except OwnershipLostError:
        raise
    except Exception as error:
        yield Evidence("queue", now, 0.0, f"{backend.name} does not answer: {error}")


def _log(path: Path) -> Iterator[Evidence]:
    try:
        status = path.stat()
        with path.open("rb") as file:
            file.seek(max(0, status.st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()[-_LAST_LINES:]
    except OSError:
        return
    if lines:
        yield _at("log", datetime.fromtimestamp(status.st_mtime, UTC), "\n".join(lines))


def _at(source: str, moment: datetime | None, text: str) -> Evidence:
    if moment is None:
        return Evidence(source, None, None, text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Evidence(source, moment, max(0.0, time.time() - moment.timestamp()), text)
