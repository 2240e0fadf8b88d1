"""What every backend is: a small class that submits, kills and lists."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import logging
import math
import operator
import os
import re
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from batchwright import resources, serialization
from batchwright.clusters import remote
from batchwright.errors import ConfigError, SchedulerError

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

HOOKS = (
    "pre_sync",
    "post_sync",
    "pre_submit_job",
    "post_submit_job",
    "pre_submit",
    "post_submit",
    "pre_kill",
    "post_kill",
)
NODE_HOOKS = ("pre_do_collection", "post_do_collection")
TEMPORARY = range(1, 101)
_log = logging.getLogger("batchwright")
# What the submitting shell got from a scheduler must not reach the next job.
_INHERITED = re.compile(r"(SLURM|SBATCH|PBS|LSB|SGE|PMI|PMIX|OMPI|BATCHWRIGHT)_.*|JOB_ID")
_CONFIGURATION = frozenset(
    {"SLURM_CONF", "SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_CLUSTER_NAME"}
    | {"PBS_SERVER", "PBS_CONF_FILE", "PBS_EXEC", "PBS_DEFAULT", "LSB_CONFDIR"}
    | {"BATCHWRIGHT_DEBUG", "BATCHWRIGHT_EXEC", "BATCHWRIGHT_NODE"}
)
_SECRET = re.compile(r".*(TOKEN|SECRET|PASSW).*|.*_KEY|AWS_.*")


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class BatchState:
    """What a scheduler says about one of its jobs."""

    state: Literal["queued", "running"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of a submission.

    Parameters
    ----------
    status
        0 is success, 1–100 a temporary error, all else final.
    batch_ids
        How the scheduler calls the job; one id a task of an array.
    log_file
        Where the scheduler puts the log, if not where it was asked to.
    message
        What went wrong.

    Examples
    --------
    >>> SubmitResult(0, "4711").batch_ids
    ('4711',)
    """

    status: int
    batch_ids: Sequence[str] = ()
    log_file: str | None = None
    message: str = ""

    def __post_init__(self) -> None:
        _set = object.__setattr__
        _set(self, "status", _status(self.status))
        ids = cast("object", self.batch_ids)
        if ids is None or isinstance(ids, str | int):
            # One id is meant as one, not as the letters it is made of.
            _set(self, "batch_ids", () if ids is None else (str(ids),))
        if self.log_file is not None:
            _set(self, "log_file", os.fspath(self.log_file))

    @classmethod
    def from_failure(cls, completed: Completed, status: int = 101) -> Self:
        """Describe a command that failed."""
        said = "\n".join(
            part for part in (completed.stderr.strip(), completed.stdout.strip()) if part
        )
        command = " ".join(completed.argv)
        return cls(status, message=f"`{command}` ended with {completed.exit_code}: {said}")


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """What a site allows: None where that is unknown, `math.inf` where there is no limit."""

    array_size: float | None = None
    """Tasks of one array."""
    unfinished_jobs: float | None = None
    """Of one user; submitting waits when they are that many."""

    def __str__(self) -> str:
        return f"{_limit('tasks of an array', self.array_size)}, " + _limit(
            "unfinished jobs", self.unfinished_jobs
        )


def _limit(what: str, most: float | None) -> str:
    if most is None:
        return f"an unknown number of {what}"
    return f"any number of {what}" if math.isinf(most) else f"{most:.0f} {what}"


def _status(value: object) -> int:
    try:
        return operator.index(cast("Any", value))
    except TypeError:
        raise ConfigError(
            f"`status` is {value!r}: give 0 for success, 1 to 100 for a temporary error, or more"
        ) from None


class ClusterFunctions(ABC):
    """How jobs get onto a system.

    Subclass it for a system of your own; `submit` is all that is needed.
    """

    name: str = "custom"
    array_var: str | None = None
    """The variable that holds a task's index on the node; None without arrays."""
    scheduler_latency: float = 0.0
    """Seconds until the scheduler lists what was submitted or killed."""
    fs_latency: float = 0.0
    """Seconds until files of the node are seen here."""
    accounting_latency: float = 0.0
    """Seconds until `account` knows what the scheduler lists no more."""
    hooks: Mapping[str, Callable[..., object]] = MappingProxyType({})

    runs_setup: ClassVar[bool] = False
    """Whether its scripts run `modules` and `setup`; else a shell around the workers does."""
    is_local: ClassVar[bool] = False
    """Whether jobs run on this machine, where nothing is gained by looking rarely."""
    _stored: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments, by which a registry stores the backend."""
        made = super().__new__(cls)
        made._stored = (args, kwargs)
        return made

    @property
    def identity(self) -> str:
        """Whose listings are evidence for jobs: the name, and the host if it matters."""
        return self.name

    def arguments(self) -> dict[str, Any]:
        """Give the arguments it was made from by name, as plain data where that is possible."""
        args, kwargs = self._stored
        return dict(inspect.signature(type(self)).bind(*args, **kwargs).arguments)

    @abstractmethod
    def submit(self, reg: Registry, jc: JobCollection) -> SubmitResult:
        """Hand a collection over."""

    @property
    def can_kill(self) -> bool:
        """Whether there is a way to stop jobs."""
        return type(self).kill is not ClusterFunctions.kill

    def kill(self, reg: Registry, batch_ids: Sequence[str]) -> None:
        """Stop jobs; raise `SchedulerError` if that fails."""
        raise SchedulerError(f"cluster functions `{self.name}` cannot kill jobs")

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState] | None:
        """List all jobs on the system in one call; None where that is unsupported."""
        return None

    def find_submitted(
        self, reg: Registry, chunks: Sequence[str]
    ) -> Mapping[str, Sequence[str]] | None:
        """Look chunks of unknown fate up by the marks they were submitted with.

        Returns
        -------
        mapping
            The batch ids of those that the system knows, one for each task; None where it
            cannot be asked.
        """
        return None

    def claimed_ids(self, said: Mapping[str, str], tasks: int) -> Sequence[str]:
        """Give the batch ids of a chunk by what the system told its executor as variables."""
        return ()

    def account(self, reg: Registry, gone: Mapping[str, bool]) -> Mapping[str, str | None]:
        """Ask, in one call, what became of jobs that the system lists no more.

        Parameters
        ----------
        gone
            Batch ids, and whether an executor had begun to run each.

        Returns
        -------
        mapping
            The cause by batch id where it is known; None for a job that is not gone after all.
        """
        return {}

    def site_limits(self, reg: Registry) -> SiteLimits:
        """Tell what the site allows, as far as the system can be asked now."""
        return SiteLimits()

    def array_size(self, reg: Registry) -> int:
        """How many chunks one call can submit as an array; 1 where there are no arrays."""
        return 1

    def prepare_submit(self, reg: Registry) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse what cannot work, before anything is written."""

    def finish_submit(self, reg: Registry) -> None:  # noqa: B027 - most are done already
        """Do what is done once for all chunks of one call."""

    def tidy(self, reg: Registry) -> None:  # noqa: B027 - most leave nothing behind
        """Remove what ended jobs left on the system; called when none is open any more."""

    def render(self, reg: Registry, jc: JobCollection) -> str:
        """Give what the scheduler would get; without a template, the executor's command."""
        return jc.exec_command

    def run_hook(self, hook: str, *args: object) -> object:
        """Run a hook if there is one of that name."""
        function = self.hooks.get(hook)
        return function(*args) if function else None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._shown().items())
        return f"{type(self).__name__}({shown})"

    def _shown(self) -> dict[str, Any]:
        return self.arguments()


def check_hooks(hooks: Mapping[str, Callable[..., object]] | None) -> Mapping[str, Any]:
    """Refuse hooks of unknown names, which would never run."""
    if hooks is not None and not isinstance(cast("object", hooks), Mapping):
        raise ConfigError(f"`hooks` is {hooks!r}: give a mapping of names to functions")
    for hook, function in (hooks or {}).items():
        if hook not in (*HOOKS, *NODE_HOOKS):
            near = difflib.get_close_matches(hook, (*HOOKS, *NODE_HOOKS), n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(HOOKS)}"
            raise ConfigError(f"unknown hook `{hook}`; {hint}")
        if not callable(function):
            raise ConfigError(f"hook `{hook}` is {function!r}: give a function")
    return MappingProxyType(dict(hooks or {}))


class _FromFunctions(ClusterFunctions):
    """Cluster functions made of plain functions."""

    def __init__(
        self,
        name: str,
        submit_job: Callable[..., SubmitResult],
        kill_job: Callable[..., object] | None,
        list_jobs: Callable[..., Any] | None,
        list_jobs_queued: Callable[..., Iterable[str]] | None,
        list_jobs_running: Callable[..., Iterable[str]] | None,
        array_var: str | None,
        scheduler_latency: float,
        fs_latency: float,
        hooks: Mapping[str, Callable[..., object]] | None,
    ) -> None:
        self.name = name
        self.array_var = array_var
        self.scheduler_latency = scheduler_latency
        self.fs_latency = fs_latency
        self.hooks = check_hooks(hooks)
        self._submit = submit_job
        self._kill = kill_job
        self._list = list_jobs
        self._queued = list_jobs_queued
        self._running = list_jobs_running

    @property
    def can_kill(self) -> bool:
        """Whether a function for it was given."""
        return self._kill is not None

    def submit(self, reg: Registry, jc: JobCollection) -> SubmitResult:
        return self._submit(reg, jc)

    def kill(self, reg: Registry, batch_ids: Sequence[str]) -> None:
        if self._kill is None:
            super().kill(reg, batch_ids)
        else:
            self._kill(reg, tuple(batch_ids))

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState] | None:
        if self._list is not None:
            return self._list(reg)
        if self._queued is None and self._running is None:
            return None
        queued = self._queued(reg) if self._queued else ()
        running = self._running(reg) if self._running else ()
        found = {str(batch): BatchState("queued") for batch in queued}
        return found | {str(batch): BatchState("running") for batch in running}

    def _shown(self) -> dict[str, Any]:
        return {"name": self.name}


def as_listing(found: Any) -> Mapping[str, BatchState] | None:
    """Accept what a listing gives: states by batch id, as objects or words."""
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise SchedulerError(f"`list_jobs` gave {found!r}: give a mapping of batch id to state")
    listing: dict[str, BatchState] = {}
    for batch, state in cast("Mapping[object, Any]", found).items():
        state = BatchState(cast("Any", state)) if isinstance(state, str) else state
        if not isinstance(state, BatchState) or state.state not in ("queued", "running"):
            raise SchedulerError(f"`list_jobs` gave {state!r} for {batch!r}: give a BatchState")
        listing[str(batch)] = state
    return listing


def make_cluster_functions(
    name: str,
    submit_job: Callable[..., SubmitResult],
    kill_job: Callable[..., object] | None = None,
    list_jobs: Callable[..., Any] | None = None,
    *,
    list_jobs_queued: Callable[..., Iterable[str]] | None = None,
    list_jobs_running: Callable[..., Iterable[str]] | None = None,
    array_var: str | None = None,
    scheduler_latency: float = 0,
    fs_latency: float = 0,
    hooks: Mapping[str, Callable[..., object]] | None = None,
) -> ClusterFunctions:
    """Make cluster functions of plain functions.

    Parameters
    ----------
    submit_job
        `(reg, jc) -> SubmitResult`.
    kill_job
        `(reg, batch_ids)`, the ids a tuple.
    list_jobs
        `(reg) -> {batch_id: BatchState}`; or give the two lists of ids apart.

    Examples
    --------
    >>> functions = make_cluster_functions("nowhere", lambda reg, jc: SubmitResult(101))
    >>> functions.name
    'nowhere'
    """
    if not callable(submit_job):
        raise ConfigError(f"`submit_job` is {submit_job!r}: give a function")
    functions: dict[str, object] = {
        "kill_job": kill_job,
        "list_jobs": list_jobs,
        "list_jobs_queued": list_jobs_queued,
        "list_jobs_running": list_jobs_running,
    }
    for what, function in functions.items():
        if function is not None and not callable(function):
            raise ConfigError(f"`{what}` is {function!r}: give a function, or None")
    if array_var is not None:
        _variable(array_var)
    return _FromFunctions(
        resources.text("name", name),
        submit_job,
        kill_job,
        list_jobs,
        list_jobs_queued,
        list_jobs_running,
        array_var,
        resources.positive("scheduler_latency", scheduler_latency, zero=True),
        resources.positive("fs_latency", fs_latency, zero=True),
        hooks,
    )


def _variable(name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError(f"`array_var` is {name!r}: give the name of a variable")


def dump_functions(backend: ClusterFunctions) -> dict[str, Any] | None:
    """Give the arguments of function-built cluster functions as JSON, functions by reference."""
    stored: dict[str, Any] = {}
    for name, value in backend.arguments().items():
        if name == "hooks":
            hooks: Mapping[str, Any] = value or {}
            stored[name] = {hook: serialization.reference(f) for hook, f in hooks.items()}
            if None in stored[name].values():
                return None
        elif callable(value):
            stored[name] = {"function": serialization.reference(value)}
            if stored[name]["function"] is None:
                return None
        else:
            stored[name] = value
    return stored


def load_functions(stored: Mapping[str, Any]) -> ClusterFunctions:
    """Make cluster functions again from what `dump_functions` gave."""
    arguments: dict[str, Any] = {}
    for name, value in stored.items():
        if name == "hooks":
            arguments[name] = {h: serialization.dereference(f) for h, f in value.items()}
        elif isinstance(value, dict):
            arguments[name] = serialization.dereference(cast("dict[str, str]", value)["function"])
        else:
            arguments[name] = value
    return _FromFunctions(**arguments)


def is_made_of_functions(backend: ClusterFunctions) -> bool:
    """Whether `make_cluster_functions` made it."""
    return isinstance(backend, _FromFunctions)


def run_command(
    argv: Sequence[str | os.PathLike[str]],
    *,
    stdin: str | None = None,
    nodename: str = "localhost",
    timeout: float = 60,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Completed:
    r"""Run a command of a scheduler, here or by ssh on another host.

    A missing program is exit code 127; a command that does not end in time a `SchedulerError`.

    Parameters
    ----------
    env
        Variables to add to its environment.

    Examples
    --------
    >>> run_command(["echo", "hello"]).stdout
    'hello\n'
    >>> run_command(["no-such-program"]).exit_code
    127
    """
    if isinstance(argv, str | bytes | os.PathLike):
        raise TypeError(f"argv is {argv!r}: give a list of words, such as ['squeue', '--me']")
    words = tuple(os.fspath(word) for word in argv)
    if not words:
        raise ValueError("argv is empty: give a command")
    _log.debug("running %s on %s", words, nodename)
    if remote.is_here(nodename):
        return _run(words, words, stdin or "", timeout, env)
    mark = remote.fresh_mark()
    request = remote.request(words, stdin, env, mark)
    done = _run(words, remote.ssh_command(nodename), request, timeout, {})
    answer = remote.answer(done.stdout, mark)
    if answer is None:
        raise remote.failed(nodename, done.exit_code, done.stderr)
    return Completed(words, answer[0], answer[1], done.stderr)


def _run(
    words: tuple[str, ...],
    command: tuple[str, ...],
    stdin: str,
    timeout: float,
    env: Mapping[str, str],
) -> Completed:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=command_environment() | dict(env),
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        return Completed(words, 127, "", f"{command[0]}: {error.strerror}")
    except OSError as error:
        raise SchedulerError(f"`{' '.join(words)}` cannot be started: {error}") from error
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        raise SchedulerError(f"`{' '.join(words)}` did not end within {timeout:g} s") from None
    except BaseException:
        _end(process)
        raise
    return Completed(words, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    """End a command with all it started: a child that holds the pipes would keep us waiting."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=5)


def command_environment(keep: Iterable[str] = ()) -> dict[str, str]:
    """Give the environment for commands that submit: nothing of an enclosing job, no secrets."""
    kept = _CONFIGURATION | set(keep)
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not (_INHERITED.fullmatch(name) or _SECRET.fullmatch(name.upper()))
    }


def node_local_folders() -> tuple[Path, ...]:
    """Give the folders that other hosts do not share."""
    import tempfile

    return (Path(tempfile.gettempdir()), Path("/tmp"), Path("/dev/shm"), Path("/run"))
