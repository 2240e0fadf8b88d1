"""Grid Engine: qsub, qstat, qdel, qacct."""

from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final
from xml.etree import ElementTree

from batchwright.clusters.base import BatchState, Completed, SiteLimits, SubmitResult
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
# "qmaster enforced h_rt, h_cpu, or h_vmem limit": which of them, it does not say.
_LIMIT: Final = "37"
# Signals that others send, or that Grid Engine sends at a limit; the rest are the job's own.
_FROM_OUTSIDE: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU}
    | {signal.SIGUSR1, signal.SIGUSR2}
)
_TIMES: Final = {"h_rt": "ru_wallclock", "s_rt": "ru_wallclock", "h_cpu": "cpu", "s_cpu": "cpu"}
_MEMORY: Final = ("h_vmem", "s_vmem", "h_rss", "h_data")
# Usage is sampled and rounded: what came so near to a limit has met it.
_NEARLY: Final = 0.95
_QUANTITY: Final = re.compile(r"([0-9.]+)\s*([kKmMgGtT]?)i?[bBs]*$")


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
    accounting_latency = 20.0
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

    def limits_command(self) -> list[str]:
        """Give the command that tells the site's limits."""
        return ["qconf", "-sconf"]

    def parse_limits(self, done: Completed) -> SiteLimits | None:
        """Read them."""
        return parse_limits(done)

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


def parse_limits(done: Completed) -> SiteLimits | None:
    r"""Read limits out of the configuration, where 0 is none.

    Examples
    --------
    >>> print(parse_limits(Completed((), 0, "max_aj_tasks 75000\nmax_u_jobs 0\nmax_jobs 0\n", "")))
    75000 tasks of an array, any number of unfinished jobs
    """
    lines = [line.split() for line in done.stdout.splitlines()]
    said = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
    if "max_aj_tasks" not in said:
        return None
    most = min((said[n] for n in ("max_u_jobs", "max_jobs") if said.get(n)), default=math.inf)
    return SiteLimits(said["max_aj_tasks"] or math.inf, most)


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
    if code in _NODE:
        return "node"
    limit = _limit_met(row)
    if code == _LIMIT:
        return limit or "walltime"
    signalled = int(row.get("exit_status", "0").split()[0]) - 128
    if signalled in _FROM_OUTSIDE:
        return limit or "killed"
    if code == "0" and row.get("exit_status", "0").split()[0] == "0":
        return "storage" if began else "not_started"
    return "crashed" if began else "setup"


def _limit_met(row: Mapping[str, str]) -> str | None:
    """Give the cause by the limit that was asked for and used up; None if there is no such."""
    slots = int(row.get("slots", "1") or 1)
    asked = _asked(row.get("category", ""))
    used = {name: quantity(row.get(name, "")) for name in ("ru_wallclock", "cpu", "maxvmem")}
    # Limits of memory and CPU time are a slot's.
    if any(used["maxvmem"] >= asked[name] * slots * _NEARLY for name in _MEMORY if name in asked):
        return "oom"
    for name, measure in _TIMES.items():
        times = 1 if measure == "ru_wallclock" else slots
        if name in asked and used[measure] >= asked[name] * times * _NEARLY:
            return "walltime"
    return None


def _asked(category: str) -> dict[str, float]:
    """Read the limits out of a category such as `-l h_rt=60,h_vmem=2G -pe smp 2`."""
    words = category.split()
    lists = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "-l"]
    pairs = [pair.partition("=") for one in lists for pair in one.split(",")]
    found = {name: quantity(value) for name, _, value in pairs}
    return {name: value for name, value in found.items() if value > 0}


def quantity(text: str) -> float:
    """Read a time in seconds or a size in bytes; 0 for what is neither.

    Examples
    --------
    >>> quantity("7s"), quantity("1:00:00"), quantity("200M"), quantity("1.785MB"), quantity("NONE")
    (7.0, 3600.0, 209715200.0, 1871708.16, 0.0)
    """
    if ":" in text:
        parts = [float(part or 0) for part in text.split(":")]
        return sum(part * 60**power for power, part in enumerate(reversed(parts)))
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        return 0.0
    # Grid Engine's small k, m and g are decimal.
    letter = found[2]
    base = 1000 if letter.islower() else 1024
    return float(found[1]) * base ** " kmgt".index(letter.lower() or " ")
