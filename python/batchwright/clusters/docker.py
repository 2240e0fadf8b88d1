"""Docker Swarm: each chunk is a service with one task."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright import resources
from batchwright.clusters import remote
from batchwright.clusters.base import (
    BatchState,
    ClusterFunctions,
    Completed,
    SubmitResult,
    check_hooks,
    run_command,
)
from batchwright.clusters.scheduler import failed, says, unclear, words
from batchwright.collection import short_name
from batchwright.errors import ConfigError, SchedulerError

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

TEMPORARY: Final = ("Cannot connect to the Docker daemon", "no resources available")
DOUBTFUL: Final = ("context deadline exceeded", "DeadlineExceeded", "connection reset", "EOF")
_CONFLICT: Final = "AlreadyExists"
_ID: Final = re.compile(r"^[a-z0-9]{25}$", re.MULTILINE)
_QUEUED: Final = frozenset({"new", "pending", "assigned", "accepted", "preparing", "ready"})
_RUNNING: Final = frozenset({"starting", "running"})
_ENDED: Final = frozenset({"complete", "failed", "rejected", "shutdown", "orphaned", "remove"})
_ROW: Final = re.compile(r"(bw-[a-z2-7]{15})\.[^|]*\|(\w+)[^|]*\|(.*)")
# 128 + SIGKILL: the kernel, for want of memory, or anybody.
_KILLED: Final = "(137)"
_INSPECT_TASK: Final = (
    *("inspect", "--type", "task", "--format"),
    "{{.ID}} {{with .Status.ContainerStatus}}{{.ContainerID}}{{end}}",
)
_INSPECT_CONTAINER: Final = (
    *("inspect", "--type", "container", "--format"),
    "{{.Id}} {{.State.OOMKilled}}",
)
_log = logging.getLogger("batchwright")


class Docker(ClusterFunctions):
    """A Docker Swarm whose nodes see the registry's folder.

    Parameters
    ----------
    image
        The image that jobs run in; it needs the Python version of this process, and cloudpickle.
    docker_args
        Words behind `docker`, such as `("--context", "cluster")`.
    image_args
        Words before the image, such as `("--mount", "type=bind,src=/data,dst=/data")`.
    nodename
        A manager of the swarm, by ssh if it is not this machine.
    scheduler_latency
        Seconds until the swarm lists what was submitted.
    fs_latency
        Seconds until files of the nodes are seen here.

    Examples
    --------
    >>> Docker("python:3.11")
    Docker(image='python:3.11')
    """

    name = "Docker"

    def __init__(
        self,
        image: str,
        docker_args: Sequence[str] = (),
        image_args: Sequence[str] = (),
        *,
        nodename: str = "localhost",
        scheduler_latency: float = 1.0,
        fs_latency: float = 65.0,
        hooks: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        self.image = _image(image)
        self.docker_args = _texts("docker_args", docker_args)
        self.image_args = _texts("image_args", image_args)
        self.nodename = nodename
        if not remote.is_here(nodename):
            remote.check_host(nodename)
        self.scheduler_latency = resources.positive(
            "scheduler_latency", scheduler_latency, zero=True
        )
        self.fs_latency = resources.positive("fs_latency", fs_latency, zero=True)
        self.hooks = check_hooks(hooks)

    def submit(self, reg: Registry, jc: JobCollection) -> SubmitResult:
        """Make a service of the collection."""
        jc.log_file.parent.mkdir(parents=True, exist_ok=True)
        words = create_words(jc, reg.store.core.uuid, self.image, self.image_args)
        return parse_submit(self._run(words), service_name(jc.job_hash))

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List what waits or runs, by two calls: services, and their tasks."""
        rows = self._rows(self._names(reg))
        listing: dict[str, BatchState] = {}
        for name, (state, error) in rows.items():
            if state not in _ENDED:
                listing[name] = BatchState("queued" if state in _QUEUED else "running", error)
        return listing

    def kill(self, reg: Registry, batch_ids: Sequence[str]) -> None:
        """Remove services, which stops their tasks."""
        done = self._run(["service", "rm", *batch_ids])
        lines = [line for line in words(done).splitlines() if line.strip()]
        known = (*batch_ids, "not found", "no such service")
        if done.exit_code != 0 and not all(any(k in line for k in known) for line in lines):
            raise failed(done)

    def find_submitted(
        self, reg: Registry, chunks: Sequence[str]
    ) -> Mapping[str, Sequence[str]] | None:
        """Find chunks by the names of services, which stay until they are removed."""
        names = set(self._names(reg))
        return {c: (service_name(c),) for c in chunks if service_name(c) in names}

    def account(self, reg: Registry, gone: Mapping[str, bool]) -> Mapping[str, str | None]:
        """Read how tasks ended, as their services and, after a SIGKILL, their containers tell."""
        rows = self._rows([name for name in self._names(reg) if name in gone])
        killed = [name for name, (_, error) in rows.items() if _KILLED in error]
        starved = self._out_of_memory(killed) if killed else frozenset[str]()
        return {
            name: cause_of(*row, began=gone[name], out_of_memory=name in starved)
            for name, row in rows.items()
        }

    def tidy(self, reg: Registry) -> None:
        """Remove services that have ended; nothing else does."""
        try:
            rows = self._rows(self._names(reg))
            ended = [name for name, (state, _) in rows.items() if state in _ENDED]
            if ended:
                self._run(["service", "rm", *ended])
        except SchedulerError as error:
            _log.info("services were not removed: %s", error)

    def _run(self, arguments: Sequence[str]) -> Completed:
        return run_command(["docker", *self.docker_args, *arguments], nodename=self.nodename)

    def _names(self, reg: Registry) -> list[str]:
        label = f"label=batchwright.registry={reg.store.core.uuid}"
        return parse_names(self._run(["service", "ls", "--filter", label, "--format", "{{.Name}}"]))

    def _out_of_memory(self, names: Sequence[str]) -> frozenset[str]:
        """Give the services whose container the kernel killed; only its own node knows that."""
        columns = "{{.Name}} {{.ID}}"
        done = self._run(["service", "ps", "--no-trunc", "--format", columns, *names])
        tasks = parse_newest(done)
        found = parse_inspected(self._run([*_INSPECT_TASK, *tasks.values()]))
        containers = [found[task] for task in tasks.values() if task in found]
        if not containers:
            return frozenset()
        states = parse_inspected(self._run([*_INSPECT_CONTAINER, *containers]))
        return frozenset(
            name for name, task in tasks.items() if states.get(found.get(task, "")) == "true"
        )

    def _rows(self, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        if not names:
            return {}
        columns = "{{.Name}}|{{.CurrentState}}|{{.Error}}"
        return parse_tasks(self._run(["service", "ps", "--no-trunc", "--format", columns, *names]))


def service_name(chunk: str) -> str:
    """Give the name of a chunk's service.

    Examples
    --------
    >>> service_name("0" * 32)
    'bw-baaaaaaaaaaaaaa'
    """
    return f"bw-{short_name(chunk)}"


def create_words(
    jc: JobCollection, registry: str, image: str, image_args: Sequence[str]
) -> list[str]:
    """Give the words behind `docker` that make the service."""
    words = ["service", "create", "--detach", "--quiet", "--no-resolve-image"]
    words += ["--name", service_name(jc.job_hash), "--restart-condition", "none"]
    words += ["--label", f"batchwright.registry={registry}"]
    words += ["--label", f"batchwright.chunk={jc.job_hash}"]
    words += ["--user", f"{os.getuid()}:{os.getgid()}", "--workdir", str(jc.work_dir)]
    package = Path(jc.command[0]).parents[1]
    for folder in dict.fromkeys((jc.file_dir, jc.work_dir)):
        words += ["--mount", _mount(folder)]
    words += ["--mount", f"{_mount(package)},readonly"]
    if "ncpus" in jc.resources:
        words += ["--limit-cpu", str(jc.resources["ncpus"])]
        words += ["--reserve-cpu", str(jc.resources["ncpus"])]
    if "memory" in jc.resources:
        size = str(int(jc.resources["memory"] * 1_000_000))
        words += ["--limit-memory", size, "--reserve-memory", size]
    return [*words, *image_args, image, *jc.command, "--log", str(jc.log_file)]


def _mount(folder: Path) -> str:
    text = str(folder)
    if "," in text or '"' in text:
        raise ConfigError(f"`{text}` holds a comma or quote, which a mount of Docker cannot")
    return f"type=bind,src={text},dst={text}"


def parse_submit(done: Completed, name: str) -> SubmitResult:
    """Read the answer to `docker service create`; a name that is taken is ours."""
    if (done.exit_code == 0 and _ID.search(done.stdout)) or _CONFLICT in done.stderr:
        return SubmitResult(0, (name,))
    if done.exit_code == 0:
        raise unclear(done)
    if says(done, TEMPORARY):
        return SubmitResult.from_failure(done, 1)
    if says(done, DOUBTFUL):
        raise failed(done)
    return SubmitResult.from_failure(done)


def parse_names(done: Completed) -> list[str]:
    """Read names of services."""
    if done.exit_code != 0:
        raise failed(done)
    return [name for name in done.stdout.split() if name.startswith("bw-")]


def parse_tasks(done: Completed) -> dict[str, tuple[str, str]]:
    """Read state and error of each service's newest task, which stands first."""
    if done.exit_code != 0:
        raise failed(done)
    found: dict[str, tuple[str, str]] = {}
    for line in done.stdout.splitlines():
        row = _ROW.fullmatch(line)
        state = row[2].lower() if row else ""
        if row is None or state not in _QUEUED | _RUNNING | _ENDED:
            raise SchedulerError(f"docker gave a row that cannot be understood: {line!r}")
        found.setdefault(row[1], (state, row[3].strip('"')))
    return found


def parse_newest(done: Completed) -> dict[str, str]:
    """Read the newest task of each service, which stands first."""
    if done.exit_code != 0:
        raise failed(done)
    found: dict[str, str] = {}
    for name, task in _pairs(done):
        found.setdefault(name.rpartition(".")[0], task)
    return found


def parse_inspected(done: Completed) -> dict[str, str]:
    """Read a word for each object; what docker does not know it leaves out, and fails."""
    return dict(_pairs(done))


def _pairs(done: Completed) -> list[tuple[str, str]]:
    lines = [line.split() for line in done.stdout.splitlines()]
    return [(line[0], line[1]) for line in lines if len(line) == 2]


def cause_of(state: str, error: str, *, began: bool, out_of_memory: bool = False) -> str | None:
    """Give the cause by state and error of a task; None while it has not ended."""
    if state not in _ENDED:
        return None
    if state == "complete":
        return "storage" if began else "not_started"
    if state == "remove":
        return "killed"
    if state in ("shutdown", "orphaned"):
        return "node"
    if out_of_memory:
        return "oom"
    if _KILLED in error:
        return "killed"
    return "crashed" if state == "failed" and began else "setup"


def _image(value: object) -> str:
    if not isinstance(value, str) or not value or value.startswith("-"):
        raise ConfigError(f"`image` is {value!r}: give the name of an image")
    resources.refuse_control("image", value)
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"`{name}` is {value!r}: give a list of words")
    return tuple(resources.text(name, word) for word in cast("Iterable[Any]", value))
