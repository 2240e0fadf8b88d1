"""Results: one, all of them one after the other, as a list, as a table; and why some lack.

Results are pickles. They are loaded batch by batch as the core reads them, so that memory holds a
batch and what the caller keeps.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from batchwright._node.compression import decompressed
from batchwright.columns import chunked, common_type, plain
from batchwright.errors import DefinitionError, JobError, JobNotDoneError
from batchwright.ids import IdsLike, JobIds, in_words, ordered, selected, single
from batchwright.jobs import make_job
from batchwright.signature import takes
from batchwright.trust import ensure_trusted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright.registry import Registry

NOT_TERMINATED: Final = "[not terminated]"


def load_result(reg: Registry, id: IdsLike) -> Any:
    """Load the result of one job.

    Parameters
    ----------
    reg
        The registry.
    id
        The job.

    Raises
    ------
    JobNotDoneError
        If it has none; a `JobError` with the remote traceback if it failed.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> table = reg.submit_jobs()
    >>> reg.load_result(2)
    2
    """
    import numpy as np

    reg.store.update()
    job = single(reg.store, id)
    return next(_load(reg, np.array([job], dtype=np.int64)))


def reduce_results(
    reg: Registry, fun: Callable[..., Any], ids: IdsLike = None, *, init: Any = ...
) -> Any:
    """Fold results into one value, in the order of the ids given.

    Parameters
    ----------
    reg
        The registry.
    fun
        Called as `fun(aggregate, result)`; one that names a parameter `job` gets the `Job`, too.
    ids
        Which jobs; those done by default.
    init
        The first aggregate; the first result without it.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> table = reg.submit_jobs()
    >>> reg.reduce_results(lambda total, result: total + result)
    3
    """
    jobs = _ordered(reg, ids)
    results = zip(_each(jobs), _load(reg, jobs), strict=True)
    with_job = takes(fun, "job")
    aggregate = init
    for job, result in results:
        if aggregate is ...:
            aggregate = result
        elif with_job:
            aggregate = fun(aggregate, result, job=make_job(reg, job))
        else:
            aggregate = fun(aggregate, result)
    return None if aggregate is ... else aggregate


def reduce_results_list(
    reg: Registry,
    ids: IdsLike = None,
    fun: Callable[..., Any] | None = None,
    *,
    missing_val: Any = ...,
) -> list[Any]:
    """Load results into a list, in the order of the ids given.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; those done by default.
    fun
        Applied to each result; one that names a parameter `job` gets the `Job`, too.
    missing_val
        Stands, as it is, for results that are not there; without it they raise.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> table = reg.submit_jobs(ids[:1])
    >>> reg.reduce_results_list(ids, missing_val=None)
    [1, None]
    """
    jobs = _ordered(reg, ids)
    if missing_val is ...:
        return list(chain.from_iterable(_applied(reg, jobs, fun)))
    there = _is_done(reg, jobs)
    values = chain.from_iterable(_applied(reg, jobs[there], fun))
    return [next(values) if done else missing_val for done in there.tolist()]


def reduce_results_table(
    reg: Registry,
    ids: IdsLike = None,
    fun: Callable[..., Any] | None = None,
    *,
    missing_val: Any = ...,
) -> pa.Table:
    """Collect results into a table, one row a job, by ascending id.

    Results that are dicts of scalars become columns. All others stand in a column `result`, if
    Arrow has a type for them.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; those done by default.
    fun
        Applied to each result; one that names a parameter `job` gets the `Job`, too.
    missing_val
        Stands for results that are not there; without it they raise. Among dicts anything but a
        dict gives nulls.

    Raises
    ------
    DefinitionError
        If no table holds the results; `fun` can make them fit.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> table = reg.submit_jobs()
    >>> reg.reduce_results_table(fun=lambda result: {"y": result}).to_pylist()
    [{'job_id': 1, 'y': 1}, {'job_id': 2, 'y': 2}]
    """
    import numpy as np
    import pyarrow as pa

    reg.store.update()
    chosen = selected(reg.store, ids, lambda: _done(reg))
    jobs = chosen.core.to_array()
    there = np.ones(len(jobs), dtype=bool) if missing_val is ... else _is_done(reg, jobs)
    batches = _batches(reg, jobs[there], fun)
    absent = None if there.all() else missing_val
    columns = _result_columns(batches, absent)
    place = np.where(there, np.cumsum(there) - 1, there.sum())
    if not there.all():
        columns = {name: column.take(pa.array(place)) for name, column in columns.items()}
    else:
        columns = {name: column.slice(0, len(jobs)) for name, column in columns.items()}
    return pa.table({"job_id": pa.array(jobs), **(columns if len(jobs) else {})})


def iter_results(reg: Registry, ids: IdsLike = None) -> Iterator[tuple[int, Any]]:
    """Go through results one by one, holding only some MB of them at a time.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs, in this order; those done by default.

    Yields
    ------
    tuple
        The job's id and its result.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> table = reg.submit_jobs()
    >>> dict(reg.iter_results())
    {1: 1, 2: 2}
    """
    # Checked here, not at the first step: a wrong id should raise where it was given.
    jobs = _ordered(reg, ids)
    _ensure_done(reg, jobs)
    return zip(_each(jobs), _load(reg, jobs), strict=True)


def get_error_messages(
    reg: Registry, ids: IdsLike = None, *, missing_as_error: bool = False
) -> pa.Table:
    """Tell what went wrong.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; those that failed by default.
    missing_as_error
        Count jobs that did not end as failed, with the message `[not terminated]`.

    Returns
    -------
    pyarrow.Table
        `job_id`, `terminated`, `error` (both bool) and `message`, whole, with its traceback; null
        where there was no error.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    reg.store.update()
    chosen = selected(reg.store, ids, lambda: JobIds(reg.store.core.where("error", None, None)))
    table = pa.table(reg.store.core.failures(chosen.core))
    if not missing_as_error:
        return table
    ended = table["terminated"]
    texts = table["message"]
    message = pc.if_else(ended, texts, pa.scalar(NOT_TERMINATED, texts.type))
    error = pc.if_else(ended, table["error"], True)
    return pa.table(
        {"job_id": table["job_id"], "terminated": ended, "error": error, "message": message}
    )


def _ordered(reg: Registry, ids: IdsLike) -> NDArray[np.int64]:
    reg.store.update()
    return ordered(reg.store, ids, lambda: _done(reg))


def _done(reg: Registry) -> JobIds:
    return JobIds(reg.store.core.where("done", None, None))


def _is_done(reg: Registry, jobs: NDArray[np.int64]) -> NDArray[np.bool_]:
    import numpy as np

    done = reg.store.core.where("done", JobIds(jobs).core, None)
    return np.isin(jobs, done.to_array())


def _ensure_done(reg: Registry, jobs: NDArray[np.int64]) -> None:
    core = reg.store.core
    missing = JobIds(core.where("not_done", JobIds(jobs).core, None))
    if not missing:
        return
    failed = JobIds(core.where("error", missing.core, None))
    others = len(missing) - 1
    also = f"; {others} more have no result either" if others else ""
    advice = "; take find_done() as ids, or pass missing_val"
    if failed:
        raise _job_error(reg, failed[0], also)
    state = _state(reg, missing[0])
    which = "job " + in_words(missing.core) if not others else "jobs " + in_words(missing.core)
    raise JobNotDoneError(f"no result of {which}: job {missing[0]} is {state}{advice}")


def _state(reg: Registry, job: int) -> str:
    import pyarrow as pa

    row = pa.table(reg.store.core.status(JobIds([job]).core)).slice(0, 1).to_pylist()[0]
    return f"{row['state']} ({row['cause']})" if row["cause"] else row["state"]


def _job_error(reg: Registry, job: int, also: str) -> JobError:
    cause, type, message, traceback = reg.store.core.failure(job)
    what = f"{type}: {message}" if type else message
    return JobError(
        f"job {job} failed ({cause}): {what}{also}",
        job_id=job,
        cause=cause,
        type=type,
        message=message,
        traceback=traceback,
    )


def _load(reg: Registry, jobs: NDArray[np.int64]) -> Iterator[Any]:
    return chain.from_iterable(_loaded(reg, jobs))


def _loaded(reg: Registry, jobs: NDArray[np.int64]) -> Iterator[list[Any]]:
    """Load results batch by batch."""
    _ensure_done(reg, jobs)
    if not len(jobs):
        return
    ensure_trusted(reg.store)
    reader = reg.store.core.results(jobs)
    at = 0
    while (pickles := reader.next_batch()) is not None:
        yield _unpickled(pickles, jobs[at : at + len(pickles)])
        at += len(pickles)


def _unpickled(pickles: Sequence[bytes], jobs: NDArray[np.int64]) -> list[Any]:
    try:
        return list(map(pickle.loads, pickles))
    except Exception:
        # One is compressed, or wrong: which is it? The quick way above does not keep count.
        return [_unpickle(data, job) for data, job in zip(pickles, jobs.tolist(), strict=True)]


def _unpickle(data: bytes, job: int) -> Any:
    try:
        return pickle.loads(decompressed(data))
    except Exception as error:
        error.add_note(f"while loading the result of job {job}")
        raise


def _applied(
    reg: Registry, jobs: NDArray[np.int64], fun: Callable[..., Any] | None
) -> Iterator[list[Any]]:
    """Load results batch by batch, each passed through `fun`."""
    if fun is None:
        yield from _loaded(reg, jobs)
        return
    with_job = takes(fun, "job")
    at = 0
    for batch in _loaded(reg, jobs):
        if with_job:
            ids = jobs[at : at + len(batch)].tolist()
            yield [fun(r, job=make_job(reg, job)) for r, job in zip(batch, ids, strict=True)]
        else:
            yield [fun(result) for result in batch]
        at += len(batch)


def _each(jobs: NDArray[np.int64]) -> Iterator[int]:
    """Give ids as ints, without a list of them all."""
    step = 65536
    return chain.from_iterable(jobs[at : at + step].tolist() for at in range(0, len(jobs), step))


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some results as Arrow has them."""

    values: pa.Array
    is_rows: bool
    """Whether they are dicts of scalars."""

    @staticmethod
    def of_columns(table: pa.Table) -> _Batch:
        is_rows = table.column_names != ["result"]
        values = table.to_struct_array() if is_rows else table["result"]
        return _Batch(plain(values), is_rows)

    @staticmethod
    def of(values: list[Any]) -> _Batch:
        import pyarrow as pa
        from pyarrow import types as of

        kinds = set(map(type, values)) - {type(None)}
        is_dicts = bool(kinds) and all(issubclass(kind, dict) for kind in kinds)
        if is_dicts and any("job_id" in value for value in values if value):
            raise DefinitionError(
                "a result has the key 'job_id', which is the table's own: rename it with fun="
            )
        try:
            array = pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
            raise _untyped(str(error), kinds) from error
        is_rows = is_dicts and not any(of.is_nested(field.type) for field in array.type)
        return _Batch(array, is_rows)


def _batches(
    reg: Registry, jobs: NDArray[np.int64], fun: Callable[..., Any] | None
) -> list[_Batch]:
    """Give results as Arrow has them; plain ones are read by the core and never unpickled."""
    import pyarrow as pa

    if fun is None and len(jobs):
        _ensure_done(reg, jobs)
        found = reg.store.core.result_table(jobs)
        table = None if found is None else pa.table(found)
        # Beside others, the core's column `result` may be a key or stand for a None among dicts.
        if table is not None and (table.num_columns == 1 or "result" not in table.column_names):
            return [_Batch.of_columns(table)]
    return [_Batch.of(values) for values in _applied(reg, jobs, fun) if values]


def _result_columns(batches: Sequence[_Batch], missing_val: Any) -> dict[str, pa.ChunkedArray]:
    """Give the columns of all batches, and one row more that stands for what is missing."""
    import pyarrow as pa

    given = [batch for batch in batches if not pa.types.is_null(batch.values.type)]
    is_rows = bool(given) and all(batch.is_rows for batch in given)
    if not given and isinstance(missing_val, dict):
        is_rows = True
    if is_rows and not isinstance(missing_val, dict):
        missing_val = None
    pieces = [*(batch.values for batch in batches), _Batch.of([missing_val]).values]
    if not is_rows:
        return {"result": _joined("result", pieces)}
    names = dict.fromkeys(
        field.name for piece in pieces if pa.types.is_struct(piece.type) for field in piece.type
    )
    return {name: _joined(name, [_child(piece, name) for piece in pieces]) for name in names}


def _child(piece: pa.Array, name: str) -> pa.Array:
    """Give one field of dicts, null where the dict or the key is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(piece.type) or piece.type.get_field_index(name) < 0:
        return pa.nulls(len(piece))
    return pc.struct_field(piece, name)


def _joined(name: str, pieces: Sequence[pa.Array]) -> pa.ChunkedArray:
    type = common_type(piece.type for piece in pieces)
    if type is None:
        found = ", ".join(dict.fromkeys(str(piece.type) for piece in pieces))
        raise DefinitionError(
            f"results disagree on the type of {name!r}: {found}; give them one with fun="
        )
    return chunked(pieces, type)


def _untyped(why: str, kinds: set[type]) -> DefinitionError:
    what = ", ".join(sorted(kind.__name__ for kind in kinds))
    return DefinitionError(
        f"results of type {what} do not fit into a table: {why}; turn each into a scalar, a list "
        "or a dict of scalars with fun="
    )
