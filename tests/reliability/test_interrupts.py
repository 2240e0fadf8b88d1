"""Ctrl-C is answered at once, however long a call lasts, and the registry goes on after it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

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
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        return time.monotonic() - pressed[0]
    finally:
        timer.cancel()
        timer.join()


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
