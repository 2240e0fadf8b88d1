"""TORQUE, OpenPBS and PBS Pro: qsub, qstat, qdel, which speak two dialects."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

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
from batchwright.errors import ConfigError, SchedulerError

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

Dialect = Literal["torque", "pbs"]
TEMPORARY: Final = (
    "Maximum number of jobs already in queue",
    "Maximum number of jobs for user",
    "Maximum number of jobs already in complex",
    "per-user limit",
    "too busy to service this request",
    "cannot connect to server",
    "Couldn't connect to cluster",
    "Cannot connect to specified server",
    "could not connect to trqauthd",
)
DOUBTFUL: Final = ("End of File", "Protocol (ASN.1) error", "timed out", "Timeout")
_MISSING: Final = 127
_ID: Final = re.compile(r"^(\d+(?:\[\])?)(?:\.[\w.-]+)?$", re.MULTILINE)
_JOB: Final = re.compile(r"(\d+(?:\[\d*\])?)(?:\..*)?")
_GONE: Final = re.compile(
    r"Unknown Job Id|nonexistent job id|Job has finished|finished array subjob"
    r"|Request invalid for state of job"
)
_QUEUED: Final = frozenset("QHWT")
_ENDED: Final = frozenset("CFXM")


class TORQUE(Scheduler):
    """TORQUE, OpenPBS or PBS Pro; which it is, the site's commands tell.

    Parameters
    ----------
    template
        Name or path of the template, which may ask for `dialect`: `torque` or `pbs`.
    array_jobs
        Whether the site allows arrays.
    nodename
        The host on which to call its commands, by ssh if it is not this one.
    dialect
        Which it is, if its commands do not tell.
    scheduler_latency
        Seconds until it lists what was submitted.
    fs_latency
        Seconds until files of the nodes are seen here.

    Examples
    --------
    >>> TORQUE(dialect="pbs").array_var
    'PBS_ARRAY_INDEX'
    """

    name = "TORQUE"
    # A blank in it loses the output on TORQUE, a colon names a host.
    bad_in_paths: ClassVar[str] = ": ,$^"

    def __init__(
        self,
        template: str | os.PathLike[str] = "torque",
        array_jobs: bool = True,
        nodename: str = "localhost",
        *,
        dialect: Dialect | None = None,
        scheduler_latency: float = SCHEDULER_LATENCY,
        fs_latency: float = FS_LATENCY,
        hooks: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        super().__init__(template, array_jobs, nodename, scheduler_latency, fs_latency, hooks)
        if dialect not in (None, "torque", "pbs"):
            raise ConfigError(f"`dialect` is {dialect!r}: give 'torque' or 'pbs', or leave it out")
        self._dialect: Dialect | None = dialect

    @property
    def dialect(self) -> Dialect:
        """Which of the two the site speaks; asked once."""
        if self._dialect is None:
            done = self.run(["qstat", "--version"])
            if done.exit_code == _MISSING:
                return "torque"  # for plans where neither is installed
            self._dialect = parse_version(done)
        return self._dialect

    @property
    def array_var(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The variable that holds a task's index."""
        return "PBS_ARRAY_INDEX" if self.dialect == "pbs" else "PBS_ARRAYID"

    def template_variables(self, reg: Registry) -> Mapping[str, Any]:
        """Give the dialect to templates."""
        return {"dialect": self.dialect}

    def submit_command(self, reg: Registry, jc: JobCollection) -> list[str]:
        """Give the command that takes the script by standard input."""
        return submit_command(jc, self.dialect)

    def parse_submit(self, done: Completed, tasks: int) -> SubmitResult:
        """Read qsub's answer."""
        return parse_submit(done, tasks)

    def kill_command(self, batch_ids: Sequence[str]) -> list[str]:
        """Give the command that stops jobs."""
        return ["qdel", *batch_ids]

    def check_kill(self, done: Completed) -> None:
        """Raise unless qdel is silent or says that the jobs are gone; its exit code says less."""
        lines = [line for line in words(done).splitlines() if line.strip()]
        if done.exit_code != 0 and not (lines and all(_GONE.search(line) for line in lines)):
            raise failed(done)

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List jobs and array tasks in one call."""
        wanted = [batch for _, _, batch in reg.store.core.open_chunks() if batch]
        return parse_listing(self.run(["qstat", "-t"]), wanted)

    def marked(self, reg: Registry, chunks: Sequence[str]) -> Mapping[str, str]:
        """Find jobs by name in the queue."""
        rows = rows_of(self.run(["qstat"]))
        return by_name([(number.removesuffix("[]"), name) for number, name, _ in rows], chunks)

    def task_id(self, batch_id: str, task: int) -> str:
        """Give the name of an array task, such as `5[7]`."""
        return f"{batch_id}[{task}]"

    def claimed_ids(self, said: Mapping[str, str], tasks: int) -> Sequence[str]:
        """Give the batch ids by what the executor was told."""
        found = re.match(r"(\d+)(\[\d+\])?", said.get("PBS_JOBID", ""))
        if found is None:
            return []
        if tasks:
            return task_ids(found[1], tasks)
        return [found[0]]

    def account(self, reg: Registry, gone: Mapping[str, bool]) -> Mapping[str, str | None]:
        """Ask what became of jobs that the server remembers."""
        option = ["-x"] if self.dialect == "pbs" else []
        return parse_account(self.run(["qstat", "-f", *option, *sorted(gone)]), gone)


def parse_version(done: Completed) -> Dialect:
    """Tell the dialect by the commands' version."""
    return "pbs" if "pbs_version" in words(done) else "torque"


def submit_command(jc: JobCollection, dialect: Dialect) -> list[str]:
    """Give qsub's command line; what stands on it beats the script."""
    log = str(jc.log_file)
    if jc.array_jobs > 1 and dialect == "pbs":
        log = f"{log.removesuffix('.out')}.^array_index^.out"
    # Fifteen characters are what all of the family take and show.
    command = ["qsub", "-N", jc.short_name, "-j", "oe", "-o", log]
    if "dependency" in jc.resources:
        command += ["-W", f"depend={jc.resources['dependency']}"]
    return command


def parse_submit(done: Completed, tasks: int) -> SubmitResult:
    r"""Read qsub's answer.

    Examples
    --------
    >>> parse_submit(Completed(("qsub",), 0, "10[].host\n", ""), 2).batch_ids
    ['10[1]', '10[2]']
    """
    found = _ID.search(done.stdout)
    if done.exit_code == 0 and found:
        number = found[1].removesuffix("[]")
        is_array = found[1].endswith("[]")
        return SubmitResult(0, task_ids(number, tasks) if is_array and tasks else [number])
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


def rows_of(done: Completed) -> list[tuple[str, str, str]]:
    """Read number, name and state of each row of qstat's table."""
    if done.exit_code != 0:
        raise failed(done)
    rows: list[tuple[str, str, str]] = []
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    for line in lines:
        cells = line.split()
        if line.startswith(("Job ", "---")):
            continue
        number = _JOB.fullmatch(cells[0])
        if number is None or len(cells) < 6 or len(cells[-2]) != 1:
            raise SchedulerError(f"qstat gave a row that cannot be understood: {line!r}")
        rows.append((number[1], cells[1], cells[-2]))
    return rows


def parse_listing(done: Completed, wanted: Iterable[str]) -> dict[str, BatchState]:
    """Read who waits and runs; a member that an array does not show yet waits.

    A fresh TORQUE array shows its members one after the other.
    """
    states = {number: state for number, _, state in rows_of(done)}
    listing = {
        number: BatchState("queued" if state in _QUEUED else "running", _reason(state))
        for number, state in states.items()
        if state not in _ENDED
    }
    for batch in wanted:
        parent = f"{batch.partition('[')[0]}[]"
        if "[" in batch and batch not in states and parent in listing:
            listing[batch] = BatchState("queued", "its array does not show it yet")
    return listing


def _reason(state: str) -> str:
    return "held" if state == "H" else ""


def parse_account(done: Completed, gone: Mapping[str, bool]) -> dict[str, str | None]:
    """Read how jobs ended; those the server has forgotten are left out."""
    found: dict[str, str | None] = {}
    for text in re.split(r"^Job Id: ", done.stdout, flags=re.MULTILINE)[1:]:
        number = _JOB.match(text)
        if number is None or number[1] not in gone:
            continue
        state = re.search(r"^\s+job_state = (\w)", text, re.MULTILINE)
        code = re.search(r"^\s+[Ee]xit_status = (-?\d+)", text, re.MULTILINE)
        began = gone[number[1]]
        if state is not None and state[1] not in _ENDED:
            found[number[1]] = None
        elif code is not None:
            found[number[1]] = _cause(int(code[1]), text, began=began)
        else:
            found[number[1]] = "killed"  # it never ran: deleted, or its dependency failed
    return found


def _cause(code: int, text: str, *, began: bool) -> str:
    if code in (-29, -11):
        return "walltime"
    if code == -27 or "exceeded resource mem" in text.replace("\n\t", ""):
        return "oom"
    if code == -20:
        return "node"
    if code in (265, 271):
        return "killed"
    if code == 0:
        return "storage" if began else "not_started"
    return "crashed" if began else "setup"
