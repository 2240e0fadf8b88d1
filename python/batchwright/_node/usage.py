"""What one job took: peak memory and CPU time, from the kernel."""

from __future__ import annotations

import os
import resource
import time

_SELF = resource.RUSAGE_SELF
_CHILDREN = resource.RUSAGE_CHILDREN
_WORTH_CHILDREN = 1_000_000
_SLACK = 4096


class Meter:
    """Measures jobs one after the other.

    The kernel's high-water mark is put back before each job, where it allows that. It is then
    read by `getrusage`, unless that still shows what this process was before it became Python.
    """

    def __init__(self) -> None:
        self._status = -1
        self._children = self._children_time()
        self._cpu = time.process_time_ns()
        try:
            self._clear = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            os.pwrite(self._clear, b"5", 0)
        except OSError:
            self._clear = -1
            return
        peak = resource.getrusage(_SELF).ru_maxrss
        status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        if peak > _high_water(status) + _SLACK:
            self._status = status
        else:
            os.close(status)

    def begin(self) -> None:
        """Begin to measure."""
        if self._clear >= 0:
            try:
                os.pwrite(self._clear, b"5", 0)
            except OSError:
                self._clear = -1
        self._cpu = time.process_time_ns()

    def end(self, elapsed_ns: int) -> tuple[int, int]:
        """Give peak memory in KiB, 0 if unknown, and CPU time in µs, ended children included."""
        cpu = (time.process_time_ns() - self._cpu) // 1000
        if elapsed_ns > _WORTH_CHILDREN:
            children = self._children_time()
            cpu += children - self._children
            self._children = children
        if self._clear < 0:
            return 0, cpu
        if self._status >= 0:
            return _high_water(self._status), cpu
        return resource.getrusage(_SELF).ru_maxrss, cpu

    @staticmethod
    def _children_time() -> int:
        usage = resource.getrusage(_CHILDREN)
        return int((usage.ru_utime + usage.ru_stime) * 1e6)


def _high_water(status: int) -> int:
    text = os.pread(status, 4096, 0)
    at = text.find(b"VmHWM:")
    return int(text[at + 6 : text.find(b"kB", at)]) if at >= 0 else 0
