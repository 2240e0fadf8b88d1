"""What a measurement is, and how one process takes it: wall time, CPU time, memory, disk."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

_SET_CHILD_SUBREAPER = 36
_TICK = os.sysconf("SC_CLK_TCK")
_adopting = False


@dataclass
class Figure:
    """One number of one process."""

    what: str
    n: int
    """Jobs, chunks or elements, as `what` says."""
    wall: float = 0.0
    cpu: float = 0.0
    """User and system seconds, of this process and its descendants."""
    peak_mb: float = 0.0
    """Most memory the process ever held (1e6 bytes)."""
    files: int = 0
    disk_mb: float = 0.0
    """Blocks on disk."""
    limit: tuple[str, float] | None = None
    """What the machine would need at the very least: a kind of `physical.KINDS` and an amount."""
    extra: dict[str, float] = field(default_factory=dict)

    def emit(self) -> None:
        """Print the figure as a line of JSON, which the parent process reads."""
        self.peak_mb = self.peak_mb or peak_mb()
        print(json.dumps(asdict(self)), flush=True)


@contextlib.contextmanager
def measured(what: str, n: int, *, limit: tuple[str, float] | None = None) -> Iterator[Figure]:
    """Time a block; what else is known of it can be set on the figure until it is emitted."""
    figure = Figure(what, n, limit=limit)
    cpu, start = cpu_seconds(), time.perf_counter()
    yield figure
    figure.wall = time.perf_counter() - start
    figure.cpu = cpu_seconds() - cpu


def repeated(what: str, n: int, times: int, action: Callable[[], object]) -> Figure:
    """Time something short: the mean of many calls in a row."""
    with measured(what, n) as figure:
        for _ in range(times):
            action()
    figure.wall /= times
    figure.cpu /= times
    return figure


def adopt_orphans() -> None:
    """Let what daemons we start become our children, so that their CPU time counts."""
    global _adopting
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _adopting = True


def cpu_seconds() -> float:
    """Give the CPU seconds of this process, of its ended children, and of living orphans."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    living = sum(_descendants().values()) if _adopting else 0.0
    return sum(use.ru_utime + use.ru_stime for use in own) + living


def _descendants() -> dict[int, float]:
    parents: dict[int, tuple[int, float]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - quicker, and this is within a measurement
        if entry.isdigit():
            with contextlib.suppress(OSError):
                text = Path("/proc", entry, "stat").read_text()
                fields = text.rpartition(")")[2].split()
                ticks = sum(map(int, fields[11:15]))
                parents[int(entry)] = (int(fields[1]), ticks / _TICK)
    found: dict[int, float] = {}
    families = {os.getpid()}
    while families:
        families = {pid for pid, (parent, _) in parents.items() if parent in families}
        found.update({pid: parents[pid][1] for pid in families})
    return found


def peak_mb() -> float:
    """Give the most memory this process ever held; `ru_maxrss` would count its parent's, too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@dataclass(frozen=True)
class Usage:
    """What lies in a folder."""

    files: int
    size: int
    """Bytes of content."""
    disk: int
    """Bytes of blocks."""


def usage(folder: Path, inside: str = ".") -> Usage:
    """Count the files of a folder, or of one folder in it, and their bytes."""
    stats = [path.lstat() for path in (folder / inside).rglob("*") if path.is_file()]
    return Usage(len(stats), sum(s.st_size for s in stats), sum(s.st_blocks * 512 for s in stats))


def put_on_disk(figure: Figure, folder: Path) -> None:
    """Note what a registry takes on disk."""
    found = usage(folder)
    figure.files, figure.disk_mb = found.files, found.disk / 1e6
