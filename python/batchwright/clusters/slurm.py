"""Slurm: sbatch, squeue, scancel, sacct."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

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

# Nothing was submitted, and soon it may be.
TEMPORARY: Final = (
    "Unable to contact slurm controller",
    "Submission rate too high",
    "Slurm temporarily unable to accept job",
    "Job/step already completing or completed",
)
# It may have been submitted.
DOUBTFUL: Final = (
    "Socket timed out",
    "Zero Bytes were transmitted or received",
    "Unexpected message received",
    "Message receive failure",
    "Transport endpoint is not connected",
)
_POLICY: Final = "Job violates accounting/QOS policy"
_LIMIT: Final = re.compile(r"\b(?:QOS|Assoc)\w+")
_ID: Final = re.compile(r"^(\d+)(?:;([\w.-]+))?$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"^Submitted batch job (\d+)(?: on cluster ([\w.-]+))?", re.MULTILINE)
_ROW: Final = re.compile(r"(\d+(?:_\d+)?)\|([A-Z_]+)\|(.*)")
_CLUSTER: Final = re.compile(r"CLUSTER: (\S+)")
_WAITING: Final = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"}
    | {"SPECIAL_EXIT"}
)
_ENDED: Final = frozenset(
    {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
    | {"DEADLINE", "OUT_OF_MEMORY", "REVOKED"}
)
_PERHAPS_MEMORY: Final = ("crashed", "killed", "setup")
_MEMORY: Final = re.compile(rb"(?i)exceeded (?:job )?memory limit|oom.kill|out of memory")
_TAIL: Final = 4096
# By the first word of sacct's state: the cause where a job had begun, and where not.
_CAUSES: Final[Mapping[str, tuple[str, str]]] = {
    "TIMEOUT": ("walltime", "walltime"),
    "DEADLINE": ("walltime", "not_started"),
    "OUT_OF_MEMORY": ("oom", "oom"),
    "NODE_FAIL": ("node", "node"),
    "BOOT_FAIL": ("node", "node"),
    "PREEMPTED": ("preempted", "preempted"),
    "CANCELLED": ("killed", "killed"),
    "REVOKED": ("killed", "killed"),
    "FAILED": ("crashed", "setup"),
    "COMPLETED": ("storage", "not_started"),
}


class Slurm(Scheduler):
    """Slurm, version 20.02 or later.

    Parameters
    ----------
    template
        Name or path of the template.
    array_jobs
        Whether the site allows arrays.
    nodename
        The host on which to call Slurm's commands, by ssh if it is not this one.
    scheduler_latency
        Seconds until Slurm lists what was submitted.
    fs_latency
        Seconds until files of the nodes are seen here.

    Examples
    --------
    >>> Slurm(array_jobs=False)
    Slurm(array_jobs=False)
    """

    name = "Slurm"
    array_var = "SLURM_ARRAY_TASK_ID"
    accounting_latency = 20.0

    def __init__(
        self,
        template: str | os.PathLike[str] = "slurm",
        array_jobs: bool = True,
        nodename: str = "localhost",
        *,
        scheduler_latency: float = SCHEDULER_LATENCY,
        fs_latency: float = FS_LATENCY,
        hooks: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        super().__init__(template, array_jobs, nodename, scheduler_latency, fs_latency, hooks)

    def limits_command(self) -> list[str]:
        """Give the command that tells the site's limits."""
        return ["scontrol", "show", "config"]

    def parse_limits(self, done: Completed) -> SiteLimits | None:
        """Read Slurm's `MaxArraySize`."""
        return parse_limits(done)

    def submit_command(self, reg: Registry, jc: JobCollection) -> list[str]:
        """Give the command that takes the script by standard input."""
        return submit_command(jc)

    def parse_submit(self, done: Completed, tasks: int) -> SubmitResult:
        """Read sbatch's answer."""
        return parse_submit(done, tasks)

    def kill_command(self, batch_ids: Sequence[str]) -> list[str]:
        """Give the command that stops jobs of one cluster."""
        return kill_command(batch_ids)

    def check_kill(self, done: Completed) -> None:
        """Raise unless scancel was heard; unknown and ended jobs are no error to it."""
        if done.exit_code != 0:
            raise failed(done)

    def kill(self, reg: Registry, batch_ids: Sequence[str]) -> None:
        """Stop jobs, cluster by cluster."""
        for cluster in sorted({cluster_of(batch) for batch in batch_ids}):
            super().kill(reg, [batch for batch in batch_ids if cluster_of(batch) == cluster])

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List our jobs; one call, and one more where other clusters have some."""
        open_ids = [batch for _, _, batch in reg.store.core.open_chunks() if batch]
        clusters = sorted({cluster_of(batch) for batch in open_ids} - {""})
        listing: dict[str, BatchState] = {}
        if not clusters or any(not cluster_of(batch) for batch in open_ids):
            listing |= parse_listing(self.run(list_command()))
        if clusters:
            listing |= parse_listing(self.run(list_command(clusters)))
        return listing

    def marked(self, reg: Registry, chunks: Sequence[str]) -> Mapping[str, str]:
        """Find jobs by name in the queue, else in accounting if there is one."""
        found = by_name(parse_names(self.run(names_command())), chunks)
        missing = [chunk for chunk in chunks if chunk not in found]
        if missing:
            done = self.run(ended_names_command())
            if done.exit_code == 0:
                found |= by_name(parse_names(done), missing)
        return found

    def task_id(self, batch_id: str, task: int) -> str:
        """Give the name of an array task, such as `5_7`."""
        return task_id(batch_id, task)

    def claimed_ids(self, said: Mapping[str, str], tasks: int) -> Sequence[str]:
        """Give the batch ids by what Slurm told the executor."""
        array, task = said.get("SLURM_ARRAY_JOB_ID"), said.get("SLURM_ARRAY_TASK_ID")
        if array and tasks:
            return [task_id(array, number) for number in range(1, tasks + 1)]
        if array and task:
            return [f"{array}_{task}"]
        return [said["SLURM_JOB_ID"]] if "SLURM_JOB_ID" in said else []

    def account(self, reg: Registry, gone: Mapping[str, bool]) -> Mapping[str, str | None]:
        """Ask sacct what became of jobs; too much memory may be told in the log alone."""
        found = parse_account(self.run(account_command(gone)), gone)
        killed = [batch for batch, cause in found.items() if cause in _PERHAPS_MEMORY]
        for batch, log in reg.store.outputs_of(killed).items() if killed else ():
            if says_too_much_memory(log):
                found[batch] = "oom"
        return found


def submit_command(jc: JobCollection) -> list[str]:
    """Give sbatch's command line; what stands on it beats the script."""
    log = str(jc.log_file).replace("%", "%%")
    if jc.array_jobs:
        log = f"{log.removesuffix('.out')}.%a.out"
    command = [
        "sbatch",
        "--parsable",
        f"--job-name={job_name(jc)}",
        f"--comment=bw:{jc.job_hash}",
        f"--chdir={jc.work_dir}",
        f"--output={log}",
        "--open-mode=append",
    ]
    for option, resource in (("--clusters", "cluster"), ("--dependency", "dependency")):
        if resource in jc.resources:
            command.append(f"{option}={jc.resources[resource]}")
    return command


def parse_submit(done: Completed, tasks: int) -> SubmitResult:
    r"""Read sbatch's answer.

    Examples
    --------
    >>> parse_submit(Completed(("sbatch",), 0, "17;east\n", ""), 2).batch_ids
    ['17_1;east', '17_2;east']
    """
    found = _ID.search(done.stdout) or _SENTENCE.search(done.stdout)
    if done.exit_code == 0 and found:
        batch_id = f"{found[1]};{found[2]}" if found[2] else found[1]
        ids = [task_id(batch_id, task) for task in range(1, tasks + 1)] if tasks else [batch_id]
        return SubmitResult(0, ids)
    if done.exit_code == 0 or found:
        raise unclear(done)
    if says(done, DOUBTFUL):
        raise failed(done)
    return SubmitResult.from_failure(done, 1 if is_temporary(done) else 101)


def is_temporary(done: Completed) -> bool:
    """Whether sbatch's refusal may be another one later: a limit on jobs, or a busy controller."""
    if says(done, TEMPORARY):
        return True
    if _POLICY not in words(done):
        return False
    limits = _LIMIT.findall(words(done).replace(_POLICY, ""))
    return not limits or any("Submit" in limit for limit in limits)


def task_id(batch_id: str, task: int) -> str:
    """Give the name of an array task.

    Examples
    --------
    >>> task_id("5", 7), task_id("5;east", 7)
    ('5_7', '5_7;east')
    """
    number, semicolon, cluster = batch_id.partition(";")
    return f"{number}_{task}{semicolon}{cluster}"


def cluster_of(batch_id: str) -> str:
    """Give the cluster in a batch id; empty for the local one."""
    return batch_id.partition(";")[2]


def kill_command(batch_ids: Sequence[str]) -> list[str]:
    """Give scancel's command line for jobs of one cluster."""
    cluster = cluster_of(batch_ids[0])
    options = [f"--clusters={cluster}"] if cluster else []
    return ["scancel", *options, *(batch.partition(";")[0] for batch in batch_ids)]


def list_command(clusters: Sequence[str] = ()) -> list[str]:
    """Give squeue's command line: one row a task, free text last."""
    options = [f"--clusters={','.join(clusters)}"] if clusters else []
    return ["squeue", "--me", "--noheader", "--array", *options, "--format=%i|%T|%r"]


def parse_listing(done: Completed) -> dict[str, BatchState]:
    """Read squeue's rows; anything else is no look."""
    if done.exit_code != 0:
        raise failed(done)
    listing: dict[str, BatchState] = {}
    cluster = ""
    for line in done.stdout.splitlines():
        if other := _CLUSTER.fullmatch(line.strip()):
            cluster = f";{other[1]}"
        elif row := _ROW.fullmatch(line.strip()):
            if row[2] not in _ENDED:
                state = "queued" if row[2] in _WAITING else "running"
                listing[row[1] + cluster] = BatchState(state, "" if row[3] == "None" else row[3])
        elif line.strip():
            raise SchedulerError(f"squeue gave a row that cannot be understood: {line!r}")
    return listing


def names_command() -> list[str]:
    """Give squeue's command line for ids and names; the name may hold anything."""
    return ["squeue", "--me", "--noheader", "--format=%F|%j"]


def ended_names_command() -> list[str]:
    """Give sacct's command line for ids and names of the last days."""
    since = "--starttime=now-7days"
    return ["sacct", "-n", "-P", "-X", "-D", since, "--format=JobID,JobName"]


def parse_names(done: Completed) -> list[tuple[str, str]]:
    """Read ids and names."""
    if done.exit_code != 0:
        raise failed(done)
    rows = (line.partition("|") for line in done.stdout.splitlines())
    return [(number.partition("_")[0], name) for number, bar, name in rows if bar]


def account_command(batch_ids: Iterable[str]) -> list[str]:
    """Give sacct's command line, with the records of runs before a requeue."""
    ids = sorted({batch.partition(";")[0] for batch in batch_ids})
    clusters = sorted({cluster_of(batch) for batch in batch_ids} - {""})
    options = [f"--clusters={','.join(clusters)}"] if clusters else []
    return ["sacct", "-n", "-P", "-X", "-D", *options, "-j", ",".join(ids),
            "--format=JobID,State,ExitCode"]  # fmt: skip


def parse_account(done: Completed, gone: Mapping[str, bool]) -> dict[str, str | None]:
    """Read sacct's rows, of which the last of each job counts."""
    if done.exit_code != 0:
        raise failed(done)
    states: dict[str, str] = {}
    for line in done.stdout.splitlines():
        number, _, rest = line.partition("|")
        state = re.match(r"[A-Z_]+", rest)
        if state:
            states[number] = state[0]
    found: dict[str, str | None] = {}
    for batch, began in gone.items():
        state = states.get(batch.partition(";")[0])
        if state is None:
            continue
        causes = _CAUSES.get(state)
        found[batch] = None if causes is None else causes[0 if began else 1]
    return found


def says_too_much_memory(log: Path) -> bool:
    """Whether a log ends with Slurm's word that the job took too much memory."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            return _MEMORY.search(file.read()) is not None
    except OSError:
        return False


def parse_limits(done: Completed) -> SiteLimits | None:
    """Read the largest array from Slurm's configuration; indices end below `MaxArraySize`.

    A user's limit on jobs is one of accounts and QOS, of which the strictest counts: unknown.
    """
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return SiteLimits(array_size=max(1, int(found[1]) - 1)) if found else None
