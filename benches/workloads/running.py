"""Running jobs on this machine, and merging what they wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from measuring import Figure, adopt_orphans, measured, put_on_disk, usage

from workloads.common import CHUNKS, Workload, defined, loaded, warm


def run(n: int, folder: Path) -> Iterator[Figure]:
    """Submit, run in chunks on two cores, and wait, as a user does."""
    adopt_orphans()
    warm()
    reg = defined(n, folder)
    with measured("run", n, limit=("compute", n)) as figure:
        with measured("run: submit", n, limit=("sync", CHUNKS)) as submit:
            reg.submit_jobs(n_chunks=CHUNKS)
        done = reg.wait_for_jobs()
    assert done
    put_on_disk(figure, reg.file_dir)
    yield figure
    yield submit


def sync_read_only(n: int, folder: Path) -> Iterator[Figure]:
    """Open a registry whose jobs have ended meanwhile, as a reader, and merge."""
    from batchwright import store

    core = store.opened(folder / "reg", writeable=False, break_lock=False)
    limit = ("read", usage(folder / "reg", "runs").size)
    with measured("sync, as a reader", n, limit=limit) as figure:
        core.sync()
    assert core.counts(None)["done"] == n
    yield figure


def sync(n: int, folder: Path) -> Iterator[Figure]:
    """The same as its owner, who writes down what was merged."""
    from batchwright import store

    core = store.opened(folder / "reg", writeable=True, break_lock=False)
    limit = ("read", usage(folder / "reg", "runs").size)
    with measured("sync", n, limit=limit) as figure:
        core.sync()
    assert core.counts(None)["done"] == n
    yield figure
    core.close()


def catch_up(n: int, folder: Path) -> Iterator[Figure]:
    """What a user waits for who comes back: load and sync."""
    warm()
    limit = ("read", usage(folder / "reg", "runs").size)
    with measured("load and sync all", n, limit=limit) as figure:
        reg = loaded(folder)
        reg.sync_registry()
    assert reg.get_status().done == n
    yield figure


WORKLOADS = [
    Workload("run", run),
    Workload("sync", sync, needs="ended", changes=True),
    Workload("sync, as a reader", sync_read_only, needs="ended"),
    Workload("catch up", catch_up, needs="ended"),
]
