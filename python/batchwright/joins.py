"""Joins of tables, by default on `job_id`.

Arrow joins neither structs nor lists, which tables of jobs are full of. So only row numbers are
joined, and the columns follow by `take`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from batchwright.columns import common_type, is_lazy, plain, table_of
from batchwright.errors import DefinitionError
from batchwright.ids import JobIds

if TYPE_CHECKING:
    import pyarrow as pa

By: TypeAlias = str | Sequence[str] | Mapping[str, str] | None
"""Columns to join on; a mapping names them in x and in y."""
_Kind: TypeAlias = Literal["inner", "left outer", "right outer", "full outer"]

_X: Final = "\x00x"
_Y: Final = "\x00y"


def ijoin(x: Any, y: Any, by: By = None) -> pa.Table:
    """Join rows of x and y that match: an inner join.

    Parameters
    ----------
    x, y
        Tables of any library, or job ids.
    by
        The columns to join on, with a mapping those of x and of y. By default `job_id`, if both
        have it, else all that both have.

    Returns
    -------
    pyarrow.Table
        The columns of x, then those of y, sorted by what was joined on. Of other columns that both
        have, y's is called `<name>_y`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"job_id": [1, 2, 3], "n": [10, 20, 30]})
    >>> ijoin([3, 1], table).to_pylist()
    [{'job_id': 1, 'n': 10}, {'job_id': 3, 'n': 30}]
    """
    return _joined(x, y, by, "inner")


def ljoin(x: Any, y: Any, by: By = None) -> pa.Table:
    """Keep all rows of x, with nulls where y has none: a left join. See `ijoin`."""
    return _joined(x, y, by, "left outer")


def rjoin(x: Any, y: Any, by: By = None) -> pa.Table:
    """Keep all rows of y, with nulls where x has none: a right join. See `ijoin`."""
    return _joined(x, y, by, "right outer")


def ojoin(x: Any, y: Any, by: By = None) -> pa.Table:
    """Keep all rows of both, with nulls where one has none: an outer join. See `ijoin`."""
    return _joined(x, y, by, "full outer")


def sjoin(x: Any, y: Any, by: By = None) -> pa.Table:
    """Keep the rows of x that match one of y, each once: a semi join. See `ijoin`."""
    return _filtered(x, y, by, "left semi")


def ajoin(x: Any, y: Any, by: By = None) -> pa.Table:
    """Keep the rows of x that match none of y: an anti join. See `ijoin`.

    Examples
    --------
    >>> ajoin([1, 2, 3], [2]).to_pylist()
    [{'job_id': 1}, {'job_id': 3}]
    """
    return _filtered(x, y, by, "left anti")


def ujoin(x: Any, y: Any, by: By = None) -> pa.Table:
    """Replace values of x by those of y where rows match: an update join.

    Only columns that both have are replaced; x keeps its rows and columns. If several rows of y
    match, the last one counts. See `ijoin` for the parameters.

    Examples
    --------
    >>> import pyarrow as pa
    >>> x = pa.table({"job_id": [1, 2], "n": [10, 20]})
    >>> ujoin(x, pa.table({"job_id": [2], "n": [0]})).to_pylist()
    [{'job_id': 1, 'n': 10}, {'job_id': 2, 'n': 0}]
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    pair = _Pair.of(x, y, by)
    rows = pair.rows("inner")
    source = np.full(pair.x.num_rows, -1, dtype=np.int64)
    at, new = rows[_X].to_numpy(), rows[_Y].to_numpy()
    order = np.argsort(new, kind="stable")
    # The later of equal places wins an assignment.
    source[at[order]] = new[order]
    matched = pa.array(source >= 0)
    places = pa.array(source, mask=source < 0)
    table = pair.x
    for name in pair.x.column_names:
        if name in pair.by_x or name not in pair.y.column_names:
            continue
        value, old = _alike(name, pair.y[name], pair.x[name])
        chosen = (
            _choose(matched, value.take(places), old)
            if _is_nested(old.type)
            else (pc.if_else(matched, value.take(places), old))
        )
        table = table.set_column(table.column_names.index(name), name, chosen)
    return _sorted(table, pair.by_x)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two tables and the columns that they are joined on."""

    x: pa.Table
    y: pa.Table
    by_x: list[str]
    by_y: list[str]

    @staticmethod
    def of(x: object, y: object, by: By) -> _Pair:
        left, right = _table(x), _table(y)
        by_x, by_y = _keys(left, right, by)
        return _Pair(left, right, by_x, by_y)

    def rows(self, kind: str) -> pa.Table:
        """Join the numbers of the rows: columns `_X` and `_Y`, null where there is no row."""
        left, right = self._numbered()
        return left.join(right, [*map(str, range(len(self.by_x)))], join_type=kind)

    def _numbered(self) -> tuple[pa.Table, pa.Table]:
        import numpy as np
        import pyarrow as pa

        keys_x: dict[str, Any] = {}
        keys_y: dict[str, Any] = {}
        for at, (name_x, name_y) in enumerate(zip(self.by_x, self.by_y, strict=True)):
            keys_x[str(at)], keys_y[str(at)] = _alike(
                name_x, self.x[name_x], self.y[name_y], keys=True
            )
        rows_x = pa.array(np.arange(self.x.num_rows))
        rows_y = pa.array(np.arange(self.y.num_rows))
        return pa.table({**keys_x, _X: rows_x}), pa.table({**keys_y, _Y: rows_y})


def _joined(x: object, y: object, by: By, kind: _Kind) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    pair = _Pair.of(x, y, by)
    # Within equal keys, the order of the tables; a join of Arrow's leaves none.
    rows = pair.rows(kind).sort_by([(_X, "ascending"), (_Y, "ascending")])
    at_x, at_y = rows[_X].combine_chunks(), rows[_Y].combine_chunks()
    columns: dict[str, Any] = {}
    for name in pair.x.column_names:
        columns[name] = pair.x[name].take(at_x)
    for name_x, name_y in zip(pair.by_x, pair.by_y, strict=True):
        one, other = _alike(name_x, pair.x[name_x], pair.y[name_y], keys=True)
        columns[name_x] = pc.coalesce(one.take(at_x), other.take(at_y))
    for name in pair.y.column_names:
        if name in pair.by_y:
            continue
        called = f"{name}_y" if name in columns else name
        if called in columns:
            raise DefinitionError(f"both tables have a column {name!r}, and {called!r} is taken")
        columns[called] = pair.y[name].take(at_y)
    return _sorted(pa.table(columns), pair.by_x)


def _filtered(x: object, y: object, by: By, kind: str) -> pa.Table:
    pair = _Pair.of(x, y, by)
    rows = pair.rows(kind).sort_by(_X)
    return _sorted(pair.x.take(rows[_X].combine_chunks()), pair.by_x)


def _table(value: Any) -> pa.Table:
    """Give a table as pyarrow has it; everything else is job ids."""
    import pyarrow as pa

    if isinstance(value, pa.Table | Mapping):
        return table_of(cast("object", value))
    if is_lazy(value):
        return table_of(value)
    if "job_id" in getattr(getattr(value, "index", None), "names", ()):
        value = value.reset_index()
    is_frame = hasattr(value, "columns") or hasattr(value, "column_names")
    if hasattr(value, "__arrow_c_stream__") and (is_frame or not hasattr(value, "__array__")):
        return table_of(value)
    return pa.table(value if isinstance(value, JobIds) else JobIds(_several(value)))


def _several(value: Any) -> Iterable[int]:
    return cast("Iterable[int]", value) if isinstance(value, Iterable) else [value]


def _keys(x: pa.Table, y: pa.Table, by: By) -> tuple[list[str], list[str]]:
    if by is None:
        both = [name for name in x.column_names if name in y.column_names]
        keys = ["job_id"] if "job_id" in both else both
        if not keys:
            raise DefinitionError(
                f"the tables have no column in common: {', '.join(x.column_names)} and "
                f"{', '.join(y.column_names)}; pass by, such as by={{'a': 'b'}}"
            )
        return keys, keys
    if isinstance(by, Mapping):
        names = list(by), list(by.values())
    else:
        same = [by] if isinstance(by, str) else list(by)
        names = same, same
    if not names[0]:
        raise DefinitionError("by is empty; name at least one column")
    for table, keys, which in ((x, names[0], "x"), (y, names[1], "y")):
        for name in keys:
            if name not in table.column_names:
                raise DefinitionError(
                    f"{which} has no column {name!r}; it has {', '.join(table.column_names)}"
                )
    return names


def _alike(name: str, one: Any, other: Any, *, keys: bool = False) -> tuple[Any, Any]:
    """Bring two columns to one type."""
    left, right = plain(one), plain(other)
    type = common_type([left.type, right.type])
    if type is None or (keys and _is_nested(type)):
        what = f"{left.type} and {right.type}"
        raise DefinitionError(f"columns {name!r} are of types {what}, which do not go together")
    return left.cast(type), right.cast(type)


def _is_nested(type: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_nested(type)


def _choose(matched: pa.Array, new: pa.Array, old: pa.Array) -> pa.Array:
    """Choose between nested values, which `if_else` of older versions of Arrow cannot."""
    import numpy as np
    import pyarrow as pa

    rows = np.arange(len(old))
    places = np.where(np.asarray(matched), rows, rows + len(old))
    return pa.concat_arrays([new, old]).take(pa.array(places))


def _sorted(table: pa.Table, by: Sequence[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pa.table({str(at): plain(table[name]) for at, name in enumerate(by)})
    # Row numbers last: equal keys stay in order.
    numbered = keys.append_column(_X, pa.array(range(table.num_rows), pa.int64()))
    order = [*((name, "ascending") for name in keys.column_names), (_X, "ascending")]
    return table.take(pc.sort_indices(numbered, sort_keys=order))
