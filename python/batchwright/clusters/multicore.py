"""The cores of this machine: a native host process takes chunks from a queue in the registry."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from batchwright import resources, store
from batchwright.clusters.base import BatchState, ClusterFunctions, SubmitResult
from batchwright.errors import SchedulerError
from batchwright.executor import executor

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

_HOST_LIVES = 1.0
"""Seconds for which a host just started is taken for alive."""
_PATIENCE = 60.0
_SEPARATOR = "#"


class Multicore(ClusterFunctions):
    """The cores of this machine.

    Submitting returns at once. The jobs outlive this process; a later one on the same machine
    lists and kills them.

    Parameters
    ----------
    ncpus
        How many cores to use; by default all that this process may use.

    Examples
    --------
    >>> Multicore(2)
    Multicore(ncpus=2)
    """

    name = "Multicore"
    is_local: ClassVar[bool] = True

    def __init__(self, ncpus: int | None = None) -> None:
        self.ncpus = None if ncpus is None else resources.whole("ncpus", ncpus, low=1)
        self._started: dict[Path, float] = {}

    @property
    def identity(self) -> str:
        """The queue is this machine's: what another lists says nothing about it."""
        return f"multicore@{store.host_name()}"

    def submit(self, reg: Registry, jc: JobCollection) -> SubmitResult:
        """Queue the collection and see to it that a host runs."""
        cores = self.ncpus or available_cores()
        wanted = min(int(jc.resources.get("ncpus", 1)), cores)
        limit = jc.resources.get("max_concurrent_jobs", reg.max_concurrent_jobs)
        store.request_on_host(reg.store, jc.job_hash, wanted, cores, limit or 0)
        if time.monotonic() - self._started.get(reg.file_dir, float("-inf")) > _HOST_LIVES:
            start_host(reg.file_dir)
            self._started[reg.file_dir] = time.monotonic()
        return SubmitResult(0, (batch_id(jc.job_hash),))

    def finish_submit(self, reg: Registry) -> None:
        """Start a host again, should the first have left between two requests."""
        if self._started.pop(reg.file_dir, None) is not None:
            start_host(reg.file_dir)

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List what this machine queues or runs; see to it that somebody serves the queue."""
        listing = {
            batch_id(entry["chunk"]): BatchState(entry["state"], entry.get("reason") or "")
            for entry in store.listed_on_host(reg.file_dir)
            if entry["state"] in ("queued", "running")
        }
        waits = any(state.state == "queued" for state in listing.values())
        if waits and reg.writeable and not store.serves_host(reg.file_dir):
            # Killed, or gone with the machine: nobody else would run what it left.
            start_host(reg.file_dir)
        return listing

    def find_submitted(self, reg: Registry, chunks: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Find chunks in the queue, ended ones too."""
        known = {entry["chunk"] for entry in store.listed_on_host(reg.file_dir)}
        return {chunk: (batch_id(chunk),) for chunk in chunks if chunk in known}

    def kill(self, reg: Registry, batch_ids: Sequence[str]) -> None:
        """Stop chunks, with everything they started."""
        kill_on_host(reg.file_dir, [batch.partition(_SEPARATOR)[2] for batch in batch_ids])


class Socket(Multicore):
    """Another name for `Multicore`, for those who come from batchtools."""

    name = "Socket"


def batch_id(chunk: str) -> str:
    """Give the name of a chunk on this machine."""
    return f"{store.host_name()}{_SEPARATOR}{chunk}"


def start_host(file_dir: Path) -> None:
    """Start the process that runs what is queued; nothing happens if there is one."""
    _host("start", file_dir)


def kill_on_host(file_dir: Path, chunks: Sequence[str]) -> None:
    """Stop chunks on this machine."""
    _host("kill", file_dir, *chunks)


def _host(action: str, file_dir: Path, *words: str) -> str:
    command = [str(executor()), "host", action, "--registry", str(file_dir), *words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except OSError as error:
        raise SchedulerError(f"`{command[0]}` cannot be started: {error}") from error
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"`{' '.join(command)}` did not end in {_PATIENCE} s") from None
    if done.returncode != 0:
        raise SchedulerError(
            f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def available_cores() -> int:
    """Count the cores that this process may use, by affinity and by control group."""
    cores = len(os.sched_getaffinity(0))
    limit = _cgroup_limit()
    return max(1, cores if limit is None else min(cores, int(limit)))


def _cgroup_limit() -> float | None:
    """Give the tightest quota of our control groups (version 2), in cores."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return _quota(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
    group = Path("/sys/fs/cgroup") / own.lstrip("/")
    found = [_quota(folder / "cpu.max") for folder in (group, *group.parents)]
    return min((quota for quota in found if quota is not None), default=None)


def _quota(path: Path) -> float | None:
    try:
        words = path.read_text().split()
        if len(words) == 1:
            words.append((path.parent / "cpu.cfs_period_us").read_text().strip())
        quota, period = (float(word) for word in words[:2])
    except (OSError, ValueError):  # "max" is no number, and no limit
        return None
    return quota / period if quota > 0 else None
