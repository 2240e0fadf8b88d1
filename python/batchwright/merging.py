"""Taking over what another copy of a registry has computed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from batchwright import ids as job_ids
from batchwright import store, submission
from batchwright.errors import DefinitionError, JobsOnSystemError
from batchwright.ids import JobIds

if TYPE_CHECKING:
    from batchwright.registry import Registry

_TOGETHER: Final = 1 << 17
"""So many jobs become one run of the target, whose file is read as a whole."""


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
    taken = JobIds(source.store.core.same_as(target.store.core, wanted.core))
    if taken:
        _take_over(source, target, taken)
    return taken


def _take_over(source: Registry, target: Registry, jobs: JobIds) -> None:
    """Write runs of the target that tell what the source's runs told."""
    import numpy as np

    every = np.asarray(jobs)
    for start in range(0, len(every), _TOGETHER):
        some = JobIds(every[start : start + _TOGETHER])
        collection = submission.make_job_collection(target, some)
        run = store.claim(collection.uri)
        if run is None:
            raise JobsOnSystemError(f"another process took `{collection.uri}` back: merge again")
        run.take_over(source.store.core, some.core)
        run.close()
        _copy_external(source, target, some)
    target.store.core.sync()


def _copy_external(source: Registry, target: Registry, jobs: JobIds) -> None:
    """Copy the folders of their own that some jobs have."""
    folder = source.file_dir / "external"
    if not folder.is_dir():
        return
    for own in folder.iterdir():
        if own.name.isdecimal() and int(own.name) in jobs:
            shutil.copytree(own, target.file_dir / "external" / own.name, dirs_exist_ok=True)
