"""Planning a submission: which jobs go together, what they ask for, and what is one call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from batchwright import ids as job_ids
from batchwright import parameters, resources
from batchwright.errors import ConfigError, SubmitError
from batchwright.ids import IdsLike, JobIds
from batchwright.settings import freeze

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright.clusters.base import ClusterFunctions
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry


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


# -- what is published and handed over together


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


def groups(
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


def throttled(reg: Registry, jc: JobCollection) -> JobCollection:
    """Let the template see the registry's limit, where it is an array's to keep."""
    limit = reg.max_concurrent_jobs
    if not jc.array_jobs or limit is None or "max_concurrent_jobs" in jc.resources:
        return jc
    return replace(jc, resources=freeze({**jc.resources, "max_concurrent_jobs": limit}))
