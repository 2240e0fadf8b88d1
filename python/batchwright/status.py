"""Where jobs stand: counts of states, and the jobs in one state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from batchwright.ids import IdsLike, JobIds, selected

if TYPE_CHECKING:
    from batchwright._core import State
    from batchwright.registry import Registry

Cause: TypeAlias = Literal[
    "error",
    "crashed",
    "oom",
    "timeout",
    "walltime",
    "stopped",
    "killed",
    "preempted",
    "node",
    "lost",
    "not_started",
    "storage",
    "setup",
]
"""Why a job failed or expired."""

CAUSES: Final[tuple[str, ...]] = get_args(Cause)

_LINES: Final = (
    ("Submitted", "submitted"),
    ("-- Queued", "queued"),
    ("-- Started", "started"),
    ("---- Running", "running"),
    ("---- Done", "done"),
    ("---- Error", "error"),
    ("---- Expired", "expired"),
)


@dataclass(frozen=True)
class Status:
    """How many jobs are in which state.

    A job counts in every state it reached: one that is done was submitted and started, too.
    `system` is what the backend has, queued or running.
    """

    defined: int
    submitted: int
    queued: int
    started: int
    running: int
    done: int
    error: int
    expired: int
    system: int

    def __post_init__(self) -> None:
        # The counts are the value; when they were taken is for the reader of a printed one.
        object.__setattr__(self, "_taken", datetime.now().astimezone())

    def __str__(self) -> str:
        lines = [f"  {name:<13}: {self._counted(field)}" for name, field in _LINES]
        return "\n".join([f"{self._title()}:", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{name.lstrip('- ')}</td>"
            f"<td>{getattr(self, field)}</td><td>{self._percent(field):.1f} %</td></tr>"
            for name, field in _LINES
        )
        return f"<table><caption>{self._title()}</caption><tbody>{rows}</tbody></table>"

    def _title(self) -> str:
        taken: datetime = self.__dict__["_taken"]
        jobs = "job" if self.defined == 1 else "jobs"
        return f"Status for {self.defined} {jobs} at {taken:%Y-%m-%d %H:%M:%S}"

    def _counted(self, field: str) -> str:
        width = len(str(self.defined))
        return f"{getattr(self, field):>{width}} ({self._percent(field):5.1f}%)"

    def _percent(self, field: str) -> float:
        return 100 * getattr(self, field) / self.defined if self.defined else 0.0


def get_status(reg: Registry, ids: IdsLike = None) -> Status:
    """Count jobs by state.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; all by default.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2, -3])
    >>> reg.get_status().defined
    3
    """
    chosen = _restriction(reg, ids)
    return Status(**reg.store.core.counts(None if chosen is None else chosen.core))


def find_submitted(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that were submitted, whatever became of them.

    Parameters
    ----------
    reg
        The registry.
    ids
        Among which jobs; all by default.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2, -3])
    >>> reg.find_submitted(), reg.find_not_submitted(ids[1:])
    (JobIds(0 jobs), JobIds(2 jobs: 2–3))
    """
    return _where(reg, "submitted", ids)


def find_not_submitted(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that are not submitted. See `find_submitted` for the parameters."""
    return _where(reg, "not_submitted", ids)


def find_started(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that began to run. See `find_submitted` for the parameters."""
    return _where(reg, "started", ids)


def find_not_started(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that never began to run. See `find_submitted` for the parameters."""
    return _where(reg, "not_started", ids)


def find_done(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that have a result. See `find_submitted` for the parameters."""
    return _where(reg, "done", ids)


def find_not_done(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs without a result, failed ones too. See `find_submitted` for the parameters."""
    return _where(reg, "not_done", ids)


def find_on_system(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that wait or run on the backend. See `find_submitted` for the parameters."""
    return _where(reg, "on_system", ids)


def find_running(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that run now. See `find_submitted` for the parameters."""
    return _where(reg, "running", ids)


def find_queued(reg: Registry, ids: IdsLike = None) -> JobIds:
    """Find jobs that wait on the backend. See `find_submitted` for the parameters."""
    return _where(reg, "queued", ids)


def find_errors(reg: Registry, ids: IdsLike = None, *, cause: Cause | None = None) -> JobIds:
    """Find jobs that failed.

    Parameters
    ----------
    reg
        The registry.
    ids
        Among which jobs; all by default.
    cause
        Only those that failed for this reason, as in the column `cause` of the job table.
    """
    return _where(reg, "error", ids, cause)


def find_expired(reg: Registry, ids: IdsLike = None, *, cause: Cause | None = None) -> JobIds:
    """Find jobs that were submitted, did not end and are gone. See `find_errors`."""
    return _where(reg, "expired", ids, cause)


def _where(reg: Registry, state: State, ids: IdsLike, cause: str | None = None) -> JobIds:
    if cause is not None and cause not in CAUSES:
        raise ValueError(f"cause {cause!r} is unknown; it is one of {', '.join(CAUSES)}")
    chosen = _restriction(reg, ids)
    core = None if chosen is None else chosen.core
    return JobIds(reg.store.core.where(state, core, cause))


def _restriction(reg: Registry, ids: IdsLike) -> JobIds | None:
    """Look at the system, then resolve ids; None stays None, which spares a set of all."""
    reg.store.update()
    return None if ids is None else selected(reg.store, ids, JobIds)
