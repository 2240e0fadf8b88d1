"""Submitting: which jobs go together, what they ask for, and handing them to the backend."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from batchwright import ids as job_ids
from batchwright import looking, parameters, resources, settling, store
from batchwright.collection import JobCollection, as_array, describe, header
from batchwright.debugging import is_debugging
from batchwright.errors import ConfigError, JobsOnSystemError, SchedulerError, SubmitError
from batchwright.ids import IdsLike, JobIds
from batchwright.settings import freeze
from batchwright.waiting import Sleep, sleeping

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright.clusters.base import ClusterFunctions, SiteLimits, SubmitResult
    from batchwright.registry import Registry

TEMPORARY = range(1, 101)
UNANSWERED = 3
_log = logging.getLogger("batchwright")


@dataclass(slots=True)
class Ahead:
    """How many collections are published before they are handed over.

    One sync of the file system serves all of them; what a kill leaves in doubt are they, too.
    So there are many where handing over is quick, and about a second's work otherwise.
    """

    chunks: int = 64

    def took(self, seconds: float) -> None:
        """Learn from the last group."""
        if seconds < 0.25:
            self.chunks = min(2 * self.chunks, 4096)
        elif seconds > 1.0:
            self.chunks = max(self.chunks // 2, 16)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which jobs become which chunks, with what resources."""

    ids: NDArray[np.int64]
    """Chunk by chunk, ascending within each."""
    offsets: NDArray[np.int64]
    """Where each chunk begins, and the end."""
    numbers: NDArray[np.int64]
    """Of the chunks, as the user gave them."""
    resources: tuple[Mapping[str, Any], ...]
    """Distinct ones."""
    resource_of: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)

    def jobs(self, chunk: int) -> NDArray[np.int64]:
        """Give the jobs of a chunk by its place."""
        return self.ids[self.offsets[chunk] : self.offsets[chunk + 1]]

    def asked(self, chunk: int) -> Mapping[str, Any]:
        """Give the resources of a chunk by its place."""
        return self.resources[int(self.resource_of[chunk])]

    def table(self) -> pa.Table:
        """Give the chunk of each job."""
        import numpy as np
        import pyarrow as pa

        chunk = np.repeat(self.numbers, np.diff(self.offsets))
        order = np.argsort(self.ids, kind="stable")
        return pa.table({"job_id": pa.array(self.ids[order]), "chunk": pa.array(chunk[order])})


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


def plan(
    reg: Registry,
    ids: IdsLike,
    *,
    resources: Mapping[str, Any] | None,
    chunks: Any,
    chunk_size: int | None,
    n_chunks: int | None,
) -> Plan:
    """Decide what a submission will do, without doing any of it."""
    reg.store.update()
    call = _call_resources(reg, resources)
    ids = cast("IdsLike", job_ids.held(ids))
    chosen = job_ids.ordered(reg.store, ids, lambda: _not_submitted(reg))
    columns = _columns(ids, len(chosen))
    numbers = _numbers(ids, chosen, columns.pop("chunk", None), chunks, chunk_size, n_chunks)
    order, offsets, labels = _grouped(chosen, numbers)
    _refuse_too_many(reg, len(labels), len(chosen))
    distinct, resource_of = _resources_of(call, columns, order, offsets)
    _refuse_arrays(reg.cluster_functions, distinct)
    return Plan(chosen[order], offsets, labels, distinct, resource_of)


def _not_submitted(reg: Registry) -> JobIds:
    return JobIds(reg.store.core.where("not_submitted", None, None))


def _call_resources(reg: Registry, given: Mapping[str, Any] | None) -> dict[str, Any]:
    return resources.merge(reg.default_resources, resources.parse(given))


def _refuse_arrays(backend: ClusterFunctions, distinct: Sequence[Mapping[str, Any]]) -> None:
    wanted = any(found.get("chunks_as_arrayjobs") for found in distinct)
    if wanted and backend.array_var is None:
        raise SubmitError(
            f"`chunks_as_arrayjobs` was asked for, but cluster functions `{backend.name}` have no "
            "arrays: leave it out"
        )


def _refuse_busy(reg: Registry, found: Plan) -> None:
    busy = JobIds(reg.store.core.where("on_system", JobIds(found.ids).core, None))
    if busy:
        raise JobsOnSystemError(
            f"{len(busy)} of these jobs are queued or running, such as job {busy[0]}: wait for "
            "them with `wait_for_jobs`, or stop them with `kill_jobs`"
        )


def _refuse_too_many(reg: Registry, n_chunks: int, n_jobs: int) -> None:
    limit = reg.max_chunks
    if n_chunks > limit:
        size = math.ceil(n_jobs / limit)
        raise SubmitError(
            f"{n_jobs} jobs would make {n_chunks} chunks, but `max_chunks` is {limit}: pass "
            f"`chunk_size={size}`, or raise the setting to insist"
        )


# -- what a table of ids says besides the ids


def _columns(ids: Any, count: int) -> dict[str, NDArray[Any]]:
    """Read the columns that concern the submission; NaN where a job says nothing."""
    import numpy as np

    if not parameters.is_table(ids):
        return {}
    table = parameters.from_table(ids, "the table of ids")
    found: dict[str, NDArray[Any]] = {}
    for name in ("chunk", *resources.PER_JOB):
        if name not in table:
            continue
        values = parameters.as_values(table[name])
        try:
            found[name] = np.array([math.nan if v is None else v for v in values], dtype=float)
        except (TypeError, ValueError):
            raise ConfigError(f"column `{name}` of the ids holds {values!r:.80}") from None
        for value in np.unique(found[name][~np.isnan(found[name])]):
            if name != "chunk":
                resources.parse({name: value.item()})
    if found and len(next(iter(found.values()))) != count:
        found = _first_of_each(table, found)
    return found


def _first_of_each(
    table: Mapping[str, Any], found: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Drop the rows of repeated ids, as resolving the ids did."""
    import numpy as np

    _, first = np.unique(np.array(parameters.as_values(table["job_id"])), return_index=True)
    kept = np.sort(first)
    return {name: values[kept] for name, values in found.items()}


def _numbers(
    ids: Any,
    chosen: NDArray[np.int64],
    column: NDArray[Any] | None,
    chunks: Any,
    chunk_size: int | None,
    n_chunks: int | None,
) -> NDArray[np.int64] | None:
    """Give the number of each job's chunk; None if each job is its own."""
    given = {
        "a column `chunk`": column,
        "`chunks`": chunks,
        "`chunk_size`": chunk_size,
        "`n_chunks`": n_chunks,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise SubmitError(f"{' and '.join(named)} were given: give only one of them")
    if chunk_size is not None or n_chunks is not None:
        return _contiguous(chosen, chunk_size, n_chunks)
    if column is not None:
        return _as_numbers(column)
    return None if chunks is None else _aligned(ids, chosen, chunks)


def _contiguous(
    chosen: NDArray[np.int64], chunk_size: int | None, n_chunks: int | None
) -> NDArray[np.int64]:
    import numpy as np

    count = len(chosen)
    if chunk_size is not None:
        wanted = math.ceil(count / resources.whole("chunk_size", chunk_size, low=1))
    else:
        wanted = min(count, resources.whole("n_chunks", n_chunks, low=1))
    sizes = np.full(wanted, count // max(wanted, 1), dtype=np.int64)
    sizes[: count - int(sizes.sum())] += 1
    numbers = np.empty(count, dtype=np.int64)
    numbers[np.argsort(chosen)] = np.repeat(np.arange(1, wanted + 1), sizes)
    return numbers


def _aligned(ids: Any, chosen: NDArray[np.int64], chunks: Any) -> NDArray[np.int64]:
    import numpy as np

    if isinstance(chunks, str | bytes) or not hasattr(chunks, "__iter__"):
        raise SubmitError(f"`chunks` is {chunks!r}: give the number of each id's chunk")
    values = np.array([math.nan if v is None else v for v in parameters.as_values(chunks)])
    passed = chosen if ids is None else job_ids.as_array(ids)
    if len(values) != len(passed):
        raise SubmitError(f"`chunks` has {len(values)} numbers, but there are {len(passed)} ids")
    numbers = _as_numbers(values)
    if len(passed) == len(chosen):
        return numbers
    _, first = np.unique(passed, return_index=True)
    return numbers[np.sort(first)]


def _as_numbers(values: NDArray[Any]) -> NDArray[np.int64]:
    import numpy as np

    if values.size == 0:
        return np.empty(0, dtype=np.int64)
    if values.dtype.kind not in "iuf":
        raise SubmitError(f"chunk numbers are {values[0].item()!r} and such: give whole numbers")
    if not np.isfinite(values).all() or (values != np.floor(values)).any():
        bad = values[~np.isfinite(values) | (values != np.floor(values))][0]
        raise SubmitError(f"a chunk number is {bad}: give whole numbers")
    return values.astype(np.int64)


def _grouped(
    chosen: NDArray[np.int64], numbers: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Give the order of the jobs, where chunks begin, and the chunks' numbers."""
    import numpy as np

    if numbers is None:
        order = np.argsort(chosen)
        count = len(chosen)
        return order, np.arange(count + 1, dtype=np.int64), np.arange(1, count + 1, dtype=np.int64)
    order = np.lexsort((chosen, numbers))
    labels, starts = np.unique(numbers[order], return_index=True)
    offsets = np.append(starts, len(chosen)).astype(np.int64)
    return order, offsets, labels.astype(np.int64)


def _resources_of(
    call: Mapping[str, Any],
    columns: Mapping[str, NDArray[Any]],
    order: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> tuple[tuple[Mapping[str, Any], ...], NDArray[np.int32]]:
    """Give the distinct resources and which each chunk has: the most that any job asks for."""
    import numpy as np

    n_chunks = len(offsets) - 1
    if not columns or n_chunks == 0:
        return (dict(call),), np.zeros(n_chunks, dtype=np.int32)
    names = list(columns)
    most = np.stack(
        [
            np.fmax.reduceat(
                np.where(np.isnan(values), call.get(name, math.nan), values)[order], offsets[:-1]
            )
            for name, values in columns.items()
        ]
    )
    # NaN differs from itself; -1 stands for "says nothing", which no resource can be.
    distinct, resource_of = np.unique(np.nan_to_num(most, nan=-1.0), axis=1, return_inverse=True)
    found = tuple(
        resources.merge(
            call,
            resources.parse({n: v for n, v in zip(names, row.tolist(), strict=True) if v != -1.0}),
        )
        for row in distinct.T
    )
    return found, resource_of.reshape(-1).astype(np.int32)


# -- handing over


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
        for places, is_array in _groups(reg, backend, found, ahead):
            start = time.monotonic()
            _submit_some(handing, found, places, shared, names, advance, is_array=is_array)
            if len(places) == ahead.chunks:
                ahead.took(time.monotonic() - start)


def _groups(
    reg: Registry, backend: ClusterFunctions, found: Plan, ahead: Ahead
) -> Iterator[tuple[range, bool]]:
    """Give places to publish together, and whether they go as one array of chunks."""
    size = backend.array_size(reg) if len(found) > 1 else 1
    start = 0
    while start < len(found):
        resource = found.resource_of[start]
        wanted = _wants_array(found.asked(start)) and size > 1
        limit = min(start + (size if wanted else ahead.chunks), len(found))
        stop = start + 1
        while stop < limit and (found.resource_of[stop] == resource or not wanted):
            if not wanted and size > 1 and _wants_array(found.asked(stop)):
                break
            stop += 1
        yield range(start, stop), wanted and stop - start > 1
        start = stop


def _wants_array(asked: Mapping[str, Any]) -> bool:
    return bool(asked.get("array", True)) and not asked.get("chunks_as_arrayjobs")


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
    hashes = _intend(reg, backend, found, places, shared, is_array=by_job)
    collections = [
        describe(reg, chunk, found.asked(place), found.jobs(place), is_array=by_job, names=names)
        for place, chunk in zip(places, hashes, strict=True)
    ]
    waiting = list(hashes)
    try:
        for some in [collections] if is_array else [[jc] for jc in collections]:
            jc = as_array(some, backend.array_var) if is_array else some[0]
            jc = _throttled(reg, jc)
            _wait_for_room(reg, backend, jc, handing.wait)
            _submit_one(handing, jc, [one.job_hash for one in some])
            del waiting[: len(some)]
            advance(len(some))
    except BaseException:
        settling.doubt(reg, reg.store.core.take_back(waiting))
        raise


def _throttled(reg: Registry, jc: JobCollection) -> JobCollection:
    """Let the template see the registry's limit, where it is an array's to keep."""
    limit = reg.max_concurrent_jobs
    if not jc.array_jobs or limit is None or "max_concurrent_jobs" in jc.resources:
        return jc
    return replace(jc, resources=freeze({**jc.resources, "max_concurrent_jobs": limit}))


def _intend(
    reg: Registry,
    backend: ClusterFunctions,
    found: Plan,
    places: range,
    shared: str,
    *,
    is_array: bool,
) -> list[str]:
    first, last = found.offsets[places.start], found.offsets[places.stop]
    debug = is_debugging()
    return reg.store.core.intend(
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


@dataclass(frozen=True, slots=True)
class SubmissionPlan:
    """What `submit_jobs` would do with the same arguments."""

    table: pa.Table
    """`chunk`, `task`, `n_jobs`, `walltime`, `memory` and `ncpus` of each chunk."""
    scheduler_calls: int
    """How often the scheduler would be called."""
    limits: SiteLimits | None
    """What the site allows, as far as it is known; None on this machine's own cores."""
    collection: Callable[[int], JobCollection]
    render: Callable[[JobCollection], str]

    def script(self, i: int = 0) -> str:
        """Give what the scheduler would get for the chunk at a place, from 0."""
        count = self.table.num_rows
        if not -count <= i < count:
            raise IndexError(f"there is no chunk at place {i}: the plan has {count} chunks")
        return self.render(self.collection(i))

    def __str__(self) -> str:
        import pyarrow.compute as pc

        jobs = _counted(pc.sum(self.table["n_jobs"]).as_py() or 0, "job")
        chunks = _counted(self.table.num_rows, "chunk")
        said = f"{jobs} in {chunks} by {_counted(self.scheduler_calls, 'call')}"
        return said if self.limits is None else f"{said}; the site allows {self.limits}"

    __repr__ = __str__


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def plan_submission(
    reg: Registry,
    ids: IdsLike = None,
    *,
    resources: Mapping[str, Any] | None = None,
    chunks: Any = None,
    chunk_size: int | None = None,
    n_chunks: int | None = None,
    sleep: Sleep | None = None,
    progress: bool | None = None,
) -> SubmissionPlan:
    """Tell what `submit_jobs` would do, without doing it.

    Parameters
    ----------
    ids, resources, chunks, chunk_size, n_chunks
        As for `submit_jobs`.
    sleep, progress
        Taken so that the same arguments do; a plan neither waits nor shows a bar.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2, -3])
    >>> print(reg.plan_submission(chunk_size=2))
    3 jobs in 2 chunks by 2 calls
    """
    sleeping(reg, sleep)
    found = plan(
        reg, ids, resources=resources, chunks=chunks, chunk_size=chunk_size, n_chunks=n_chunks
    )
    backend = reg.cluster_functions
    groups = list(_groups(reg, backend, found, Ahead()))
    return SubmissionPlan(
        table=_plan_table(found, groups),
        scheduler_calls=sum(1 if is_array else len(places) for places, is_array in groups),
        limits=None if backend.is_local else backend.site_limits(reg),
        collection=lambda i: _planned(reg, found, groups, i),
        render=lambda jc: backend.render(reg, jc),
    )


def _plan_table(found: Plan, groups: Sequence[tuple[range, bool]]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    tasks = [
        number if is_array else None
        for places, is_array in groups
        for number in range(1, len(places) + 1)
    ]
    asked = [resources.asked(found.asked(i)) for i in range(len(found))]
    return pa.table(
        {
            "chunk": pa.array(found.numbers),
            "task": pa.array(tasks, pa.int64()),
            "n_jobs": pa.array(np.diff(found.offsets)),
            "walltime": pa.array([one.get("walltime") for one in asked], pa.float64()),
            "memory": pa.array([one.get("memory") for one in asked], pa.float64()),
            "ncpus": pa.array([one.get("ncpus") for one in asked], pa.int64()),
        }
    )


def _planned(
    reg: Registry, found: Plan, groups: Sequence[tuple[range, bool]], i: int
) -> JobCollection:
    """Give the collection as it would be; its name is drawn when it is published."""
    place = range(len(found))[i]
    names = reg.store.core.names(JobIds(found.ids).core)

    def one(place: int) -> JobCollection:
        asked, jobs = found.asked(place), found.jobs(place)
        by_job = bool(asked.get("chunks_as_arrayjobs"))
        return describe(reg, "0" * 32, asked, jobs, is_array=by_job, names=names)

    places, is_array = next(group for group in groups if place in group[0])
    if not is_array:
        return _throttled(reg, one(place))
    backend = reg.cluster_functions
    return _throttled(reg, as_array([one(each) for each in places], backend.array_var))


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
    (chunk,) = _intend(reg, backend, found, range(1), header(reg), is_array=is_array)
    names = reg.store.core.names(JobIds(found.ids).core)
    return describe(reg, chunk, asked, found.ids, is_array=is_array, names=names)
