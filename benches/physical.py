"""What the machine itself needs for as much: the lower bounds beside the figures."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
REPEATS = 5
ENOUGH = 10.0
"""Seconds after which a limit is not measured again."""


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def write(amount: int, folder: Path) -> float:
    """Write bytes one after the other, and make them durable."""
    block = os.urandom(_BLOCK)

    def once() -> None:
        with (folder / "written").open("wb", buffering=0) as file:
            for start in range(0, amount, _BLOCK):
                file.write(block[: min(_BLOCK, amount - start)])
            os.fdatasync(file.fileno())

    return _timed(once)


def read(amount: int, folder: Path) -> float:
    """Read bytes that the page cache holds, as it holds what was just written."""
    path = folder / "read"
    if not path.exists() or path.stat().st_size != amount:
        path.write_bytes(os.urandom(_BLOCK) * (amount // _BLOCK) + b"x" * (amount % _BLOCK))

    def once() -> None:
        with path.open("rb", buffering=0) as file:
            while file.read(_BLOCK):
                pass

    return _timed(once)


def create(amount: int, folder: Path) -> float:
    """Create small files under a temporary name and rename them, as any careful program does."""
    to = folder / "created"
    to.mkdir()

    def once() -> None:
        for i in range(amount):
            temporary = f"{to}/t{i}"
            with open(temporary, "wb") as file:  # noqa: PTH123 - the least that it can cost
                file.write(b"x" * 300)
            os.rename(temporary, f"{to}/{i}")  # noqa: PTH104

    found = _timed(once)
    subprocess.run(["rm", "-r", to], check=True)
    return found


def sync(amount: int, folder: Path) -> float:
    """Append a line and make it durable, again and again."""

    def once() -> None:
        with (folder / "synced").open("ab", buffering=0) as file:
            for _ in range(amount):
                file.write(b"x" * 100)
                os.fdatasync(file.fileno())

    return _timed(once)


def unpickle(amount: int, folder: Path) -> float:
    """Load small pickles into a list."""
    pickles = [pickle.dumps({"x": i}) for i in range(amount)]
    return _timed(lambda: list(map(pickle.loads, pickles)))


def compute(amount: int, folder: Path) -> float:
    """Unpickle arguments, call, and pickle the result, on two cores at once."""
    from workloads.common import CORES, job

    fun = job()
    given = [pickle.dumps((i, 0.0)) for i in range(amount // CORES)]

    def half() -> None:
        for data in given:
            pickle.dumps(fun(*pickle.loads(data)))

    def both() -> None:
        children = [_forked(half) for _ in range(CORES)]
        for child in children:
            os.waitpid(child, 0)

    return _timed(both)


def _forked(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    return child


def compare(amount: int, folder: Path) -> float:
    """Compare a column with a number."""
    import numpy as np

    column = np.arange(amount)
    return _timed(lambda: column > 10)


def copy(amount: int, folder: Path) -> float:
    """Copy memory."""
    import numpy as np

    column = np.ones(max(amount // 8, 1))
    return _timed(column.copy)


def sort(amount: int, folder: Path) -> float:
    """Sort floats."""
    import numpy as np

    column = np.random.default_rng(1).exponential(1.0, amount)
    return _timed(lambda: np.sort(column))


def shuffle(amount: int, folder: Path) -> float:
    """Shuffle numbers."""
    import numpy as np

    column = np.arange(amount, dtype=np.int32)
    return _timed(lambda: np.random.default_rng(1).permutation(column))


def list_(amount: int, folder: Path) -> float:
    """Make a dict of as many batch ids, which any listing is."""
    names = [f"{i:032x}" for i in range(amount)]
    return _timed(lambda: dict.fromkeys(names, 1))


def spawn(amount: int, folder: Path) -> float:
    """Start a process that ends at once."""

    def once() -> None:
        for _ in range(amount):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)

    return _timed(once)


def python(amount: int, folder: Path) -> float:
    """Start an interpreter that ends at once."""

    def once() -> None:
        for _ in range(amount):
            subprocess.run([sys.executable, "-c", "pass"], check=True)

    return _timed(once)


KINDS: dict[str, Any] = {
    "write": write,
    "read": read,
    "create": create,
    "sync": sync,
    "unpickle": unpickle,
    "compute": compute,
    "compare": compare,
    "copy": copy,
    "sort": sort,
    "shuffle": shuffle,
    "list": list_,
    "spawn": spawn,
    "python": python,
}
ALWAYS = (("sync", 300), ("spawn", 100), ("python", 10))
"""Told whatever is measured: the disk, processes, the interpreter."""


def seconds(kind: str, amount: float, folder: Path) -> list[float]:
    """Measure a limit several times."""
    found: list[float] = []
    while len(found) < REPEATS and sum(found) < ENOUGH:
        found.append(KINDS[kind](int(amount), folder))
    return found
