"""Parameters as the definition calls laid them out: one Arrow table, a segment, for each call.

Nothing is unpickled here unless a caller asks for values: beside a pickled column lies one that
holds their `repr`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright.columns import plain
from batchwright.ids import JobIds
from batchwright.trust import ensure_trusted

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright import _core
    from batchwright.store import Store

TEXT_SUFFIX: Final = "\x1ftext"
"""Ends the name of the column that shows a pickled one. Not NUL, at which Arrow's C interface cuts
names off."""
KEY_SUFFIX: Final = "\x1fkey"
"""Ends the name of the column that identifies the values of a pickled one."""
GIVEN_SUFFIX: Final = "\x1fgiven"
"""Ends the name of the column that tells which rows have the parameter, where some lack it."""
EXPERIMENT_COLUMNS: Final = ("problem", "algorithm", "repl")
"""Come with each segment of experiments; all jobs of one have the same parameters."""
GROUP_PREFIXES: Final = {"prob_pars": "prob_pars.", "algo_pars": "algo_pars."}
"""How columns of experiments say whose parameter they are: `prob_pars.x` is the problem's `x`."""
_NO_TEXT: Final = "<pickled>"


def is_pickled(field: pa.Field) -> bool:
    """Whether the values of a column are pickles."""
    return bool(field.metadata) and b"pickled" in field.metadata


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the jobs of a segment."""

    shown: pa.Array
    """The values; for pickled ones the text of each, or floats where ints and floats mix."""
    pickles: pa.Array | None
    """How the core holds them, if they are pickled."""
    given: pa.Array | None = None
    """Which jobs have it at all, where some lack it."""

    def take(self, rows: pa.Array) -> Parameter:
        """Give the parameter of these rows."""
        return Parameter(
            self.shown.take(rows),
            None if self.pickles is None else self.pickles.take(rows),
            None if self.given is None else self.given.take(rows),
        )

    @property
    def is_text(self) -> bool:
        """Whether `shown` holds texts in place of the values, not values equal to them."""
        import pyarrow as pa

        return self.pickles is not None and pa.types.is_string(self.shown.type)


@dataclass(frozen=True, slots=True)
class Segment:
    """Some jobs of one definition call, with their parameters."""

    job_ids: pa.Array
    columns: dict[str, pa.Array]
    """Of an experiment: `problem`, `algorithm`, `repl`."""
    groups: dict[str, dict[str, Parameter]]
    """`job_pars`, or `prob_pars` and `algo_pars`: parameters by name."""


def segments(store: Store, ids: JobIds) -> Iterator[Segment]:
    """Read the segments that have any of these jobs, in ascending order of their ids."""
    for place, (first, last) in enumerate(store.core.segments()):
        of_call = JobIds(range(first, last + 1))
        if of_call <= ids:
            # The columns as they are; choosing rows copies them.
            yield _segment(store, place, None)
        elif not ids.isdisjoint(of_call):
            yield _segment(store, place, ids)


def empty_segments(store: Store) -> Iterator[Segment]:
    """Read all segments without their jobs."""
    for place in range(len(store.core.segments())):
        yield _segment(store, place, JobIds())


@dataclass(frozen=True, slots=True)
class Rows:
    """What conditions are worked out on: jobs of a call, or the rows of designs."""

    length: int
    groups: dict[str, dict[str, Parameter]]
    select: Callable[[NDArray[np.bool_]], JobIds]
    """Gives the jobs of the rows that fit."""
    key: object = None
    """Equal for equal rows, so that a condition is worked out on them once."""


def layouts(store: Store) -> Iterator[dict[str, dict[str, Parameter]]]:
    """Give the parameters by group, for each way in which they were laid out."""
    if not is_experiments(store):
        for segment in empty_segments(store):
            yield segment.groups
        return
    seen: set[object] = set()
    for place, block in enumerate(store.core.blocks()):
        for group, design in _designs_of(block).items():
            if (group, design) not in seen:
                seen.add((group, design))
                yield _only(group, design_of(store, place, block, group))


def rows(
    store: Store, ids: JobIds, groups: Sequence[str], names: Collection[str] | None
) -> Iterator[Rows]:
    """Give the rows that tell of these jobs whether they have certain parameters.

    Parameters
    ----------
    groups
        Where the parameters are looked for.
    names
        The parameters; None if they are not known.
    """
    if not is_experiments(store):
        for segment in segments(store, ids):
            yield Rows(len(segment.job_ids), segment.groups, partial(_of_mask, segment.job_ids))
        return
    for place, block in enumerate(store.core.blocks()):
        if ids.isdisjoint(JobIds(range(block.first, block.last + 1))):
            continue
        of_designs = {group: design_of(store, place, block, group) for group in groups}
        needed = [
            group
            for group in groups
            if names is None or not of_designs[group].keys().isdisjoint(names)
        ]
        if len(needed) > 1:
            yield _pairs(store, place, block, of_designs, ids)
        else:
            of_one = design_rows(store, place, block, (needed or groups)[0])
            yield replace(of_one, select=partial(_among, ids, of_one.select))


def _only(group: str, design: dict[str, Parameter]) -> dict[str, dict[str, Parameter]]:
    """Give the groups where one of them alone is asked for."""
    return {name: design if name == group else {} for name in GROUP_PREFIXES}


def _among(
    ids: JobIds, select: Callable[[NDArray[np.bool_]], JobIds], mask: NDArray[np.bool_]
) -> JobIds:
    return select(mask) & ids


def _of_mask(job_ids: pa.Array, mask: NDArray[np.bool_]) -> JobIds:
    import numpy as np

    return JobIds(np.asarray(job_ids)[mask])


def design_rows(store: Store, place: int, block: _core.Block, group: str) -> Rows:
    """Give the rows of one design of a block, whose jobs are all that take a row."""

    def select(mask: NDArray[np.bool_]) -> JobIds:
        masks = (mask, None) if group == "prob_pars" else (None, mask)
        return JobIds(store.core.select_experiments(place, *masks, None, None, None))

    return Rows(
        block.problem_rows if group == "prob_pars" else block.algorithm_rows,
        _only(group, design_of(store, place, block, group)),
        select,
        (group, _designs_of(block)[group]),
    )


def _pairs(
    store: Store,
    place: int,
    block: _core.Block,
    of_designs: dict[str, dict[str, Parameter]],
    ids: JobIds,
) -> Rows:
    """Give the pairs of rows of both designs, without their replications."""
    import numpy as np
    import pyarrow as pa

    problems, algorithms = block.problem_rows, block.algorithm_rows
    if block.is_bound:
        pairs = np.arange(max(problems, algorithms))
        taken = {"prob_pars": pairs % problems, "algo_pars": pairs % algorithms}
    else:
        pairs = np.arange(problems * algorithms)
        taken = {"prob_pars": pairs // algorithms, "algo_pars": pairs % algorithms}

    def select(mask: NDArray[np.bool_]) -> JobIds:
        return JobIds(store.core.select_experiments(place, None, None, mask, None, ids.core))

    groups = {
        group: {name: found.take(pa.array(taken[group])) for name, found in pars.items()}
        for group, pars in of_designs.items()
    }
    return Rows(len(pairs), groups, select)


def _designs_of(block: _core.Block) -> dict[str, object]:
    """Name the designs of a block by what they hold the parameters of."""
    return {"prob_pars": block.problem_design, "algo_pars": block.algorithm_design}


def design_of(store: Store, place: int, block: _core.Block, group: str) -> dict[str, Parameter]:
    """Give the rows of a design that a block of experiments takes."""
    import pyarrow as pa

    key = f"design {_designs_of(block)[group]}"
    if key not in store.definitions:
        problem, algorithm = store.core.designs(place)
        table = pa.table(problem if group == "prob_pars" else algorithm)
        store.definitions[key] = _parameters(table, {name: name for name in _named(table)})
    return cast("dict[str, Parameter]", store.definitions[key])


def is_experiments(store: Store) -> bool:
    """Whether jobs are experiments."""
    return store.core.kind != "plain"


def group_names(store: Store) -> tuple[str, ...]:
    """Give the names of the structs that hold parameters."""
    return tuple(GROUP_PREFIXES) if is_experiments(store) else ("job_pars",)


def values(store: Store, parameter: Parameter) -> list[Any]:
    """Give the values of a parameter as a job gets them; pickled ones are loaded for it."""
    if parameter.pickles is None:
        return parameter.shown.to_pylist()
    ensure_trusted(store)
    encoded = parameter.pickles.dictionary_encode()
    distinct = [_loaded(store, entry) for entry in encoded.dictionary.to_pylist()]
    return [None if code is None else distinct[code] for code in encoded.indices.to_pylist()]


def _loaded(store: Store, entry: bytes) -> Any:
    kind, data = entry[:1], entry[1:]
    # Large pickles lie apart, named by their hash.
    return pickle.loads(store.core.get_object(data.decode()) if kind == b"R" else data)


def _segment(store: Store, place: int, ids: JobIds | None) -> Segment:
    """Read the jobs of a segment that are among these; all by None."""
    import pyarrow as pa

    table = pa.table(store.core.parameters(place, None if ids is None else ids.core))
    job_ids = plain(table["job_id"])
    if is_experiments(store):
        columns, groups = _experiments(table)
        return Segment(job_ids, columns, groups)
    names = {name: name for name in _named(table)[1:]}
    return Segment(job_ids, {}, {"job_pars": _parameters(table, names)})


def _experiments(
    table: pa.Table,
) -> tuple[dict[str, pa.Array], dict[str, dict[str, Parameter]]]:
    """Part the columns of experiments by the rule of `GROUP_PREFIXES`."""
    columns = {name: plain(table[name]) for name in EXPERIMENT_COLUMNS}
    named = _named(table)
    groups = {
        group: _parameters(
            table,
            {name.removeprefix(prefix): name for name in named if name.startswith(prefix)},
        )
        for group, prefix in GROUP_PREFIXES.items()
    }
    return columns, groups


def _named(table: pa.Table) -> list[str]:
    """Name the columns that are not there for another one."""
    beside = (TEXT_SUFFIX, KEY_SUFFIX, GIVEN_SUFFIX)
    return [name for name in table.column_names if not name.endswith(beside)]


def _parameters(table: pa.Table, names: dict[str, str]) -> dict[str, Parameter]:
    """Read parameters, given the column of each."""
    return {name: _parameter(table, column) for name, column in names.items()}


def _parameter(table: pa.Table, column: str) -> Parameter:
    import pyarrow as pa
    import pyarrow.compute as pc

    given = column + GIVEN_SUFFIX
    has_it = plain(table[given]) if given in table.column_names else None
    if not is_pickled(table.schema.field(column)):
        return Parameter(plain(table[column]), None, has_it)
    pickles = table[column].combine_chunks()
    text = column + TEXT_SUFFIX
    if text in table.column_names:
        shown = plain(table[text])
    else:
        shown = pa.array([_NO_TEXT] * len(pickles), pa.large_string())
    if has_it is not None:
        shown = pc.if_else(has_it, shown, pa.scalar(None, shown.type))
    return Parameter(shown, pickles, has_it)
