"""What submitting and waiting cost by themselves: the backend does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from measuring import Figure, measured, repeated, usage

from workloads.common import CHUNKS, Workload, columns, defined, job, loaded, nowhere, warm

MOST_CHUNKS = 100_000
POLLS = 50


def chunks_of_one(n: int, folder: Path) -> Iterator[Figure]:
    """Submit each job as a chunk of its own."""
    import batchwright as bw

    warm()
    reg = bw.make_registry(folder / "reg", conf_file=None, seed=1)
    reg.cluster_functions = nowhere()
    reg.max_chunks = n
    reg.batch_map(job(), **columns(n))
    before = usage(reg.file_dir).size
    with measured("submit, chunks of one job", n) as figure:
        reg.submit_jobs()
    after = usage(reg.file_dir)
    figure.files, figure.disk_mb = after.files, after.disk / 1e6
    figure.limit = ("create", n)
    figure.extra["bytes"] = after.size - before
    yield figure
    poll = repeated("idle poll, chunks of one job", n, 5, lambda: _poll(reg))
    poll.limit = ("list", n)
    yield poll


def idle_poll(n: int, folder: Path) -> Iterator[Figure]:
    """Look and merge while nothing has happened: all wait, then all have ended."""
    warm()
    reg = defined(n, folder)
    reg.cluster_functions = nowhere()
    reg.submit_jobs(n_chunks=CHUNKS)
    _poll(reg)
    poll = repeated("idle poll, all wait", n, POLLS, lambda: _poll(reg))
    poll.limit = ("list", CHUNKS)
    yield poll


def idle_poll_ended(n: int, folder: Path) -> Iterator[Figure]:
    warm()
    reg = loaded(folder, writeable=True)
    _poll(reg)
    poll = repeated("idle poll, all ended", n, POLLS, lambda: _poll(reg))
    poll.limit = ("list", CHUNKS)
    yield poll
    reg.store.close()


def _poll(reg: object) -> None:
    from batchwright import looking

    # Otherwise one look a second would be shared by all polls.
    looking.forget(reg)
    looking.sync(reg)


WORKLOADS = [
    Workload("submit chunks of one", chunks_of_one, most=MOST_CHUNKS),
    Workload("idle poll", idle_poll),
    Workload("idle poll, ended", idle_poll_ended, needs="finished", changes=True),
]
