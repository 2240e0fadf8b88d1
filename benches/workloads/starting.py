"""Start-up: whole processes, as a node or a shell starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from measuring import Figure, measured

from workloads.common import Workload, defined, made, warm

_DEFINE_ONE = """
import batchwright as bw
reg = bw.make_registry({path!r}, conf_file=None)
reg.batch_map(lambda x: x, x=[1, 2, 3])
"""

_REOPEN = """
import batchwright as bw
print(bw.load_registry({path!r}, conf_file=None).get_status())
"""


def _process(what: str, command: Sequence[str], limit: tuple[str, float]) -> Figure:
    with measured(what, 1, limit=limit) as figure:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return figure


def starting(n: int, folder: Path) -> Iterator[Figure]:
    from batchwright.executor import executor

    python = sys.executable
    runs = (
        ("start: import batchwright", [python, "-c", "import batchwright"], ("python", 1)),
        ("start: executor --version", [executor(), "--version"], ("spawn", 1)),
        (
            "start: import, make, define 3 jobs",
            [python, "-c", _DEFINE_ONE.format(path=os.fspath(folder / "first"))],
            ("python", 1),
        ),
    )
    for what, command, limit in runs:
        yield _process(what, command, limit)
    reg = defined(3, folder)
    collection = reg.make_job_collection([1])
    reopen = _REOPEN.format(path=os.fspath(reg.file_dir))
    yield _process("start: import, reopen, status", [python, "-c", reopen], ("python", 1))
    command = [executor(), "run", os.fspath(collection.uri)]
    yield _process("start: chunk of one job on a node", command, ("python", 1))
    assert reg.find_done() == {1}
    yield from _first_result(folder / "other")


def _first_result(folder: Path) -> Iterator[Figure]:
    """From submitting until the result is there; polled more often than a user would."""
    warm()
    folder.mkdir()
    reg = made(folder)
    reg.batch_map(lambda x: 2 * x, x=[1])
    with measured("start: submit one job until it is done", 1, limit=("python", 1)) as figure:
        reg.submit_jobs()
        while not reg.store.core.counts(None)["done"]:
            reg.store.core.sync()
            time.sleep(0.001)
    yield figure


WORKLOADS = [Workload("start", starting, once=True)]
