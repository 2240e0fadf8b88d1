"""LSF: bsub, bjobs, bkill; and what OpenLava has in common with it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from batchwright.clusters.base import BatchState, Completed, SubmitResult
from batchwright.clusters.scheduler import (
    FS_LATENCY,
    SCHEDULER_LATENCY,
    Scheduler,
    by_name,
    failed,
    says,
    unclear,
    words,
)
from batchwright.errors import SchedulerError

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

TEMPORARY: Final = (
    "Pending job threshold reached",
    "does not have enough job slots",
    "has reached its job limit",
    "has reached its pending job limit",
    "Connection refused by server",
    "daemon not responding",
    "not responding ... still trying",
)
DOUBTFUL: Final = ("Communication timeout", "Communication time out", "Failed in an LSF library")
_ID: Final = re.compile(r"Job <(\d+)> is submitted to ")
_NONE: Final = re.compile(r"No (?:unfinished |pending |running |DONE/EXIT )?job found")
_ROW: Final = re.compile(r"(\d+)\s+(\S+)\s+([A-Z]+)\s+(.*)")
_NAME: Final = re.compile(r"(?<=\s)(b[a-z2-7]{14})(?:\[(\d+)\])?(?=\s)")
_QUEUED: Final = frozenset({"PEND", "PSUSP", "WAIT"})
_ENDED: Final = frozenset({"DONE", "EXIT"})
_GONE: Final = re.compile(
    r"is being (?:terminated|signaled)|already finished|No matching job found|is not found"
    r"|Operation is in progress"
)


class LSF(Scheduler):
    """LSF, version 9 or later.

    Parameters
    ----------
    template
        Name or path of the template.
    array_jobs
        Whether the site allows arrays.
    nodename
        The host on which to call its commands, by ssh if it is not this one.
    scheduler_latency
        Seconds until it lists what was submitted.
    fs_latency
        Seconds until files of the nodes are seen here.

    Examples
    --------
    >>> LSF(array_jobs=False)
    LSF(array_jobs=False)
    """

    name = "LSF"
    array_var = "LSB_JOBINDEX"
    # `%J` and `%I` in the path of a log are the numbers of job and task.
    bad_in_paths: ClassVar[str] = "%"
    # Without the first, bsub waits for ever where it could say no.
    environment: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"LSB_NTRIES": "1", "LSB_BJOBS_CONSISTENT_EXIT_CODE": "Y"}
    )
    has_description: ClassVar[bool] = True

    def __init__(
        self,
        template: str | os.PathLike[str] = "lsf",
        array_jobs: bool = True,
        nodename: str = "localhost",
        *,
        scheduler_latency: float = SCHEDULER_LATENCY,
        fs_latency: float = FS_LATENCY,
        hooks: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        super().__init__(template, array_jobs, nodename, scheduler_latency, fs_latency, hooks)

    def submit_command(self, reg: Registry, jc: JobCollection) -> list[str]:
        """Give the command that takes the script by standard input."""
        return submit_command(jc, describe=self.has_description)

    def parse_submit(self, done: Completed, tasks: int) -> SubmitResult:
        """Read bsub's answer."""
        return parse_submit(done, tasks)

    def kill_command(self, batch_ids: Sequence[str]) -> list[str]:
        """Give the command that stops jobs."""
        return ["bkill", *batch_ids]

    def check_kill(self, done: Completed) -> None:
        """Raise unless bkill says of each job that it goes, or is gone."""
        lines = [line for line in words(done).splitlines() if line.strip()]
        if done.exit_code != 0 and not (lines and all(_GONE.search(line) for line in lines)):
            raise failed(done)

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List our jobs in one call."""
        return parse_listing(self.run(["bjobs", "-w"]))

    def marked(self, reg: Registry, chunks: Sequence[str]) -> Mapping[str, str]:
        """Find jobs by name, ended ones too as long as they are remembered."""
        return by_name(parse_names(self.run(["bjobs", "-a", "-w"])), chunks)

    def claimed_ids(self, said: Mapping[str, str], tasks: int) -> Sequence[str]:
        """Give the batch ids by what the executor was told."""
        number, task = said.get("LSB_JOBID"), said.get("LSB_JOBINDEX", "0")
        if number is None:
            return []
        if tasks:
            return task_ids(number, tasks)
        return [number if task in ("0", "") else f"{number}[{task}]"]

    def account(self, reg: Registry, gone: Mapping[str, bool]) -> Mapping[str, str | None]:
        """Ask what became of jobs that are still remembered."""
        fields = "jobid jobindex stat exit_code exit_reason delimiter='|'"
        command = ["bjobs", "-a", "-noheader", "-o", fields, *sorted(gone)]
        return parse_account(self.run(command), gone)


def submit_command(jc: JobCollection, *, describe: bool) -> list[str]:
    """Give bsub's command line; what stands on it beats the script."""
    log, name = str(jc.log_file), jc.short_name
    if jc.array_jobs:
        log = f"{log.removesuffix('.out')}.%I.out"
        limit = jc.resources.get("max_concurrent_jobs")
        name = f"{name}[1-{jc.array_jobs}]{f'%{limit}' if limit else ''}"
    command = ["bsub", "-J", name, "-o", log]
    if describe:
        command += ["-Jd", f"bw:{jc.job_hash}", "-cwd", str(jc.work_dir)]
    if "dependency" in jc.resources:
        command += ["-w", str(jc.resources["dependency"])]
    return command


def parse_submit(done: Completed, tasks: int) -> SubmitResult:
    """Read bsub's answer.

    Examples
    --------
    >>> said = "Job <3> is submitted to default queue <normal>."
    >>> parse_submit(Completed(("bsub",), 0, said, ""), 2).batch_ids
    ['3[1]', '3[2]']
    """
    found = _ID.search(words(done))
    if done.exit_code == 0 and found:
        return SubmitResult(0, task_ids(found[1], tasks) if tasks else [found[1]])
    if done.exit_code == 0 or found:
        raise unclear(done)
    if says(done, TEMPORARY):
        return SubmitResult.from_failure(done, 1)
    if says(done, DOUBTFUL):
        raise failed(done)
    return SubmitResult.from_failure(done)


def task_ids(number: str, tasks: int) -> list[str]:
    """Give the names of the tasks of an array."""
    return [f"{number}[{task}]" for task in range(1, tasks + 1)]


def rows_of(done: Completed) -> list[tuple[str, str, str, str]]:
    """Read number, task (empty without), state and our name of each row of bjobs' wide table.

    Names of others may hold anything, ours are found by their form.
    """
    if done.exit_code != 0 or not done.stdout.strip():
        if _NONE.search(words(done)):
            return []
        if done.exit_code != 0:
            raise failed(done)
    rows: list[tuple[str, str, str, str]] = []
    for line in done.stdout.splitlines():
        if not line.strip() or line.startswith("JOBID"):
            continue
        row = _ROW.fullmatch(line.rstrip())
        if row is None:
            raise SchedulerError(f"bjobs gave a row that cannot be understood: {line!r}")
        ours = _NAME.search(f"{row[4]} ")
        rows.append((row[1], (ours[2] or "") if ours else "", row[3], ours[1] if ours else ""))
    return rows


def parse_listing(done: Completed) -> dict[str, BatchState]:
    """Read who waits and runs."""
    listing: dict[str, BatchState] = {}
    for number, task, state, _ in rows_of(done):
        if state not in _ENDED:
            word = "queued" if state in _QUEUED else "running"
            reason = state if state not in ("PEND", "RUN") else ""
            listing[f"{number}[{task}]" if task else number] = BatchState(word, reason)
    return listing


def parse_names(done: Completed) -> list[tuple[str, str]]:
    """Read numbers and our names."""
    return [(number, name) for number, _, _, name in rows_of(done) if name]


def parse_account(done: Completed, gone: Mapping[str, bool]) -> dict[str, str | None]:
    """Read how jobs ended; those forgotten are left out."""
    found: dict[str, str | None] = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split("|", 4)]
        if len(cells) < 5:
            continue
        number, task, state, code, reason = cells
        batch = number if task in ("0", "-", "") else f"{number}[{task}]"
        if batch not in gone:
            continue
        began = gone[batch]
        if state not in _ENDED:
            found[batch] = None
        elif state == "DONE":
            found[batch] = "storage" if began else "not_started"
        else:
            found[batch] = cause_of(code, reason, began=began)
    return found


def cause_of(code: str, reason: str, *, began: bool) -> str:
    """Give the cause by exit code and LSF's reason."""
    causes = {
        "TERM_RUNLIMIT": "walltime",
        "TERM_MEMLIMIT": "oom",
        "TERM_SWAP": "oom",
        "TERM_PREEMPT": "preempted",
        "TERM_OWNER": "killed",
        "TERM_ADMIN": "killed",
        "TERM_FORCE_OWNER": "killed",
        "TERM_FORCE_ADMIN": "killed",
        "TERM_LOAD": "preempted",
    }
    for word, cause in causes.items():
        if word in reason:
            return cause
    if code in ("140", "130"):
        return "walltime" if code == "140" else "killed"
    return "crashed" if began else "setup"
