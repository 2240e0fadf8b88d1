"""Defining jobs, opening the registry again, and asking it about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from measuring import Figure, measured, put_on_disk, usage

from workloads.common import Workload, columns, job, loaded, made, warm


def define(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg, given = made(folder), columns(n)
    with measured("define", n) as figure:
        reg.batch_map(job(), **given)
    put_on_disk(figure, reg.file_dir)
    figure.limit = ("write", usage(reg.file_dir).size)
    yield figure


def reopen(n: int, folder: Path) -> Iterator[Figure]:
    """Load a saved registry whose jobs are done; results and logs are not read for that."""
    yield _reopened("reopen", n, folder)


def reopen_defined(n: int, folder: Path) -> Iterator[Figure]:
    """Load one whose jobs have never run."""
    yield _reopened("reopen, defined", n, folder)


def _reopened(what: str, n: int, folder: Path) -> Figure:
    warm()
    snapshot = sum(path.stat().st_size for path in (folder / "reg").glob("snapshot-*"))
    with measured(what, n, limit=("read", snapshot)) as figure:
        loaded(folder)
    return figure


def predicate(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg = loaded(folder)
    with measured("string predicate", n, limit=("compare", n)) as figure:
        found = reg.find_jobs("x > 10")
    assert len(found) == n - 11
    yield figure
    with measured("string predicate, again", n, limit=("compare", n)) as figure:
        reg.find_jobs("x > 10")
    yield figure
    with measured("string predicate, half match", n, limit=("compare", n)) as figure:
        found = reg.find_jobs("x % 2 == 0")
    assert len(found) == n // 2
    yield figure


def job_table(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg = loaded(folder)
    with measured("whole job table", n) as figure:
        table = reg.get_job_table()
    assert table.num_rows == n
    figure.limit = ("copy", table.nbytes)
    yield figure


def status(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg = loaded(folder)
    with measured("get_status", n, limit=("compare", n)) as figure:
        found = reg.get_status()
    assert found.done == n
    yield figure


WORKLOADS = [
    Workload("define", define, is_large=True),
    Workload("reopen, defined", reopen_defined, needs="defined", is_large=True),
    Workload("reopen", reopen, needs="finished"),
    Workload("predicate", predicate, needs="defined", is_large=True),
    Workload("job table", job_table, needs="finished"),
    Workload("status", status, needs="finished"),
]
