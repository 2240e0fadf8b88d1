"""Hosts without a scheduler, reached by ssh: each takes chunks from a queue in the registry."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from batchwright import resources, store
from batchwright.clusters import remote
from batchwright.clusters.base import (
    BatchState,
    ClusterFunctions,
    Completed,
    SubmitResult,
    check_hooks,
    run_command,
)
from batchwright.errors import ConfigError, SchedulerError
from batchwright.executor import executor

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

_T = TypeVar("_T")
_FRESH: Final = 5.0
"""Seconds for which a host's answer about its load is believed."""
_SEPARATOR: Final = "#"
_WITH_NAME: Final = 'uname -n && exec "$@"'
_log = logging.getLogger("batchwright")


@dataclass(frozen=True, slots=True)
class Worker:
    """A host that runs jobs.

    Parameters
    ----------
    nodename
        As ssh knows it; `localhost` needs no ssh.
    ncpus
        How many of its cores to use; by default all.
    max_load
        Above which load average it gets no more.

    Examples
    --------
    >>> Worker("node1", ncpus=4)
    Worker(nodename='node1', ncpus=4, max_load=None)
    """

    nodename: str
    ncpus: int | None = None
    max_load: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.nodename), str):
            raise ConfigError(f"`nodename` is {self.nodename!r}: give the name of a host")
        remote.check_host(self.nodename)
        if self.ncpus is not None:
            resources.whole("ncpus", self.ncpus, low=1)
        if self.max_load is not None:
            resources.positive("max_load", self.max_load)


@dataclass(slots=True)
class _Host:
    """What is known of a worker during a submission."""

    worker: Worker
    name: str
    """Its own name, by which its queue goes."""
    cores: int
    load: float
    waiting: int
    """Cores that running and queued chunks ask for."""
    at: float

    @property
    def fullness(self) -> float:
        """How much is asked of each core."""
        return self.waiting / self.cores


class SSH(ClusterFunctions):
    """Hosts without a scheduler that see the registry's folder.

    Chunks go to the host that has the least to do; it runs them in order within its cores.

    Parameters
    ----------
    workers
        The hosts.
    fs_latency
        Seconds until files of the hosts are seen here.

    Examples
    --------
    >>> SSH([Worker("node1"), Worker("node2", ncpus=8)])
    SSH(workers=[Worker('node1'), Worker('node2', ncpus=8)])
    """

    name = "SSH"

    def __init__(
        self,
        workers: Sequence[Worker],
        *,
        fs_latency: float = 65.0,
        hooks: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        self.workers = _checked(workers)
        self.fs_latency = resources.positive("fs_latency", fs_latency, zero=True)
        self.hooks = check_hooks(hooks)
        self._hosts: dict[str, _Host] = {}
        self._started: dict[str, float] = {}
        self._seen_to: dict[str, float] = {}

    @classmethod
    def from_plain(cls, workers: Sequence[Any] = (), **arguments: Any) -> Self:
        """Make it from a configuration: hosts by name, or as tables."""
        return cls([_worker(one) for one in workers], **arguments)

    def arguments(self) -> dict[str, Any]:
        """Give the arguments as plain data."""
        plain = [{k: v for k, v in asdict(w).items() if v is not None} for w in self.workers]
        return {**super().arguments(), "workers": plain}

    def submit(self, reg: Registry, jc: JobCollection) -> SubmitResult:
        """Queue the collection on the host with the least to do."""
        hosts = self._known(reg)
        if not hosts:
            names = ", ".join(worker.nodename for worker in self.workers)
            return SubmitResult(101, message=f"no worker answers by ssh: {names}")
        free = [host for host in hosts if _has_room(host)]
        if not free:
            return SubmitResult(1, message="the load of all workers is above their `max_load`")
        host = min(free, key=lambda host: host.fullness)
        wanted = min(int(jc.resources.get("ncpus", 1)), host.cores)
        store.request_on_host(reg.store, jc.job_hash, wanted, host.cores, 0, host.name)
        host.waiting += wanted
        nodename = host.worker.nodename
        if time.monotonic() - self._started.get(nodename, float("-inf")) > _FRESH:
            _ask(nodename, "start", reg.file_dir)
            self._started[nodename] = time.monotonic()
        return SubmitResult(0, (batch_id(nodename, jc.job_hash),))

    def finish_submit(self, reg: Registry) -> None:
        """Start the hosts again, should one have left between two requests."""
        used, self._started = list(self._started), {}
        self._hosts = {}
        for nodename in used:
            _ask(nodename, "start", reg.file_dir)

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List what the hosts queue or run; of one that is silent nothing is known to be gone."""
        listing: dict[str, BatchState] = {}
        silent = {w.nodename for w in self.workers}
        for worker, entries in self._each(lambda w: _entries(w.nodename, reg.file_dir)):
            silent.discard(worker.nodename)
            for entry in entries:
                if entry["state"] in ("queued", "running"):
                    named = batch_id(worker.nodename, entry["chunk"])
                    listing[named] = BatchState(entry["state"])
            if reg.writeable and any(entry["state"] == "queued" for entry in entries):
                self._see_to(worker.nodename, reg)
        if len(silent) == len(self.workers):
            raise SchedulerError(f"no worker answers by ssh: {', '.join(sorted(silent))}")
        for _, _, batch in reg.store.core.open_chunks():
            nodename = batch.partition(_SEPARATOR)[0]
            if nodename in silent:
                listing[batch] = BatchState("running", f"`{nodename}` does not answer")
        return listing

    def kill(self, reg: Registry, batch_ids: Sequence[str]) -> None:
        """Stop chunks, with everything they started."""
        chunks: dict[str, list[str]] = {}
        for batch in batch_ids:
            nodename, _, chunk = batch.partition(_SEPARATOR)
            chunks.setdefault(nodename, []).append(chunk)
        for nodename, some in chunks.items():
            _ask(nodename, "kill", reg.file_dir, *some)

    def find_submitted(
        self, reg: Registry, chunks: Sequence[str]
    ) -> Mapping[str, Sequence[str]] | None:
        """Find chunks in the hosts' queues, and see to it that a host serves them."""
        found: dict[str, Sequence[str]] = {}
        answers = list(self._each(lambda w: _entries(w.nodename, reg.file_dir)))
        for worker, entries in answers:
            known = {entry["chunk"] for entry in entries} & set(chunks)
            found |= {chunk: (batch_id(worker.nodename, chunk),) for chunk in known}
            if known:
                _ask(worker.nodename, "start", reg.file_dir)
        if len(answers) < len(self.workers) and len(found) < len(chunks):
            raise SchedulerError("not all workers answer by ssh")
        return found

    def _see_to(self, nodename: str, reg: Registry) -> None:
        """Start a host process again if it was killed: nobody else would run what it left."""
        now = time.monotonic()
        if now - self._seen_to.get(nodename, float("-inf")) < _FRESH:
            return
        self._seen_to[nodename] = now
        try:
            _ask(nodename, "start", reg.file_dir)
        except (SchedulerError, OSError) as error:
            _log.warning("worker `%s`: %s", nodename, error)

    def _known(self, reg: Registry) -> list[_Host]:
        """Give the hosts that answer, asked anew after a while."""
        now = time.monotonic()
        if not self._hosts or any(now - host.at > _FRESH for host in self._hosts.values()):
            fresh = self._each(lambda w: _status(w, reg.file_dir))
            self._hosts = {worker.nodename: host for worker, host in fresh}
        return list(self._hosts.values())

    def _each(self, ask: Callable[[Worker], _T]) -> Iterable[tuple[Worker, _T]]:
        """Ask all workers at once; those that do not answer are left out, and logged."""
        with ThreadPoolExecutor(min(len(self.workers), 16)) as pool:
            asked = [(worker, pool.submit(ask, worker)) for worker in self.workers]
            for worker, answer in asked:
                try:
                    yield worker, answer.result()
                except (SchedulerError, OSError) as error:
                    _log.warning("worker `%s`: %s", worker.nodename, error)

    def _shown(self) -> dict[str, Any]:
        return {**super()._shown(), "workers": [_Brief(worker) for worker in self.workers]}


@dataclass(frozen=True, slots=True)
class _Brief:
    worker: Worker

    def __repr__(self) -> str:
        more = {"ncpus": self.worker.ncpus, "max_load": self.worker.max_load}
        given = [f"{name}={value!r}" for name, value in more.items() if value is not None]
        return f"Worker({', '.join([repr(self.worker.nodename), *given])})"


def batch_id(nodename: str, chunk: str) -> str:
    """Give the name of a chunk on a host.

    Examples
    --------
    >>> batch_id("node1", "0123")
    'node1#0123'
    """
    return f"{nodename}{_SEPARATOR}{chunk}"


def host_command(verb: str, file_dir: Path, *words: str) -> list[str]:
    """Give the command that asks the host process of the machine it runs on."""
    return [str(executor()), "host", verb, "--registry", str(file_dir), *words]


def parse_status(worker: Worker, done: Completed, now: float) -> _Host:
    """Read a host's name and what its queue has to do."""
    name, _, line = done.stdout.partition("\n")
    try:
        status = json.loads(line)
        cores = worker.ncpus or max(1, int(status["cores"]))
        waiting = int(status["occupied"]) + int(status["queued"])
        load = float(status["load_average"][0])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SchedulerError(f"an answer that cannot be understood: {done.stdout!r}") from error
    return _Host(worker, name.strip(), cores, load, waiting, now)


def parse_entries(done: Completed) -> list[dict[str, Any]]:
    """Read what a host queues, runs and has run."""
    try:
        entries = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
        for entry in entries:
            _ = entry["chunk"], entry["state"]
    except (ValueError, KeyError, TypeError) as error:
        raise SchedulerError(f"an answer that cannot be understood: {done.stdout!r}") from error
    return entries


def _has_room(host: _Host) -> bool:
    return host.worker.max_load is None or host.load <= host.worker.max_load


def _status(worker: Worker, file_dir: Path) -> _Host:
    command = ["/bin/sh", "-c", _WITH_NAME, "sh", *host_command("status", file_dir)]
    return parse_status(worker, _run(command, worker.nodename), time.monotonic())


def _entries(nodename: str, file_dir: Path) -> list[dict[str, Any]]:
    return parse_entries(_run(host_command("list", file_dir), nodename))


def _ask(nodename: str, verb: str, file_dir: Path, *words: str) -> Completed:
    return _run(host_command(verb, file_dir, *words), nodename)


def _run(command: Sequence[str], nodename: str) -> Completed:
    done = run_command(command, nodename=nodename)
    if done.exit_code != 0:
        raise SchedulerError(f"on `{nodename}`: {SubmitResult.from_failure(done).message}")
    return done


def _worker(plain: Any) -> Worker:
    if isinstance(plain, Worker):
        return plain
    if isinstance(plain, str):
        return Worker(plain)
    if isinstance(plain, Mapping):
        return Worker(**cast("Mapping[str, Any]", plain))
    raise ConfigError(f"a worker is {plain!r}: give the name of a host, or a table")


def _checked(workers: object) -> tuple[Worker, ...]:
    if isinstance(workers, str | Worker) or not isinstance(workers, Iterable):
        raise ConfigError(f"`workers` is {workers!r}: give a list of `Worker`s")
    found = tuple(cast("Iterable[object]", workers))
    for worker in found:
        if not isinstance(worker, Worker):
            raise ConfigError(f"`workers` holds {worker!r}: give a `Worker`")
    checked = cast("tuple[Worker, ...]", found)
    names = [worker.nodename for worker in checked]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not names:
        raise ConfigError(
            f"worker `{twice}` is named twice" if twice else "`workers` is empty: name a host"
        )
    return checked
