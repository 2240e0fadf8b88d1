"""Parameters as the definition calls laid them out: one Arrow table, a segment, for each call.

Nothing is unpickled here unless a caller asks for values: beside a pickled column lies one that
holds their `repr`.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from batchwright.columns import plain
from batchwright.ids import JobIds
from batchwright.trust import ensure_trusted

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.store import Store

TEXT_SUFFIX: Final = "\x1ftext"
"""Ends the name of the column that shows a pickled one. Not NUL, at which Arrow's C interface cuts
names off."""
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
    for place, (first, last, _) in enumerate(store.core.segments()):
        if not ids.isdisjoint(JobIds(range(first, last + 1))):
            yield _segment(store, place, ids)


def layouts(store: Store) -> Iterator[Segment]:
    """Give all segments without their jobs: which parameters there are, of which types."""
    for place in range(len(store.core.segments())):
        yield _segment(store, place, JobIds())


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
    ensure_trusted(store.core.path, store.core.access)
    encoded = parameter.pickles.dictionary_encode()
    distinct = [_loaded(store, entry) for entry in encoded.dictionary.to_pylist()]
    return [None if code is None else distinct[code] for code in encoded.indices.to_pylist()]


def _loaded(store: Store, entry: bytes) -> Any:
    kind, data = entry[:1], entry[1:]
    # Large pickles lie apart, named by their hash.
    return pickle.loads(store.core.get_object(data.decode()) if kind == b"R" else data)


def _segment(store: Store, place: int, ids: JobIds) -> Segment:
    import pyarrow as pa

    table = pa.table(store.core.parameters(place, ids.core))
    job_ids = plain(table["job_id"])
    if is_experiments(store):
        columns, groups = _experiments(table)
        return Segment(job_ids, columns, groups)
    names = {name: name for name in table.column_names[1:] if not name.endswith(TEXT_SUFFIX)}
    return Segment(job_ids, {}, {"job_pars": _parameters(table, names)})


def _experiments(
    table: pa.Table,
) -> tuple[dict[str, pa.Array], dict[str, dict[str, Parameter]]]:
    """Part the columns of experiments by the rule of `GROUP_PREFIXES`."""
    columns = {name: plain(table[name]) for name in EXPERIMENT_COLUMNS}
    named = [name for name in table.column_names if not name.endswith(TEXT_SUFFIX)]
    groups = {
        group: _parameters(
            table,
            {name.removeprefix(prefix): name for name in named if name.startswith(prefix)},
        )
        for group, prefix in GROUP_PREFIXES.items()
    }
    return columns, groups


def _parameters(table: pa.Table, names: dict[str, str]) -> dict[str, Parameter]:
    """Read parameters, given the column of each."""
    return {name: _parameter(table, column) for name, column in names.items()}


def _parameter(table: pa.Table, column: str) -> Parameter:
    import pyarrow as pa

    if not is_pickled(table.schema.field(column)):
        return Parameter(plain(table[column]), None)
    pickles = table[column].combine_chunks()
    text = column + TEXT_SUFFIX
    if text in table.column_names:
        return Parameter(plain(table[text]), pickles)
    return Parameter(pa.array([_NO_TEXT] * len(pickles), pa.large_string()), pickles)
