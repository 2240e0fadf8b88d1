"""Collecting results, and looking through logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from measuring import Figure, measured, usage

from workloads.common import Workload, loaded, warm


def as_list(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg = loaded(folder)
    with measured("collect list", n, limit=("unpickle", n)) as figure:
        found = reg.reduce_results_list()
    assert len(found) == n
    assert found[-1] == {"x": 2 * (n - 1)}
    yield figure


def as_table(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg = loaded(folder)
    limit = ("read", usage(folder / "reg", "runs").size)
    with measured("collect table", n, limit=limit) as figure:
        table = reg.reduce_results_table()
    assert table.num_rows == n
    yield figure


def in_turn(n: int, folder: Path) -> Iterator[Figure]:
    """One after the other, in constant memory."""
    warm()
    reg = loaded(folder)
    with measured("collect by iterator", n, limit=("unpickle", n)) as figure:
        count = sum(1 for _ in reg.iter_results())
    assert count == n
    yield figure


def grep(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg = loaded(folder)
    limit = ("read", usage(folder / "reg", "runs").size)
    with measured("grep logs", n, limit=limit) as figure:
        reg.grep_logs(pattern="boom")
    yield figure


WORKLOADS = [
    Workload("collect list", as_list, needs="finished"),
    Workload("collect table", as_table, needs="finished"),
    Workload("collect by iterator", in_turn, needs="finished"),
    Workload("grep", grep, needs="finished"),
]
