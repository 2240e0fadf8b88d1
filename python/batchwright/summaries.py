"""Experiments counted by what they are made of; worked out on the rows of designs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from batchwright.columns import as_text
from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.problems import require_experiments
from batchwright.segments import GROUP_PREFIXES, Parameter, design_of
from batchwright.tables import parameter_column

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright import _core
    from batchwright.registry import Registry
    from batchwright.store import Store

_OF_BLOCK: Final = ("problem", "algorithm")


def summarize_experiments(
    reg: Registry, ids: IdsLike = None, *, by: str | Iterable[str] = ("problem", "algorithm")
) -> pa.Table:
    """Count experiments by problem, algorithm, parameters or replication.

    Parameters
    ----------
    ids
        Which ones; all by default.
    by
        `problem`, `algorithm`, `repl` and names of parameters. A parameter of problems and of
        algorithms is told apart as `prob_pars.x` and `algo_pars.x`.

    Returns
    -------
    pyarrow.Table
        The columns of `by`, null where a job has no such parameter, and `count`. Groups come in
        the order of their first jobs.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_problem("numbers", data=[1, 2, 3])
    >>> reg.add_algorithm("power", lambda instance, k: sum(x**k for x in instance))
    >>> ids = reg.add_experiments(algo_designs={"power": {"k": [1, 2]}}, repls=5)
    >>> reg.summarize_experiments(by=["problem", "k"]).to_pylist()[0]
    {'problem': 'numbers', 'k': 1, 'count': 5}
    """
    require_experiments(reg)
    reg.store.update()
    chosen = None if ids is None else selected(reg.store, ids, lambda: all_jobs(reg.store))
    names = list(dict.fromkeys([by] if isinstance(by, str) else by))
    blocks = reg.store.core.blocks()
    places = _places(reg.store, blocks, names)
    found = [
        _counted(reg.store, place, block, places, chosen, by_repl="repl" in names)
        for place, block in enumerate(blocks)
    ]
    return _merged([piece for piece in found if piece.groups.num_rows], names, places)


def _places(
    store: Store, blocks: Sequence[_core.Block], names: Iterable[str]
) -> dict[str, tuple[str, str]]:
    """Give for each parameter that is counted by whose it is, and its name there."""
    held: dict[str, dict[str, None]] = {group: {} for group in GROUP_PREFIXES}
    for place, block in enumerate(blocks):
        for group, known in held.items():
            known.update(dict.fromkeys(design_of(store, place, block, group)))
    wanted = [name for name in names if name not in (*_OF_BLOCK, "repl")]
    return {name: _place(name, held) for name in wanted if blocks}


def _place(name: str, held: Mapping[str, Mapping[str, None]]) -> tuple[str, str]:
    plain = [(group, name) for group, known in held.items() if name in known]
    if len(plain) == 1:
        return plain[0]
    if plain:
        raise DefinitionError(
            f"problems and algorithms both have a parameter {name!r}: name 'prob_pars.{name}' or "
            f"'algo_pars.{name}'"
        )
    for group, prefix in GROUP_PREFIXES.items():
        bare = name.removeprefix(prefix)
        if bare != name and bare in held[group]:
            return group, bare
    known = dict.fromkeys(one for names in held.values() for one in names)
    there = ", ".join(["problem", "algorithm", "repl", *known])
    raise DefinitionError(f"`by` names {name!r}, which no experiment has: there are {there}")


@dataclass(frozen=True, slots=True)
class _Counted:
    """The groups of one block."""

    block: _core.Block
    groups: pa.Table
    """`repl`, `count` and `first`, the first job, of each group."""
    parameters: Mapping[str, Parameter]
    """Of each group; without those that the block's jobs lack."""


def _counted(
    store: Store,
    place: int,
    block: _core.Block,
    places: Mapping[str, tuple[str, str]],
    chosen: JobIds | None,
    *,
    by_repl: bool,
) -> _Counted:
    import pyarrow as pa

    codes: list[NDArray[np.uint32]] = []
    found: list[tuple[str, dict[str, Parameter]]] = []
    for group, length in (("prob_pars", block.problem_rows), ("algo_pars", block.algorithm_rows)):
        design = design_of(store, place, block, group)
        wanted = {name: bare for name, (of, bare) in places.items() if of == group}
        pars = {name: design[bare] for name, bare in wanted.items() if bare in design}
        code, firsts = _codes(pars.values(), length)
        codes.append(code)
        found.append(
            (_OF_BLOCK[len(found)], {name: par.take(firsts) for name, par in pars.items()})
        )
    ids = None if chosen is None else chosen.core
    groups = pa.table(store.core.group_experiments(place, codes[0], codes[1], by_repl, ids))
    parameters = {
        name: parameter.take(groups[column].combine_chunks())
        for column, pars in found
        for name, parameter in pars.items()
    }
    return _Counted(block, groups, parameters)


def _codes(parameters: Iterable[Parameter], length: int) -> tuple[NDArray[np.uint32], pa.Array]:
    """Give each row the number of its combination of values, and each number a row."""
    import numpy as np
    import pyarrow as pa

    codes = np.zeros(length, dtype=np.int64)
    firsts = np.zeros(1, dtype=np.int64)
    for parameter in parameters:
        encoded = _keyed(parameter.shown).dictionary_encode().indices
        own = np.asarray(encoded.fill_null(-1)).astype(np.int64) + 1
        both = codes * (int(own.max(initial=0)) + 1) + own
        _, firsts, codes = np.unique(both, return_index=True, return_inverse=True)
        codes = codes.reshape(-1)
    return codes.astype(np.uint32), pa.array(firsts)


def _keyed(array: pa.Array) -> pa.Array:
    """Give lists, which are no keys, as text."""
    import pyarrow as pa

    return as_text(array) if pa.types.is_nested(array.type) else array


def _merged(
    found: Sequence[_Counted], names: Sequence[str], places: Mapping[str, tuple[str, str]]
) -> pa.Table:
    """Put the groups of all blocks together, those that are equal as one."""
    import pyarrow as pa

    lengths = [piece.groups.num_rows for piece in found]
    # Columns by number: a parameter may be called `count`.
    columns = [_column(name, found, lengths, places) for name in names]
    keys = [str(place) for place in range(len(names))]
    counts = pa.chunked_array(_pieces(found, "count"), pa.int64())
    firsts = pa.chunked_array(_pieces(found, "first"), pa.int64())
    table = pa.table([*columns, counts, firsts], names=[*keys, "count", "first"])
    if not names:
        return pa.table({"count": [sum(counts.to_pylist())]})
    merged = table.group_by(keys).aggregate([("count", "sum"), ("first", "min")])
    merged = merged.sort_by("first_min")
    return pa.table([merged[key] for key in [*keys, "count_sum"]], names=[*names, "count"])


def _pieces(found: Iterable[_Counted], column: str) -> list[pa.Array]:
    return [chunk for piece in found for chunk in piece.groups[column].chunks]


def _column(
    name: str,
    found: Sequence[_Counted],
    lengths: Sequence[int],
    places: Mapping[str, tuple[str, str]],
) -> Any:
    import pyarrow as pa

    if name == "repl":
        return pa.chunked_array(_pieces(found, "repl"), pa.int64())
    if name in _OF_BLOCK:
        texts: Iterator[str] = (getattr(piece.block, name) for piece in found)
        repeated = [pa.repeat(pa.scalar(t), n) for t, n in zip(texts, lengths, strict=True)]
        return pa.chunked_array(repeated, pa.string())
    if name not in places:
        return pa.chunked_array([], pa.null())
    column = parameter_column([piece.parameters.get(name) for piece in found], lengths)
    return pa.chunked_array([_keyed(c) for c in column.chunks], None) if column.chunks else column
