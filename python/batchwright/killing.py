"""Killing jobs, and setting ended ones back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchwright import ids as job_ids
from batchwright import looking
from batchwright.errors import OwnershipLostError, SchedulerError
from batchwright.ids import IdsLike, JobIds
from batchwright.lifecycle import require_idle

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright import _core
    from batchwright.registry import Registry


def kill_jobs(reg: Registry, ids: IdsLike = None) -> pa.Table:
    """Stop jobs that are queued or running.

    A chunk is stopped as a whole: jobs asked for become defined again, the others of their chunk
    expired.

    Parameters
    ----------
    ids
        Which jobs; all on the system by default.

    Returns
    -------
    pyarrow.Table
        `job_id`, `batch_id`, `killed` and `requested` of each unfinished job of the chunks.

    Raises
    ------
    SchedulerError
        If the cluster functions have no way to kill. A kill that fails warns.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1])
    >>> reg.kill_jobs().num_rows
    0
    """
    store, backend = reg.store, reg.cluster_functions
    store.require_writeable()
    looking.sync(reg)
    requested = job_ids.selected(
        store, ids, lambda: JobIds(store.core.where("submitted", None, None))
    )
    hit = store.core.chunks_of(requested.core)
    if not hit:
        return _table([], frozenset(), requested)
    alive = tuple(batch for _, batch, _, _ in hit if batch)
    if alive and not backend.can_kill:
        raise SchedulerError(
            f"cluster functions `{backend.name}` cannot kill jobs: stop them by hand, or give a "
            "function that does"
        )
    backend.run_hook("pre_kill", reg, requested)
    chunks = [chunk for chunk, *_ in hit]
    store.core.void(chunks)
    stopped = _kill(reg, alive)
    gone = chunks if stopped else []
    if gone:
        # Before the merge: what executors say while they are stopped must not come first.
        store.core.give_up(gone, requested.core, "killed")
    store.core.sync()
    looking.forget(reg)
    backend.run_hook("post_kill", reg, requested)
    return _table(hit, frozenset(gone), requested)


def _kill(reg: Registry, batch_ids: tuple[str, ...]) -> bool:
    """Ask the backend; False, aloud, if it could not."""
    if not batch_ids:
        return True
    try:
        reg.cluster_functions.kill(reg, batch_ids)
    except OwnershipLostError:
        raise
    except Exception as error:  # a backend of the user's own may raise anything
        warnings.warn(f"killing failed: {error}", stacklevel=3)
        return False
    return True


def _table(
    hit: Sequence[tuple[str, str, str, _core.IdSet]], gone: frozenset[str], requested: JobIds
) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    parts: list[pa.Table] = []
    for chunk, batch, _, core_ids in hit:
        jobs = JobIds(core_ids)
        array = np.asarray(jobs)
        parts.append(
            pa.table(
                {
                    "job_id": pa.array(array, pa.int64()),
                    "batch_id": pa.array([batch or None] * len(array), pa.string()),
                    "killed": pa.array([chunk in gone] * len(array), pa.bool_()),
                    "requested": pa.array(np.isin(array, np.asarray(requested))),
                }
            )
        )
    if not parts:
        schema = {"job_id": pa.int64(), "batch_id": pa.string()}
        flags = {"killed": pa.bool_(), "requested": pa.bool_()}
        return pa.schema({**schema, **flags}).empty_table()
    return pa.concat_tables(parts).sort_by("job_id")


def reset_jobs(reg: Registry, ids: IdsLike) -> JobIds:
    """Make jobs as they were before they were submitted; results and logs go.

    Parameters
    ----------
    ids
        Which jobs, none of them queued or running; no job by default.

    Returns
    -------
    JobIds
        The jobs that were reset.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> reg.reset_jobs([1])
    JobIds(1 job: 1)
    """
    reg.store.require_writeable()
    chosen = job_ids.selected(reg.store, ids, JobIds)
    require_idle(reg, chosen)
    if chosen:
        reg.store.core.reset(chosen.core)
    return chosen
