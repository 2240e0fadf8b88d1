"""What a submission would do: its table, its calls and its scripts, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchwright import resources
from batchwright.collection import JobCollection, as_array, describe
from batchwright.ids import IdsLike, JobIds
from batchwright.planning import Ahead, Plan, groups, plan, throttled
from batchwright.waiting import Sleep, sleeping

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.clusters.base import SiteLimits
    from batchwright.registry import Registry


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
    together = list(groups(reg, backend, found, Ahead()))
    return SubmissionPlan(
        table=_plan_table(found, together),
        scheduler_calls=sum(1 if is_array else len(places) for places, is_array in together),
        limits=None if backend.is_local else backend.site_limits(reg),
        collection=lambda i: _planned(reg, found, together, i),
        render=lambda jc: backend.render(reg, jc),
    )


def _plan_table(found: Plan, together: Sequence[tuple[range, bool]]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    tasks = [
        number if is_array else None
        for places, is_array in together
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
    reg: Registry, found: Plan, together: Sequence[tuple[range, bool]], i: int
) -> JobCollection:
    """Give the collection as it would be; its name is drawn when it is published."""
    place = range(len(found))[i]
    names = reg.store.core.names(JobIds(found.ids).core)

    def one(place: int) -> JobCollection:
        asked, jobs = found.asked(place), found.jobs(place)
        by_job = bool(asked.get("chunks_as_arrayjobs"))
        return describe(reg, "0" * 32, asked, jobs, is_array=by_job, names=names)

    places, is_array = next(group for group in together if place in group[0])
    if not is_array:
        return throttled(reg, one(place))
    backend = reg.cluster_functions
    return throttled(reg, as_array([one(each) for each in places], backend.array_var))
