"""Taking over what another copy of a registry has computed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchwright import ids as job_ids
from batchwright import store, submission
from batchwright.errors import DefinitionError, JobsOnSystemError
from batchwright.ids import JobIds

if TYPE_CHECKING:
    from batchwright import _core
    from batchwright.registry import Registry


def merge_registries(source: Registry, target: Registry) -> JobIds:
    """Take results, errors and logs of one copy of a registry over into another.

    A job is taken over if it has ended by its own doing in `source`, is not done in `target`, and
    has the same definition in both. Both registries must be writeable and idle.

    Parameters
    ----------
    source
        Where the jobs ran.
    target
        What shall know of it.

    Returns
    -------
    JobIds
        The jobs that were taken over.

    Raises
    ------
    DefinitionError
        If both are the same folder, or of different kinds.
    JobsOnSystemError
        If either has jobs on the system.

    Examples
    --------
    >>> import shutil, tempfile, batchwright as bw
    >>> folder = tempfile.mkdtemp()
    >>> with bw.make_registry(f"{folder}/a", conf_file=None, make_default=False) as reg:
    ...     ids = reg.batch_map(abs, [-1, -2])
    >>> copy = shutil.copytree(f"{folder}/a", f"{folder}/b")
    >>> load = dict(conf_file=None, make_default=False, writeable=True)
    >>> source, target = bw.load_registry(copy, **load), bw.load_registry(f"{folder}/a", **load)
    >>> source.cluster_functions = bw.Interactive()
    >>> table = source.submit_jobs(2)
    >>> bw.merge_registries(source, target)
    JobIds(1 job: 2)
    >>> target.load_result(2)
    2
    """
    if source.file_dir == target.file_dir:
        raise DefinitionError(f"`{source.file_dir}` is both source and target: name two registries")
    if source.store.core.kind != target.store.core.kind:
        raise DefinitionError(
            f"the source is of kind {source.store.core.kind!r}, the target of kind "
            f"{target.store.core.kind!r}: merge registries of one kind"
        )
    for reg in (source, target):
        reg.store.require_writeable()
        reg.store.update()
        if busy := JobIds(reg.store.core.where("on_system", None, None)):
            raise JobsOnSystemError(
                f"{len(busy)} jobs of `{reg.file_dir}` are on the system: wait for them or "
                "kill_jobs first"
            )
    ended = JobIds(source.store.core.where("done", None, None)) | JobIds(
        source.store.core.where("error", None, None)
    )
    wanted = (ended & job_ids.all_jobs(target.store)) - JobIds(
        target.store.core.where("done", None, None)
    )
    taken = JobIds(job for job in wanted if _definition(source, job) == _definition(target, job))
    if taken:
        _take_over(source, target, taken)
    return taken


def _definition(reg: Registry, job: int) -> tuple[Any, bytes]:
    """Give what a job calls, and with which parameters."""
    place, parameters = reg.store.core.row(job)
    return json.loads(reg.store.core.call(place)), parameters


def _take_over(source: Registry, target: Registry, jobs: JobIds) -> None:
    """Write one run of the target that tells what the source's runs told."""
    collection = submission.make_job_collection(target, jobs)
    run = store.claim(collection.uri)
    if run is None:
        raise JobsOnSystemError(f"another process took `{collection.uri}` back: merge again")
    for row in _rows(source, jobs):
        _tell(source, run, row)
        if (folder := source.file_dir / "external" / str(row["job_id"])).is_dir():
            there = target.file_dir / "external" / str(row["job_id"])
            shutil.copytree(folder, there, dirs_exist_ok=True)
    run.close()
    target.store.core.sync()


def _rows(source: Registry, jobs: JobIds) -> list[dict[str, Any]]:
    import pyarrow as pa

    table = pa.table(source.store.core.status(jobs.core))
    return table.select(["job_id", "submitted", "started", "done", "state"]).to_pylist()


def _tell(source: Registry, run: _core.Run, row: dict[str, Any]) -> None:
    import numpy as np

    core, job = source.store.core, int(row["job_id"])
    measured = core.measured(job) or _as_seen(row)
    run.log(job, core.log(job) or b"")
    if row["state"] == "error":
        cause, type, message, traceback = core.failure(job)
        run.failed(job, cause, *measured, type, message, traceback)
        return
    (result,) = core.results(np.array([job], dtype=np.int64)).next_batch() or (b"",)
    run.done(job, *measured, result)


def _as_seen(row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Give times of a job whose end its node did not record: it was stopped with its chunk."""
    ended = row["done"] or row["started"] or row["submitted"]
    started = row["started"] or ended
    return round(started.timestamp() * 1e6), round(ended.timestamp() * 1e6), 0, 0
