"""A job as its own function sees it, made in the owner's process."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any, cast

from batchwright._node.calls import KINDS, Call
from batchwright._node.experiments import Experiment, ExperimentCall, ExperimentJob
from batchwright._node.job import Job
from batchwright._node.objects import Objects
from batchwright._node.seeds import Seeder, restored
from batchwright.ids import IdsLike, JobIds, single
from batchwright.trust import ensure_trusted

if TYPE_CHECKING:
    from batchwright.registry import Registry
    from batchwright.store import Store


def make_job(reg: Registry, id: IdsLike) -> Job:
    """Make the object that a function which names a parameter `job` is given.

    Parameters
    ----------
    reg
        The registry.
    id
        The job.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False, seed=1)
    >>> ids = reg.batch_map(lambda x: x, x=["a", "b"])
    >>> job = reg.make_job(2)
    >>> job.id, job.seed, job.pars
    (2, 3, {'x': 'b'})
    """
    import pyarrow as pa

    store = reg.store
    job = single(store, id)
    ensure_trusted(store.core.path, store.core.access)
    segment, parameters = store.core.row(job)
    row = pa.table(store.core.status(JobIds([job]).core)).to_pylist()[0]
    call = _call(store, segment)
    if isinstance(call, ExperimentCall):
        call = _Here(call)
    return call.make_job(
        call.bind(parameters),
        job,
        attempt=row["attempt"],
        registry_seed=reg.seed,
        file_dir=str(reg.file_dir),
        resources=json.loads(row["resources"]) if row["resources"] else {},
        exports=_exports(store),
    )


class _Here(ExperimentCall):
    """Makes instances as on a node, and leaves the generators of this process as they were."""

    def __init__(self, call: ExperimentCall) -> None:
        vars(self).update(vars(call))

    def instance(self, bound: Experiment, job: ExperimentJob) -> Any:
        """Give the instance."""
        with restored():
            self._seeder.seed_all(job.seed)
            return super().instance(bound, job)


def _call(store: Store, segment: int) -> Call:
    """Give how the jobs of a segment call their function; definitions never change."""
    key = f"call {segment}"
    if key not in store.definitions:
        spec = json.loads(store.core.call(segment))
        objects = Objects(str(store.file_dir), store.core.access)
        store.definitions[key] = KINDS[spec["kind"]](spec, objects, Seeder())
    return cast("Call", store.definitions[key])


def _exports(store: Store) -> dict[str, Any]:
    names = store.core.exports()
    return {name: pickle.loads(store.core.get_object(found)) for name, found in names.items()}
