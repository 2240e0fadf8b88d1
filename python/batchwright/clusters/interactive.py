"""Jobs in this process, or in one started for each chunk: for trying out and for debugging."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from batchwright import store
from batchwright._node import failures, results
from batchwright._node.collection import Collection
from batchwright._node.seeds import Seeder, restored
from batchwright.clusters.base import BatchState, ClusterFunctions, SubmitResult

if TYPE_CHECKING:
    from batchwright import _core
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry


class Interactive(ClusterFunctions):
    """Runs jobs while they are submitted.

    Parameters
    ----------
    external
        Whether the executor runs each chunk in processes of its own. Without, jobs run in this
        process: there are no time limits, and a crash takes this process along.

    Examples
    --------
    >>> Interactive()
    Interactive()
    """

    name = "Interactive"
    is_local: ClassVar[bool] = True

    def __init__(self, external: bool = False) -> None:
        self.external = bool(external)

    def submit(self, reg: Registry, jc: JobCollection) -> SubmitResult:
        """Run the collection now."""
        if self.external:
            run_executor(jc.command, jc.log_file)
        else:
            run_here(jc.uri, reg.file_dir)
        return SubmitResult(0, (f"interactive#{jc.job_hash}",))

    def list_jobs(self, reg: Registry) -> Mapping[str, BatchState]:
        """List nothing: what was submitted has ended."""
        return {}


def run_executor(command: tuple[str, ...], output: Path) -> None:
    """Run a collection by the executor; how that went, its journal says."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("ab") as file:
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if output.stat().st_size == 0:
        output.unlink()


def run_here(uri: Path, root: Path) -> None:
    """Run a collection in this process, through the same journal as on a node."""
    run = store.claim(uri)
    if run is None:
        return
    collection = store.open_collection(uri)
    rows = collection.rows()
    cause: str | None = "stopped"
    try:
        with in_process(json.loads(collection.header), root, uri) as prepared:
            if isinstance(prepared, BaseException):
                _fail_all(run, rows, prepared)
                cause = None
                return
            prepared.run_hook("pre_do_collection")
            for job, _, attempt, call, row in rows:
                _run_job(run, prepared, job, attempt, call, row)
            prepared.run_hook("post_do_collection")
        cause = None
    finally:
        run.close(cause)


@contextlib.contextmanager
def in_process(
    header: Mapping[str, Any], root: Path, uri: Path | str = ""
) -> Generator[Collection | BaseException]:
    """Prepare a collection here, or give why that failed; afterwards all is as it was."""
    seeder = Seeder()
    collection = Collection(header, root, uri=uri, seeder=seeder)
    before, path = Path.cwd(), list(sys.path)
    seeder.install()
    try:
        with restored():
            try:
                collection.prepare()
                found: Collection | BaseException = collection
            except Exception as error:
                found = error
            yield found
    finally:
        seeder.uninstall()
        sys.path[:] = path
        os.chdir(before)


def _run_job(
    run: _core.Run, collection: Collection, job: int, attempt: int, call: int, row: bytes
) -> None:
    run.started(job)
    started = time.time_ns()
    cpu = time.process_time_ns()
    os.chdir(collection.work_dir)
    with _captured() as output:
        try:
            outcome: bytes | BaseException = results.dump(collection.run(job, attempt, call, row))
        except BaseException as error:
            outcome = error
            failures.say(failures.traceback_of(error))
    times = (started // 1000, time.time_ns() // 1000)
    used = (0, (time.process_time_ns() - cpu) // 1000)
    if output.getvalue():
        run.log(job, output.getvalue().encode("utf-8", "backslashreplace"))
    if isinstance(outcome, bytes):
        run.done(job, *times, *used, outcome)
        return
    cause = "stopped" if isinstance(outcome, KeyboardInterrupt) else "error"
    _fail(run, job, cause, times, used, outcome)
    if isinstance(outcome, KeyboardInterrupt):
        raise outcome


def _fail_all(
    run: _core.Run, rows: list[tuple[int, int, int, int, bytes]], error: BaseException
) -> None:
    now = time.time_ns() // 1000
    for job, *_ in rows:
        _fail(run, job, "setup", (now, now), (0, 0), error)


def _fail(
    run: _core.Run,
    job: int,
    cause: str,
    times: tuple[int, int],
    used: tuple[int, int],
    error: BaseException,
) -> None:
    found = failures.failure(error)
    run.failed(job, cause, *times, *used, found["type"], found["message"], found["traceback"])


@contextlib.contextmanager
def _captured() -> Generator[io.StringIO]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        yield output
