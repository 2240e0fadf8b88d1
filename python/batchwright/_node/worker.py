"""The worker process: takes requests from the executor and answers each."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from . import wire
from .collection import Collection
from .compression import NONE
from .failures import failure, say, traceback_of
from .results import ResultFile, StorageError, Stored
from .seeds import Seeder
from .usage import Meter

_LONG_JOB = 20_000_000
"""Nanoseconds from which on loading ctypes for one flush costs little."""


def serve(requests: int, answers: int) -> None:
    """Run jobs until the executor says goodbye.

    Parameters
    ----------
    requests, answers
        Descriptors that the executor has opened.
    """
    os.set_inheritable(requests, False)
    os.set_inheritable(answers, False)
    message = os.read(requests, wire.LONGEST_INIT)
    if not message or message[0] != wire.INIT:
        return
    worker = Worker(requests, answers, json.loads(message[1:]))
    try:
        worker.prepare()
    except BaseException as error:
        text = json.dumps(failure(error)).encode()
        _write_all(answers, wire.ANSWER.pack(len(text), wire.SETUP_FAILED, 0, 0, 0, 0, 0) + text)
        return
    worker.work()


class Worker:
    """One process that runs jobs of one collection.

    Parameters
    ----------
    requests, answers
        Descriptors that the executor has opened.
    init
        What the executor says first.
    """

    def __init__(self, requests: int, answers: int, init: dict[str, Any]) -> None:
        self._requests = requests
        self._answers = answers
        self._file = os.open(init["collection"], os.O_RDONLY | os.O_CLOEXEC)
        offset, length = init["header"]
        header = json.loads(os.pread(self._file, length, offset))
        # A job may redirect or close its standard output; ends of jobs still have to get through.
        self._output = os.dup(1)
        self._pid = os.getpid()
        self._marker = bytes.fromhex(init["marker"])
        self._is_first: bool = init["first"]
        self._seeder = Seeder()
        self._collection = Collection(
            header, init["root"], uri=init["collection"], seeder=self._seeder
        )
        self._results = ResultFile(
            init["results"],
            access=header["access"],
            inline=header["limits"]["inline_result"],
            compress=header["python"].get("compress", NONE),
        )
        self._meter = Meter()
        self._work_dir = -1
        self._flush_c: Any = None

    def prepare(self) -> None:
        """Do all that comes before the first job."""
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # pyright: ignore
        self._results.prepare()
        self._seeder.install()
        self._collection.prepare()
        self._work_dir = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
        if self._is_first:
            self._collection.run_hook("pre_do_collection")
        # What is there now lives as long as the process.
        gc.freeze()

    def work(self) -> None:
        """Answer requests until the last one."""
        _write_all(self._answers, wire.ANSWER.pack(0, wire.READY, 0, 0, 0, 0, 0))
        read, unpack, size = os.read, wire.REQUEST.unpack_from, wire.REQUEST.size
        requests, job, bye, longest = self._requests, self._job, wire.BYE, wire.LONGEST_REQUEST
        while True:
            message = read(requests, longest)
            if not message:
                return
            if message[0] == bye:
                break
            _kind, is_inline, attempt, call, job_id = unpack(message)
            parameters = message[size:] if is_inline else self._read_parameters(message)
            job(job_id, attempt, call, parameters)
        if message[1]:
            self._collection.run_hook("post_do_collection")

    def _read_parameters(self, message: bytes) -> bytes:
        offset, length = wire.APART.unpack_from(message, wire.REQUEST.size)
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self._file, length, offset)
            if not part:
                raise EOFError("the collection has become shorter")
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def _job(self, job_id: int, attempt: int, call: int, parameters: bytes) -> None:
        os.fchdir(self._work_dir)
        meter = self._meter
        meter.begin()
        started = time.time_ns()
        kind, body = self._attempt(job_id, attempt, call, parameters)
        if os.getpid() != self._pid:
            # The job forked, and this is the child that came back: it has nothing to answer.
            os._exit(0)
        ended = time.time_ns()
        elapsed = ended - started
        peak, cpu = meter.end(elapsed)
        self._flush(elapsed)
        _write_all(self._output, self._marker + job_id.to_bytes(4, "little"))
        head = wire.ANSWER.pack(
            len(body), kind, job_id, peak, started // 1000, ended // 1000, max(cpu, 0)
        )
        _write_all(self._answers, head + body)

    def _attempt(
        self, job_id: int, attempt: int, call: int, parameters: bytes
    ) -> tuple[int, bytes]:
        try:
            value = self._collection.run(job_id, attempt, call, parameters)
            stored = self._results.store(value)
        except StorageError as error:
            return wire.STORAGE_FAILED, json.dumps(failure(error)).encode()
        except BaseException as error:
            say(traceback_of(error))
            return wire.FAILED, json.dumps(failure(error)).encode()
        if isinstance(stored, Stored):
            return wire.STORED_RESULT, wire.STORED.pack(stored.offset, stored.length, stored.crc32)
        return wire.RESULT, stored

    def _flush(self, elapsed_ns: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                continue
        if self._flush_c is not None:
            self._flush_c(None)
        elif elapsed_ns > _LONG_JOB or "ctypes" in sys.modules:
            self._flush_c = _c_flush()


def _c_flush() -> Any:
    """Flush what C code has printed; give the function that does it again."""
    try:
        import ctypes  # (takes longer to import than most jobs run)

        flush = ctypes.CDLL(None).fflush
    except (ImportError, OSError, AttributeError):
        return _flush_nothing
    flush(None)
    return flush


def _flush_nothing(_stream: None) -> None:
    return


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])
