"""Submitting: publishing collections and handing them to the backend."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchwright import ids as job_ids
from batchwright import looking, resources, settling, store
from batchwright.collection import JobCollection, as_array, describe, header, new_chunk
from batchwright.debugging import is_debugging
from batchwright.errors import JobsOnSystemError, SchedulerError, SubmitError
from batchwright.ids import IdsLike, JobIds
from batchwright.planning import Ahead, Plan, groups, plan, throttled
from batchwright.waiting import Sleep, sleeping

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.clusters.base import ClusterFunctions, SubmitResult
    from batchwright.registry import Registry

TEMPORARY = range(1, 101)
UNANSWERED = 3
_log = logging.getLogger("batchwright")


def submit_jobs(
    reg: Registry,
    ids: IdsLike = None,
    *,
    resources: Mapping[str, Any] | None = None,
    chunks: Any = None,
    chunk_size: int | None = None,
    n_chunks: int | None = None,
    sleep: Sleep | None = None,
    progress: bool | None = None,
) -> pa.Table:
    """Hand jobs to the system.

    Parameters
    ----------
    ids
        Which jobs; by default those not submitted yet. Of a table, the columns `chunk`,
        `walltime`, `memory`, `ncpus`, `omp_threads` and `blas_threads` are read, too.
    resources
        What each job needs, such as `walltime` in seconds and `memory` in MB.
    chunks
        The number of each id's chunk. Jobs of one chunk run one after the other.
    chunk_size, n_chunks
        Make chunks of at most so many jobs, or so many chunks. Without any, each job is one.
    sleep
        Seconds to wait after a temporary error, or a function of the iteration.
    progress
        Whether to show a bar; by default in terminals and notebooks.

    Returns
    -------
    pyarrow.Table
        `job_id` and `chunk`.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2, -3])
    >>> reg.submit_jobs(chunk_size=2)["chunk"].to_pylist()
    [1, 1, 2]
    """
    reg.store.require_writeable()
    found = plan(
        reg, ids, resources=resources, chunks=chunks, chunk_size=chunk_size, n_chunks=n_chunks
    )
    if len(found) == 0:
        return found.table()
    backend = reg.cluster_functions
    wait = sleeping(reg, sleep)
    _refuse_busy(reg, found)
    backend.prepare_submit(reg)
    backend.run_hook("pre_submit", reg)
    try:
        _submit_all(reg, backend, found, wait, show=progress)
    finally:
        backend.finish_submit(reg)
        reg.store.core.flush()
        looking.forget(reg)
    backend.run_hook("post_submit", reg)
    return found.table()


def _refuse_busy(reg: Registry, found: Plan) -> None:
    busy = JobIds(reg.store.core.where("on_system", JobIds(found.ids).core, None))
    if busy:
        raise JobsOnSystemError(
            f"{len(busy)} of these jobs are queued or running, such as job {busy[0]}: wait for "
            "them with `wait_for_jobs`, or stop them with `kill_jobs`"
        )


def _submit_all(
    reg: Registry,
    backend: ClusterFunctions,
    found: Plan,
    wait: Callable[[int], float],
    *,
    show: bool | None,
) -> None:
    from batchwright.progress import bar

    handing = _Handing(reg, backend, wait)
    shared = header(reg)
    names = reg.store.core.names(JobIds(found.ids).core)
    with bar("submitting", len(found), show=show) as advance:
        ahead = Ahead()
        for places, is_array in groups(reg, backend, found, ahead):
            start = time.monotonic()
            _submit_some(handing, found, places, shared, names, advance, is_array=is_array)
            if len(places) == ahead.chunks:
                ahead.took(time.monotonic() - start)


@dataclass(slots=True)
class _Handing:
    """One submission under way."""

    reg: Registry
    backend: ClusterFunctions
    wait: Callable[[int], float]
    unanswered: int = 0
    """Calls in a row without a clear answer."""
    told: set[str] = field(default_factory=lambda: set[str]())
    """Reasons for delay that the user knows."""


def _submit_some(
    handing: _Handing,
    found: Plan,
    places: range,
    shared: str,
    names: Mapping[int, str],
    advance: Callable[[int], None],
    *,
    is_array: bool,
) -> None:
    """Publish some collections and hand them over; what is not accepted is taken back."""
    reg, backend = handing.reg, handing.backend
    by_job = any(asked.get("chunks_as_arrayjobs") for asked in found.resources)
    # Named before they are written, so that an interruption at any moment can take them back.
    waiting = [new_chunk() for _ in places]
    try:
        _intend(reg, backend, found, places, waiting, shared, is_array=by_job)
        collections = [
            describe(reg, chunk, found.asked(at), found.jobs(at), is_array=by_job, names=names)
            for at, chunk in zip(places, waiting, strict=True)
        ]
        for some in [collections] if is_array else [[jc] for jc in collections]:
            jc = as_array(some, backend.array_var) if is_array else some[0]
            jc = throttled(reg, jc)
            _wait_for_room(reg, backend, jc, handing.wait)
            _submit_one(handing, jc, [one.job_hash for one in some])
            del waiting[: len(some)]
            advance(len(some))
    except BaseException:
        # The first may have arrived, the others were never handed over.
        first = len(waiting) if is_array else 1
        reg.store.core.withdraw(waiting[first:])
        settling.doubt(reg, reg.store.core.take_back(waiting[:first]))
        raise


def _intend(
    reg: Registry,
    backend: ClusterFunctions,
    found: Plan,
    places: range,
    chunks: Sequence[str],
    shared: str,
    *,
    is_array: bool,
) -> None:
    first, last = found.offsets[places.start], found.offsets[places.stop]
    debug = is_debugging()
    reg.store.core.intend(
        chunks,
        found.ids[first:last],
        found.offsets[places.start : places.stop + 1] - first,
        shared,
        [resources.as_json(asked) for asked in found.resources],
        [
            resources.limits(asked, debug=debug, runs_setup=backend.runs_setup)
            for asked in found.resources
        ],
        found.resource_of[places.start : places.stop],
        backend.identity,
        is_array,
    )


def _submit_one(handing: _Handing, jc: JobCollection, chunks: Sequence[str]) -> None:
    reg, backend = handing.reg, handing.backend
    for iteration in _from_zero():
        backend.run_hook("pre_submit_job", reg, jc)
        _log.debug("submitting %s: %s", jc.job_name, jc.exec_command)
        try:
            result = _checked(backend, backend.submit(reg, jc))
        except SchedulerError as error:
            _doubt(handing, jc, chunks, error)
            return
        handing.unanswered = 0
        if result.status == 0:
            _record(reg, jc, chunks, result)
            backend.run_hook("post_submit_job", reg, jc)
            return
        if result.status not in TEMPORARY:
            raise SubmitError(
                f"cluster functions `{backend.name}` refused `{jc.job_name}` with status "
                f"{result.status}: {result.message or 'no reason given'}"
            )
        seconds = handing.wait(iteration)
        _tell(handing, result.message or "busy")
        time.sleep(seconds)


def _checked(backend: ClusterFunctions, result: object) -> SubmitResult:
    from batchwright.clusters.base import SubmitResult

    if not isinstance(result, SubmitResult):
        raise SubmitError(
            f"`submit` of cluster functions `{backend.name}` gave {result!r}: give a `SubmitResult`"
        )
    return result


def _doubt(
    handing: _Handing, jc: JobCollection, chunks: Sequence[str], error: SchedulerError
) -> None:
    """Look for what may have arrived; it is never handed over again under the same name."""
    reg = handing.reg
    settling.doubt(reg, chunks)
    time.sleep(handing.backend.scheduler_latency)
    reg.store.core.sync()
    settling.settle(reg, at_once=True)
    if not any(chunk in reg.store.doubts for chunk in chunks):
        handing.unanswered = 0
        return
    handing.unanswered += 1
    if handing.unanswered >= UNANSWERED:
        raise SubmitError(
            f"`{handing.backend.name}` gave no clear answer {UNANSWERED} times in a row, so the "
            f"rest is not submitted; what is unknown will be found or taken back: {error}"
        ) from error
    warnings.warn(
        f"it is not known yet whether `{jc.job_name}` was accepted: {error}; it will be found or "
        "taken back",
        stacklevel=2,
    )


def _from_zero() -> Iterator[int]:
    iteration = 0
    while True:
        yield iteration
        iteration += 1


def _record(reg: Registry, jc: JobCollection, chunks: Sequence[str], result: SubmitResult) -> None:
    batch_ids = [str(batch) for batch in result.batch_ids]
    if not batch_ids:
        raise SubmitError(
            f"cluster functions `{reg.cluster_functions.name}` accepted `{jc.job_name}` without a "
            "batch id: give one in `SubmitResult`"
        )
    tasks = max(jc.array_jobs, 1)
    if len(batch_ids) != tasks:
        what = f"an array of {tasks} tasks" if jc.array_jobs else "one job"
        raise SubmitError(
            f"cluster functions `{reg.cluster_functions.name}` gave {len(batch_ids)} batch ids for "
            f"{what}: give one for each"
        )
    if len(chunks) == 1:
        reg.store.core.submitted(chunks[0], batch_ids, result.log_file)
        return
    log = jc.log_file.relative_to(reg.store.file_dir)
    for task, (chunk, batch) in enumerate(zip(chunks, batch_ids, strict=True), 1):
        # The tasks are named after the first of them.
        log_file = result.log_file or str(store.task_output(log, task))
        reg.store.core.submitted(chunk, [batch], log_file)


def _wait_for_room(
    reg: Registry, backend: ClusterFunctions, jc: JobCollection, wait: Callable[[int], float]
) -> None:
    """Keep to `max_concurrent_jobs`; backends of this machine do so in their host."""
    limit = jc.resources.get("max_concurrent_jobs", reg.max_concurrent_jobs)
    if limit is None or backend.is_local:
        return
    for iteration in _from_zero():
        # The chunk itself is among them already.
        others = {batch or chunk for chunk, _, batch in reg.store.core.open_chunks() if batch}
        if len(others) + max(jc.array_jobs, 1) <= max(limit, jc.array_jobs, 1):
            return
        time.sleep(wait(iteration))
        reg.store.update()


def _tell(handing: _Handing, reason: str) -> None:
    """Say why it takes long, once for each reason."""
    _log.info("not accepted yet: %s", reason)
    if reason not in handing.told:
        handing.told.add(reason)
        name = handing.backend.name
        warnings.warn(f"`{name}` accepts nothing yet: {reason}; it is tried again", stacklevel=2)


def make_job_collection(
    reg: Registry, ids: IdsLike = None, *, resources: Mapping[str, Any] | None = None
) -> JobCollection:
    """Write jobs to a collection file, as a submission would, for a system of your own.

    Parameters
    ----------
    ids
        Which jobs; all by default.
    resources
        As for `submit_jobs`.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> reg.make_job_collection().n_jobs
    2
    """
    import numpy as np

    reg.store.require_writeable()
    chosen = job_ids.selected(reg.store, ids, lambda: job_ids.all_jobs(reg.store))
    array = np.asarray(chosen)
    if len(array) == 0:
        raise SubmitError("no job was chosen: a collection holds at least one")
    found = plan(
        reg, array, resources=resources, chunks=np.ones(len(array), dtype=np.int64),
        chunk_size=None, n_chunks=None,
    )  # fmt: skip
    _refuse_busy(reg, found)
    backend = reg.cluster_functions
    asked = found.asked(0)
    is_array = bool(asked.get("chunks_as_arrayjobs"))
    chunk = new_chunk()
    _intend(reg, backend, found, range(1), [chunk], header(reg), is_array=is_array)
    names = reg.store.core.names(JobIds(found.ids).core)
    return describe(reg, chunk, asked, found.ids, is_array=is_array, names=names)
