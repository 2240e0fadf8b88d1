"""A job as its own function sees it, made in the owner's process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
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

    Nothing is unpickled before it is asked for.

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
    ensure_trusted(store)
    segment, parameters = store.core.row(job)
    row = pa.table(store.core.status(JobIds([job]).core)).to_pylist()[0]
    call = _call(store, segment)
    if isinstance(call, ExperimentCall):
        call = _Here(call)
    return call.make_job(
        partial(call.bind, parameters),
        job,
        attempt=row["attempt"],
        registry_seed=reg.seed,
        file_dir=str(reg.file_dir),
        resources=json.loads(row["resources"]) if row["resources"] else {},
        exports=_Exports(store.core.exports(), Objects(str(store.file_dir), store.core.access)),
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


class _Exports(Mapping[str, Any]):
    """The exported objects by name, each unpickled when it is asked for."""

    def __init__(self, hashes: Mapping[str, str], objects: Objects) -> None:
        self._hashes = hashes
        self._objects = objects
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._objects.load(self._hashes[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)

    def __repr__(self) -> str:
        return repr(dict(self))
