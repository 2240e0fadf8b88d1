"""A long call in Rust ends soon after Ctrl-C and lets other threads run meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import pytest

from batchwright import _core

CALL = """
import sys, time
from batchwright import _core
print("ready", flush=True)
try:
    _core.wait_for_interrupt(30)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_raises_keyboard_interrupt_within_a_moment() -> None:
    child = subprocess.Popen([sys.executable, "-c", CALL], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    sent = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    # 0.2 s is the promise; the rest is for a loaded machine.
    assert time.monotonic() - sent < 1
    assert child.wait(10) == 0


def test_a_handler_that_raises_stops_the_call_with_its_exception() -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("too long")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError, match="too long"):
            _core.wait_for_interrupt(30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_handler_that_returns_lets_the_call_go_on() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        start = time.monotonic()
        _core.wait_for_interrupt(0.4)
        assert time.monotonic() - start >= 0.4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen == [signal.SIGALRM]


def test_other_threads_run_during_a_call() -> None:
    thread = threading.Thread(target=_core.wait_for_interrupt, args=(0.5,))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        time.sleep(0.01)
    assert turns > 10
