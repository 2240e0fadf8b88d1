"""An owner that is to be killed: `python owner.py FOLDER BACKEND [POINT]`.

It defines jobs, submits them and looks after them, and writes what each verb returned to its
`told` file, which the test compares with the registry.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import batchwright as bw
from batchwright import store
from batchwright.clusters import multicore

JOBS = 4
"""Of each call."""


class Ledger(bw.ClusterFunctions):
    """A scheduler that only writes down what it was given, and runs it when told."""

    name = "ledger"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended: set[str] = set()

    def submit(self, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        note(self.folder / "ledger", jc.job_hash)
        return bw.SubmitResult(0, (f"L{jc.job_hash}",))

    def chunks(self) -> list[str]:
        path = self.folder / "ledger"
        return path.read_text().split() if path.exists() else []

    def list_jobs(self, reg: bw.Registry) -> Mapping[str, bw.BatchState]:
        waiting = [f"L{chunk}" for chunk in self.chunks() if chunk not in self.ended]
        return dict.fromkeys(waiting, bw.BatchState("queued"))

    def find_submitted(
        self, reg: bw.Registry, chunks: Sequence[str]
    ) -> Mapping[str, Sequence[str]]:
        known = set(self.chunks())
        return {chunk: (f"L{chunk}",) for chunk in chunks if chunk in known}

    def run(self, reg: bw.Registry) -> None:
        """Run what was accepted; what a dead owner began and still runs is waited for."""
        for chunk in self.chunks():
            if chunk in self.ended:
                continue
            collection = reg.file_dir / "jobs" / chunk[:2] / f"{chunk}.bwc"
            while is_running(collection):
                time.sleep(0.01)
            bw.do_job_collection(collection)
            self.ended.add(chunk)


def is_running(collection: Path) -> bool:
    """Whether any process has the collection among its words."""
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(collection) in words.read_bytes():
                return True
    return False


def note(path: Path, *words: object) -> None:
    """Append a line at once: what is written before a kill stays."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, (" ".join(map(str, words)) + "\n").encode())
    os.close(file)


def backend(name: str, folder: Path) -> bw.ClusterFunctions:
    return Ledger(folder) if name == "ledger" else bw.Multicore(2)


def assign(reg: bw.Registry, name: str, folder: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        reg.cluster_functions = backend(name, folder)
    reg.sleep = 0.02


def die(point: str, wanted: str, after: list[int]) -> None:
    """Be killed at a point, at its n-th passing."""
    if point == wanted:
        after[0] -= 1
        if after[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, name: str) -> None:
    """Wrap what leads past the points."""
    left = [random.randrange(3)]
    kind = Ledger if name == "ledger" else bw.Multicore
    submit, request, start = kind.submit, store.request_on_host, multicore.start_host

    def submitting(self: Ledger, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        die("intended", point, left)
        result = submit(self, reg, jc)
        die("submitted", point, left)
        return result

    def requesting(*args: object) -> None:
        die("unrequested", point, left)
        request(*args)
        die("requested", point, left)

    def starting(file_dir: Path) -> None:
        start(file_dir)
        die("started", point, left)

    kind.submit = submitting
    kind.hooks = {
        "post_submit_job": lambda reg, jc: die("recorded", point, left),
        "post_submit": lambda reg: die("flushed", point, left),
        "pre_sync": lambda reg: die("looked", point, left),
        "post_sync": lambda reg: die("merged", point, left),
    }
    store.request_on_host = requesting
    multicore.start_host = starting


def main(folder: Path, name: str, point: str) -> None:
    if point:
        die_at(point, name)
    told, ran = folder / "told", str(folder / "ran")

    def fun(x: int, job: bw.Job) -> int:
        line = f"{job.id} {x} {os.getpid()}\n".encode()
        file = os.open(ran, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)
        os.close(file)
        return x * x

    reg = bw.make_registry(folder / "registry", conf_file=None, work_dir=folder, make_default=False)
    note(told, "made")
    assign(reg, name, folder)
    value = 0
    for call in range(3):
        ids = reg.batch_map(fun, range(value, value + JOBS), append=True)
        for job in ids:
            note(told, "defined", job, value)
            value += 1
        reg.add_job_tags(ids, f"call{call}")
        note(told, "tagged", call, *ids)
        reg.submit_jobs(ids, chunk_size=2)
        note(told, "submitted", *ids)
        reg.set_job_names(ids, [f"job-{job}" for job in ids])
        note(told, "named", *ids)
        if call == 1:
            reg.save_registry()
            note(told, "saved")
    while True:
        if name == "ledger" and random.random() < 0.2:
            with contextlib.suppress(bw.BatchwrightError):
                reg.cluster_functions.run(reg)
        reg.sync_registry()
        for job in reg.find_done():
            note(told, "done", job)
        time.sleep(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
