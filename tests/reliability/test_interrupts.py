"""Ctrl-C is answered at once, however long a call lasts, and the registry goes on after it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

import batchwright as bw

MANY = 400_000
SOON = 1.0
"""Seconds; a machine at rest takes a tenth. The calls take longer than twice that."""


def seconds_until_answered(call: Callable[[], object], after: float) -> float:
    """Press Ctrl-C while a call runs, and measure how long it goes on."""
    pressed: list[float] = []

    def press() -> None:
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, press)
    # A shell starts what runs in the background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        return time.monotonic() - pressed[0]
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def waiting(registry: bw.Registry) -> Iterator[bw.Registry]:
    registry.cluster_functions = bw.Multicore(1)
    registry.batch_map(time.sleep, [600])
    registry.submit_jobs()
    yield registry
    registry.kill_jobs()


def test_while_jobs_are_waited_for(waiting: bw.Registry) -> None:
    waiting.sleep = 600
    assert seconds_until_answered(waiting.wait_for_jobs, 0.5) < SOON
    assert waiting.find_on_system() == {1}


def test_while_jobs_come_as_they_end(waiting: bw.Registry) -> None:
    waiting.sleep = 600
    assert seconds_until_answered(lambda: list(waiting.as_completed()), 0.5) < SOON


def test_while_many_jobs_are_defined(registry: bw.Registry) -> None:
    values = [(number,) for number in range(MANY)]
    assert seconds_until_answered(lambda: registry.batch_map(len, values), 0.3) < SOON
    assert len(registry.find_jobs()) == 0
    assert list(registry.batch_map(len, values[:3])) == [1, 2, 3]


class Accepting(bw.ClusterFunctions):
    """Takes whatever it is given, and runs nothing."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def submit(self, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        self.given.append(jc.job_hash)
        return bw.SubmitResult(0, [f"b{jc.job_hash}"])

    def kill(self, reg: bw.Registry, batch_ids: Sequence[str]) -> None:
        self.given.clear()

    def list_jobs(self, reg: bw.Registry) -> dict[str, bw.BatchState]:
        return {f"b{chunk}": bw.BatchState("queued") for chunk in self.given}


@pytest.mark.filterwarnings("ignore:.*holds until this process ends")
def test_while_many_chunks_are_submitted(registry: bw.Registry) -> None:
    registry.cluster_functions = backend = Accepting()
    registry.batch_map(abs, range(20_000))
    registry.max_chunks = 20_000
    assert seconds_until_answered(registry.submit_jobs, 0.4) < SOON
    submitted = registry.find_submitted()
    assert 0 <= len(backend.given) - len(submitted) <= 1, "what was handed over is submitted"
    assert len(submitted) < 20_000
    registry.submit_jobs(registry.find_not_submitted())
    assert len(registry.find_on_system()) == 20_000
