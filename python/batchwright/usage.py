"""What jobs used of memory and time, and what to ask for next."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, selected
from batchwright.resources import positive
from batchwright.tables import get_job_table, unwrap

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright.registry import Registry

_STRUCTS = ("job_pars", "prob_pars", "algo_pars")


def summarize_usage(
    reg: Registry, ids: IdsLike = None, *, by: str | Iterable[str] = (), margin: float = 1.25
) -> pa.Table:
    """Sum up the memory and run time of jobs, and suggest what to ask for.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; those done by default. Jobs that did not run count for nothing.
    by
        Columns of the job table, or parameters, whose equal values make a group.
    margin
        Suggested is the most that any job of the group used, times this.

    Returns
    -------
    pyarrow.Table
        The columns of `by`, then `jobs`, `memory_asked`, `memory_p95`, `memory_max` and
        `memory_suggested` in MB per job, and `runtime_p95`, `runtime_max` and
        `runtime_suggested` in seconds per job; null where nothing is known.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(lambda n: n, n=[1, 1, 2])
    >>> table = reg.submit_jobs()
    >>> summarize_usage(reg, by="n").select(["n", "jobs"]).to_pylist()
    [{'n': 1, 'jobs': 2}, {'n': 2, 'jobs': 1}]
    """
    import numpy as np
    import pyarrow as pa

    factor = positive("margin", margin)
    reg.store.update()
    chosen = selected(reg.store, ids, lambda: JobIds(reg.store.core.where("done", None, None)))
    ran = JobIds(reg.store.core.where("started", chosen.core, None))
    jobs = get_job_table(reg, ran)
    names, groups = _groups(jobs, [by] if isinstance(by, str) else list(by))
    memory = _floats(jobs["mem_used"])
    asked = _floats(_asked(jobs))
    runtime = _floats(jobs["time_running"].cast("int64")) / 1e6
    rows = [_summary(memory[rows], asked[rows], runtime[rows], factor) for _, rows in groups]
    held: dict[str, Any] = {
        name: jobs_column.take(pa.array([rows[0] for _, rows in groups], pa.int64()))
        for name, jobs_column in names.items()
    }
    counts = pa.array([len(rows) for _, rows in groups], pa.int64())
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in _COLUMNS}
    numbers = {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
    return pa.table({**held, "jobs": counts, **numbers})


_COLUMNS = (
    "memory_asked",
    "memory_p95",
    "memory_max",
    "memory_suggested",
    "runtime_p95",
    "runtime_max",
    "runtime_suggested",
)


def _groups(
    jobs: pa.Table, by: list[str]
) -> tuple[dict[str, pa.ChunkedArray], list[tuple[int, NDArray[np.int64]]]]:
    """Give the columns of `by`, and the rows of each group, in the order of first jobs."""
    import numpy as np

    columns = {name: _column(jobs, name) for name in dict.fromkeys(by)}
    code = np.zeros(jobs.num_rows, dtype=np.int64)
    for name, column in columns.items():
        try:
            encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        except Exception as error:
            raise DefinitionError(
                f"column {name!r} holds {column.type}, which makes no groups: {error}"
            ) from error
        width = max(len(encoded.dictionary), 1)
        _, code = np.unique(code * width + np.asarray(encoded.indices), return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    rows = np.split(order, starts[1:]) if len(order) else []
    return columns, sorted(((int(one[0]), one) for one in rows), key=lambda group: group[0])


def _column(jobs: pa.Table, name: str) -> pa.ChunkedArray:
    found = [name] if name in jobs.column_names else []
    structs = [struct for struct in _STRUCTS if struct in jobs.column_names]
    opened = {struct: unwrap(jobs.select([struct])) for struct in structs}
    found += [struct for struct, table in opened.items() if name in table.column_names]
    if len(found) > 1:
        raise DefinitionError(f"{name!r} is ambiguous: it is in {' and '.join(found)}")
    if name in jobs.column_names:
        return jobs[name]
    if found:
        return opened[found[0]][name]
    known = [*jobs.column_names, *(n for table in opened.values() for n in table.column_names)]
    raise DefinitionError(f"there is no column or parameter {name!r}; there are {', '.join(known)}")


def _asked(jobs: pa.Table) -> pa.ChunkedArray:
    import pyarrow as pa

    resources = unwrap(jobs.select(["resources"]))
    if "memory" in resources.column_names:
        return resources["memory"]
    return pa.chunked_array([pa.nulls(jobs.num_rows, pa.float64())])


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return column.cast("float64").to_numpy(zero_copy_only=False)


def _summary(
    memory: NDArray[np.float64],
    asked: NDArray[np.float64],
    runtime: NDArray[np.float64],
    factor: float,
) -> dict[str, float]:
    memory_p95, memory_max = _high(memory)
    runtime_p95, runtime_max = _high(runtime)
    return {
        "memory_asked": _high(asked)[1],
        "memory_p95": memory_p95,
        "memory_max": memory_max,
        "memory_suggested": _whole(memory_max * factor),
        "runtime_p95": runtime_p95,
        "runtime_max": runtime_max,
        "runtime_suggested": _whole(runtime_max * factor),
    }


def _high(values: NDArray[np.float64]) -> tuple[float, float]:
    """Give the 95th percentile and the maximum of what is known."""
    import numpy as np

    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan
    return float(np.quantile(known, 0.95)), float(known.max())


def _whole(value: float) -> float:
    """Round up: nobody asks a scheduler for parts of an MB or of a second."""
    return value if math.isnan(value) else float(math.ceil(value))
