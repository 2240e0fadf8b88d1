"""Defining the jobs of a plain registry: one call of a function each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright import parameters, results, serialization, signature
from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry

PLAIN: Final = "plain"
_INIT: Final = "init of the fold"
"""No name of a parameter, so that it clashes with none."""
_MISSING: Final = cast("Any", ...)


def batch_map(
    reg: Registry,
    fun: Callable[..., Any],
    /,
    *iterables: Any,
    args: Any = None,
    more_args: Mapping[str, Any] | None = None,
    append: bool = False,
    **columns: Any,
) -> JobIds:
    """Define one job for each element of the columns, as `map()` would call the function.

    Parameters
    ----------
    fun
        What the jobs call. If it names a parameter `job`, it gets the running `Job`.
    *iterables, **columns
        Values by position or by name, one a job. Texts, bytes, mappings and what cannot be
        iterated are the same for all jobs.
    args
        A table or mapping of further columns.
    more_args
        Arguments that all jobs share; stored once.
    append
        Whether jobs may be added to a registry that has some.

    Returns
    -------
    JobIds
        Of the new jobs.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.batch_map(pow, [1, 2, 3], 2)
    JobIds(3 jobs: 1–3)
    """
    _require_definable(reg, append=append)
    _refuse_tables(iterables)
    table = {} if args is None else parameters.from_table(args, "`args`")
    shared = _shared(more_args)
    by_name = {**columns, **{name: table[name] for name in table if name not in columns}}
    if len(by_name) < len(columns) + len(table):
        twice = next(name for name in table if name in columns)
        raise DefinitionError(f"`{twice}` is given as a column and in `args`")
    if callable(fun) and not iterables and not by_name:
        return JobIds()
    calling = signature.bind(fun, len(iterables), list(by_name), shared)
    given = dict(zip(_order_given(calling, len(iterables), by_name), iterables, strict=True))
    found, count = parameters.aligned({**given, **by_name})
    if count == 0:
        return JobIds()
    return define(reg, fun, calling, found, count, shared)


def _order_given(
    calling: signature.Calling, count: int, by_name: Mapping[str, Any]
) -> Sequence[str]:
    return [name for name in calling.names if name not in by_name][:count]


def _require_definable(reg: Registry, *, append: bool) -> None:
    reg.store.require_writeable()
    if reg.store.core.kind != PLAIN:
        raise DefinitionError(
            f"registry `{reg.file_dir}` holds experiments: define jobs by `add_experiments`"
        )
    if reg.store.core.n_jobs and not append:
        raise DefinitionError(
            f"registry `{reg.file_dir}` has {reg.store.core.n_jobs} jobs already: pass "
            "`append=True` to add more, or make another registry"
        )


def _refuse_tables(iterables: Sequence[object]) -> None:
    for value in iterables:
        if parameters.is_table(value):
            raise TypeError(
                f"a table ({type(value).__name__}) was given by position; pass it as `args=` to "
                "map over its rows"
            )


def _shared(more_args: Mapping[str, Any] | None) -> dict[str, Any]:
    if more_args is None:
        return {}
    if not isinstance(more_args, Mapping) or not all(isinstance(name, str) for name in more_args):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DefinitionError(f"`more_args` is {more_args!r:.200}: give a mapping by name")
    return dict(more_args)


def define(
    reg: Registry,
    fun: Callable[..., Any],
    calling: signature.Calling,
    columns: Mapping[str, Any],
    count: int,
    shared: Mapping[str, Any],
) -> JobIds:
    """Add the jobs; nothing is stored before all that can be refused is known."""
    table = parameters.as_arrow(reg.store, {name: columns[name] for name in calling.names}, count)
    call = {
        "kind": "map",
        "fun": serialization.put_function(reg.store, fun),
        "more_args": serialization.put_value(reg.store, "`more_args`", dict(shared))
        if shared
        else None,
        "names": list(calling.names),
        "positional": calling.positional,
        "pickled": [parameters.is_pickled(table.schema.field(name)) for name in calling.names],
        "job": calling.job,
    }
    first, last = reg.store.core.define(table, json.dumps(call))
    return JobIds(range(first, last + 1))


def batch_reduce(
    reg: Registry,
    fun: Callable[[Any, Any], Any],
    xs: Any,
    /,
    *,
    init: Any = _MISSING,
    chunks: Any = None,
    more_args: Mapping[str, Any] | None = None,
) -> JobIds:
    """Define jobs that each fold a group of values: `fun(fun(init, x1), x2)` and so on.

    Parameters
    ----------
    xs
        The values.
    init
        What each group starts with; without it, the group's first value.
    chunks
        The number of each value's group; by default each value is a group.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.batch_reduce(lambda total, x: total + x, [1, 2, 3, 4], chunks=[1, 1, 2, 2])
    JobIds(2 jobs: 1–2)
    """
    _require_definable(reg, append=False)
    shared = _shared(more_args)
    found = signature.bind(fun, 2, [], shared)
    values = _plain_values(xs)
    groups = _grouped(values, chunks)
    if not groups:
        return JobIds()
    calling = signature.Calling(names=("xs",), positional=1, job=found.job)
    if init is not _MISSING:
        # As a shared argument each job gets a copy of its own.
        shared[_INIT] = init
    return define(reg, _folding(fun), calling, {"xs": groups}, len(groups), shared)


def _folding(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that folds a group; nested, so that it travels by value."""
    key = _INIT

    def fold(xs: list[Any], /, **shared: Any) -> Any:
        values = iter(xs)
        aggregate = shared.pop(key) if key in shared else next(values)
        for x in values:
            aggregate = fun(aggregate, x, **shared)
        return aggregate

    return fold


def _plain_values(xs: Any) -> list[Any]:
    if parameters.is_table(xs) or parameters.is_scalar(xs):
        raise DefinitionError(f"`xs` is {xs!r:.200}: give a list or array of values")
    return parameters.as_values(xs)


def _grouped(values: list[Any], chunks: Any) -> list[list[Any]]:
    if chunks is None:
        return [[value] for value in values]
    numbers = parameters.as_values(chunks)
    if len(numbers) != len(values):
        raise DefinitionError(
            f"`chunks` has {len(numbers)} numbers, but there are {len(values)} values"
        )
    groups: dict[int, list[Any]] = {}
    for number, value in zip(numbers, values, strict=True):
        if isinstance(number, bool) or not isinstance(number, int):
            raise DefinitionError(f"`chunks` holds {number!r}: give whole numbers")
        groups.setdefault(number, []).append(value)
    return [groups[number] for number in sorted(groups)]


def batch_map_results(
    reg: Registry,
    fun: Callable[..., Any],
    /,
    ids: IdsLike = None,
    *,
    source: Registry,
    more_args: Mapping[str, Any] | None = None,
    **columns: Any,
) -> JobIds:
    """Define jobs that each work on a result of another registry.

    The result is the first argument of the function. Results are copied, so that the registry
    stays complete when it is moved.

    Parameters
    ----------
    ids
        Jobs of `source`, in the order in which they pair with `columns`; by default all done ones.
    source
        The registry that holds the results.

    Raises
    ------
    JobNotDoneError
        If one of the jobs has no result.

    Examples
    --------
    >>> import batchwright as bw
    >>> source = bw.make_registry(None, make_default=False)
    >>> source.cluster_functions = bw.Interactive()
    >>> ids = source.batch_map(abs, [-1, -2])
    >>> table = source.submit_jobs()
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.batch_map_results(lambda x, y: x + y, source=source, y=[10, 20])
    JobIds(2 jobs: 1–2)
    """
    _require_definable(reg, append=False)
    if not hasattr(source, "store"):
        raise TypeError(f"`source` is {source!r:.100}: give a registry, as `load_registry` does")
    values = [value for _, value in results.iter_results(source, ids)]
    shared = _shared(more_args)
    calling = signature.bind(fun, 1, list(columns), shared)
    if not values:
        return JobIds()
    first = next(name for name in calling.names if name not in columns)
    found, count = parameters.aligned({first: values, **columns})
    return define(reg, fun, calling, found, count, shared)


def batch_export(
    reg: Registry, export: Mapping[str, Any] | None = None, *, unexport: Any = ()
) -> pa.Table:
    """Make objects global variables of the job functions.

    Parameters
    ----------
    export
        Objects by name; names that are known already get the new object.
    unexport
        Names to take away; unknown ones are ignored.

    Returns
    -------
    pyarrow.Table
        `name` and `uri`, the path of the object within the registry, of all exports.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.batch_export({"limit": 3})["name"].to_pylist()
    ['limit']
    """
    import pyarrow as pa

    names = [unexport] if isinstance(unexport, str) else list(unexport)
    put = _checked_exports(export)
    if put or names:
        reg.store.require_writeable()
        hashes = {
            name: serialization.put_value(reg.store, f"export `{name}`", value)
            for name, value in put.items()
        }
        reg.store.core.export(hashes, names)
    found = sorted(reg.store.core.exports().items())
    return pa.table(
        {
            "name": pa.array([name for name, _ in found], pa.string()),
            "uri": pa.array([f"objects/{h[:2]}/{h}.pkl" for _, h in found], pa.string()),
        }
    )


def _checked_exports(export: Mapping[str, Any] | None) -> dict[str, Any]:
    if export is None:
        return {}
    if not isinstance(export, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DefinitionError(f"`export` is {export!r:.200}: give a mapping of name to object")
    for name in export:
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"`export` holds the name {name!r}: give texts")
    return dict(export)


def grid(**columns: Any) -> pa.Table:
    """Give all combinations of values; the last column changes fastest.

    Parameters
    ----------
    **columns
        Values in the order wanted; a single value stands for itself.

    Examples
    --------
    >>> import batchwright as bw
    >>> bw.grid(x=[1, 2], y=["a", "b"]).to_pylist()[1]
    {'x': 1, 'y': 'b'}
    """
    import numpy as np
    import pyarrow as pa

    parameters.refuse_tables(columns)
    values = {
        name: [column] if parameters.is_scalar(column) else parameters.as_values(column)
        for name, column in columns.items()
    }
    lengths = [len(column) for column in values.values()]
    total = int(np.prod(lengths, dtype=np.int64)) if lengths else 0
    arrays: dict[str, Any] = {}
    inner = total
    for name, column in values.items():
        inner = inner // len(column) if column else 0
        array = _grid_column(name, column)
        codes = np.arange(total) // max(inner, 1) % max(len(column), 1)
        arrays[name] = array.take(pa.array(codes))
    return pa.table(arrays)


def _grid_column(name: str, values: list[Any]) -> Any:
    import pyarrow as pa

    array = parameters.typed(values)
    if not isinstance(array, list):
        return array
    try:
        return pa.array(array)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DefinitionError(
            f"the values of `{name}` fit into no column: {error}; give its rows by a list of dicts"
        ) from error
