"""Map, submit, wait and collect in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from batchwright import opening, temporary
from batchwright.errors import JobNotDoneError

if TYPE_CHECKING:
    from batchwright.registry import Registry


def btlapply(
    x: Any,
    fun: Callable[..., Any],
    *,
    resources: Mapping[str, Any] | None = None,
    n_chunks: int | None = None,
    chunk_size: int | None = None,
    reg: Registry | None = None,
    **more_args: Any,
) -> list[Any]:
    """Apply a function to each value by jobs, and give the results in order.

    Parameters
    ----------
    x
        The values.
    fun
        Gets a value as its first argument.
    resources, n_chunks, chunk_size
        As for `submit_jobs`.
    reg
        An empty registry to use; by default a temporary one, which does not become the default.
    **more_args
        Arguments that all calls share.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> bw.btlapply([1, 2, 3], pow, reg=reg, exp=2)
    [1, 4, 9]
    """
    return _apply(fun, (x,), {}, more_args, resources, n_chunks, chunk_size, reg)


def btmapply(
    fun: Callable[..., Any],
    *iterables: Any,
    more_args: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    n_chunks: int | None = None,
    chunk_size: int | None = None,
    reg: Registry | None = None,
    **columns: Any,
) -> list[Any]:
    """Call a function on the elements of several columns by jobs, and give the results in order.

    Parameters
    ----------
    *iterables, **columns
        As for `batch_map`.
    more_args
        Arguments that all calls share.
    resources, n_chunks, chunk_size, reg
        As for `btlapply`.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> bw.btmapply(pow, [2, 3], [3, 2], reg=reg)
    [8, 9]
    """
    return _apply(fun, iterables, columns, more_args, resources, n_chunks, chunk_size, reg)


def _apply(
    fun: Callable[..., Any],
    iterables: tuple[Any, ...],
    columns: Mapping[str, Any],
    more_args: Mapping[str, Any] | None,
    resources: Mapping[str, Any] | None,
    n_chunks: int | None,
    chunk_size: int | None,
    reg: Registry | None,
) -> list[Any]:
    def apply_in(used: Registry) -> list[Any]:
        ids = used.batch_map(fun, *iterables, args=dict(columns), more_args=more_args or None)
        if not ids:
            return []
        used.submit_jobs(ids, resources=resources, n_chunks=n_chunks, chunk_size=chunk_size)
        used.wait_for_jobs(ids)
        return used.reduce_results_list(ids)

    if reg is None:
        own = opening.make_registry(None, make_default=False)
        try:
            return apply_in(own)
        finally:
            temporary.remove(own)
    try:
        return apply_in(reg)
    except JobNotDoneError as error:
        error.add_note(f"the results that are there can be had from `{reg.file_dir}`")
        raise
