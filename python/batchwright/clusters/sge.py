"""Grid Engine: qsub, qstat, qdel, qacct."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final
from xml.etree import ElementTree

from batchwright.clusters.base import BatchState, Completed, SubmitResult
from batchwright.clusters.scheduler import (
    FS_LATENCY,
    SCHEDULER_LATENCY,
    Scheduler,
    by_name,
    failed,
    job_name,
    says,
    unclear,
    words,
)
from batchwright.errors import SchedulerError

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

# qsub's exit code for a limit on the number of jobs.
_TOO_MANY: Final = 25
TEMPORARY: Final = ("Connection refused", "jobs are allowed per")
DOUBTFUL: Final = ("commlib error", "unable to send message to qmaster", "failed receiving gdi")
_ID: Final = re.compile(r"^(\d+)(?:\.\d+-\d+:\d+)?$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"^Your job(?:-array)? (\d+)", re.MULTILINE)
_GONE: Final = re.compile(
    r"has (?:deleted|registered)|does not exist|is already in deletion|do(?:es)? not exist"
)
# Of qacct's `failed`: the reasons that are neither the job's nor the user's.
_NODE: Final = frozenset({"21", "22", "24", "25", "26"})
_WALLTIME: Final = frozenset({"37"})
_SIGNALLED: Final = frozenset({"100"})


class SGE(Scheduler):
    """Grid Engine: Son of Grid Engine, Univa, Altair, and their ancestors.

    Parameters
    ----------
    template
        Name or path of the template.
    nodename
        The host on which to call its commands, by ssh if it is not this one.
    array_jobs
        Whether the site allows arrays.
    scheduler_latency
        Seconds until it lists what was submitted.
    fs_latency
        Seconds until files of the nodes are seen here.

    Examples
    --------
    >>> SGE("sge", nodename="login1")
    SGE(template='sge', nodename='login1')
    """

    name = "SGE"
    array_var = "SGE_TASK_ID"
    bad_in_paths: ClassVar[str] = ":$,"

    def __init__(
        self,
        template: str | os.PathLike[str] = "sge",
        nodename: str = "localhost",
        *,
        array_jobs: bool = True,
        scheduler_latency: float = SCHEDULER_LATENCY,
        fs_latency: float = FS_LATENCY,
        hooks: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        super().__init__(template, array_jobs, nodename, scheduler_latency, fs_latency, hooks)

    def submit_command(self, reg: Registry, jc: JobCollection) -> list[str]:
        """Give the command that takes the script by standard input."""
        return submit_command(jc)

    def parse_submit(self, done: Completed, tasks: int) -> SubmitResult:
        """Read qsub's answer."""
        return parse_submit(done, tasks)

    def kill_command(self, batch_ids: Sequence[str]) -> list[str]:
        """Give the command that stops jobs."""
        return ["qdel", *batch_ids]

    def check_kill(self, done: Completed) -> None:
        """Raise unless qdel says of each job that it goes, or is gone."""
        check_kill(done)

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List our jobs in one call."""
        return parse_listing(self.run(list_command(self.user)))

    def marked(self, reg: Registry, chunks: Sequence[str]) -> Mapping[str, str]:
        """Find jobs by name in the queue, else in accounting."""
        found = by_name(parse_names(self.run(list_command(self.user))), chunks)
        missing = [chunk for chunk in chunks if chunk not in found]
        if missing:
            rows = parse_account(self.run(account_command(self.user)))
            found |= by_name([(row["jobnumber"], row["jobname"]) for row in rows], missing)
        return found

    def task_id(self, batch_id: str, task: int) -> str:
        """Give the name of an array task, such as `5.7`."""
        return f"{batch_id}.{task}"

    def claimed_ids(self, said: Mapping[str, str], tasks: int) -> Sequence[str]:
        """Give the batch ids by what Grid Engine told the executor."""
        number, task = said.get("JOB_ID"), said.get("SGE_TASK_ID", "undefined")
        if number is None:
            return []
        if tasks:
            return [f"{number}.{one}" for one in range(1, tasks + 1)]
        return [f"{number}.{task}" if task.isdigit() else number]

    def account(self, reg: Registry, gone: Mapping[str, bool]) -> Mapping[str, str | None]:
        """Ask qacct what became of jobs."""
        rows = parse_account(self.run(account_command(self.user)))
        return causes_of(rows, gone)


def submit_command(jc: JobCollection) -> list[str]:
    """Give qsub's command line; what stands on it beats the script."""
    log = str(jc.log_file)
    if jc.array_jobs:
        log = f"{log.removesuffix('.out')}.$TASK_ID.out"
    command = ["qsub", "-terse", "-N", job_name(jc), "-ac", f"bw={jc.job_hash}"]
    command += ["-wd", str(jc.work_dir), "-j", "y", "-o", log]
    if "dependency" in jc.resources:
        command += ["-hold_jid", str(jc.resources["dependency"])]
    return command


def parse_submit(done: Completed, tasks: int) -> SubmitResult:
    r"""Read qsub's answer.

    Examples
    --------
    >>> parse_submit(Completed(("qsub",), 0, "5.1-2:1\n", ""), 2).batch_ids
    ['5.1', '5.2']
    """
    found = _ID.search(done.stdout) or _SENTENCE.search(done.stdout)
    if done.exit_code == 0 and found:
        ids = [f"{found[1]}.{task}" for task in range(1, tasks + 1)] if tasks else [found[1]]
        return SubmitResult(0, ids)
    if done.exit_code == 0 or found:
        raise unclear(done)
    if done.exit_code == _TOO_MANY or says(done, TEMPORARY):
        return SubmitResult.from_failure(done, 1)
    if says(done, DOUBTFUL):
        raise failed(done)
    return SubmitResult.from_failure(done)


def check_kill(done: Completed) -> None:
    """Raise unless each line says that a job goes or is gone; qdel's exit code says less."""
    lines = [line for line in words(done).splitlines() if line.strip()]
    if done.exit_code != 0 and not (lines and all(_GONE.search(line) for line in lines)):
        raise failed(done)


def list_command(user: str) -> list[str]:
    """Give qstat's command line: one entry a task, names uncut."""
    return ["qstat", "-xml", "-g", "d", "-u", user]


def parse_listing(done: Completed) -> dict[str, BatchState]:
    """Read qstat's XML; anything else is no look."""
    listing: dict[str, BatchState] = {}
    for entry in _entries(done):
        number, task = entry.findtext("JB_job_number"), entry.findtext("tasks")
        letters = entry.findtext("state") or ""
        if number is None or not number.isdigit() or not letters:
            raise SchedulerError("qstat gave a job without number or state")
        state = "queued" if "q" in letters or "h" in letters else "running"
        reason = "in error; `qmod -cj` lets it go on" if "E" in letters else ""
        listing[f"{number}.{task}" if task else number] = BatchState(state, reason)
    return listing


def parse_names(done: Completed) -> list[tuple[str, str]]:
    """Read ids and names from qstat's XML."""
    return [
        (entry.findtext("JB_job_number") or "", entry.findtext("JB_name") or "")
        for entry in _entries(done)
    ]


def _entries(done: Completed) -> list[ElementTree.Element]:
    if done.exit_code != 0:
        raise failed(done)
    try:
        return list(ElementTree.fromstring(done.stdout).iter("job_list"))
    except ElementTree.ParseError as error:
        raise unclear(done) from error


def account_command(user: str) -> list[str]:
    """Give qacct's command line for all our jobs of the last days; it names none or one."""
    return ["qacct", "-o", user, "-d", "7", "-j"]


def parse_account(done: Completed) -> list[dict[str, str]]:
    """Read qacct's records, one mapping a task."""
    if done.exit_code != 0:
        if says(done, ("not found", "no jobs")):
            return []
        raise failed(done)
    records: list[dict[str, str]] = []
    for line in done.stdout.splitlines():
        if line.startswith("====="):
            records.append({})
        elif records:
            name, _, value = line.strip().partition(" ")
            records[-1][name] = value.strip()
    return [record for record in records if "jobnumber" in record]


def causes_of(rows: Sequence[Mapping[str, str]], gone: Mapping[str, bool]) -> dict[str, str | None]:
    """Give the cause of each job's end as far as qacct tells it."""
    by_id: dict[str, Mapping[str, str]] = {}
    for row in rows:
        task = row.get("taskid", "undefined")
        by_id[f"{row['jobnumber']}.{task}" if task.isdigit() else row["jobnumber"]] = row
    found: dict[str, str | None] = {}
    for batch, began in gone.items():
        row = by_id.get(batch)
        cause = None if row is None else _cause(row, began=began)
        if cause is not None:
            found[batch] = cause
    return found


def _cause(row: Mapping[str, str], *, began: bool) -> str | None:
    code = row.get("failed", "0").split()[0]
    if row.get("deleted_by", "NONE") not in ("NONE", ""):
        return "killed"
    if code in _WALLTIME:
        return "walltime"
    if code in _NODE:
        return "node"
    if code in _SIGNALLED:
        return "killed"
    if code == "0" and row.get("exit_status", "0").split()[0] == "0":
        return "storage" if began else "not_started"
    return "crashed" if began else "setup"
