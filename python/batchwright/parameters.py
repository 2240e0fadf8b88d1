"""Columns of parameters, whatever they come as, into Arrow: each job gets back an equal value.

Types are told by the set of a column's types, never job by job. What Arrow cannot give back as it
was is pickled, once per distinct value.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from batchwright.columns import is_lazy
from batchwright.errors import DefinitionError
from batchwright.keys import key_of
from batchwright.segments import KEY_SUFFIX, TEXT_SUFFIX
from batchwright.serialization import dump

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright.store import Store

APART = 256 * 1024
"""Pickles above this many bytes are stored apart, once."""
SHOWN = 200
"""Characters of a pickled value's `repr` that tables show."""
PICKLED = {b"pickled": b"1"}
_NoneType = type(None)
_NUMBERS = {int, float, _NoneType}
# Of the libraries that may not be installed: told by name, so that nothing is imported for it.
_PANDAS_MISSING = frozenset({"NAType", "NaTType"})


def is_table(value: object) -> bool:
    """Whether a value has columns of its own; arrays and series are columns."""
    if is_lazy(value):
        return True
    if hasattr(value, "columns"):
        return hasattr(value, "__arrow_c_stream__") or hasattr(value, "iloc")
    return hasattr(value, "__arrow_c_stream__") and hasattr(value, "schema")


def is_scalar(value: object) -> bool:
    """Whether a value is the same for all jobs."""
    if isinstance(value, str | bytes | bytearray | Mapping):
        return True
    if getattr(value, "ndim", None) == 0:
        return True
    return not isinstance(value, Iterable) and not hasattr(value, "__getitem__")


def refuse_tables(columns: Mapping[str, Any]) -> None:
    """Refuse a table where a column is wanted: its iteration would give the names of its own."""
    for name, column in columns.items():
        if is_table(column):
            raise TypeError(
                f"a table ({type(column).__name__}) was given as the column `{name}`: pass one of "
                "its columns, or the table to all jobs by `more_args`"
            )


def from_table(table: object, what: str) -> dict[str, Any]:
    """Give the columns of any table or mapping by name.

    Parameters
    ----------
    what
        How to call it in errors.
    """
    columns = _columns(table, what)
    for name in columns:
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"{what} has a column {name!r}: names are texts")
    return columns


def _columns(table: Any, what: str) -> dict[str, Any]:
    if isinstance(table, Mapping):
        return dict(cast("Mapping[str, Any]", table))
    if hasattr(table, "iloc") and hasattr(table, "columns"):
        names = list(table.columns)
        if len(set(names)) < len(names):
            raise DefinitionError(f"{what} has columns of equal names: {names}")
        return {name: table[name] for name in names}
    if is_lazy(table):
        table = table.collect()
    if hasattr(table, "get_columns"):
        return {column.name: column for column in table.get_columns()}
    if is_table(table):
        import pyarrow as pa

        arrow = pa.table(table)
        return {name: arrow[name] for name in arrow.column_names if name not in _indexes(arrow)}
    if isinstance(table, Sequence) and all(
        isinstance(row, Mapping) for row in cast("Sequence[object]", table)
    ):
        return _from_rows(cast("Sequence[Mapping[str, Any]]", table), what)
    raise DefinitionError(f"{what} is {table!r:.200}: give a table or a mapping of columns")


def _indexes(table: Any) -> set[str]:
    """Give the columns in which a pandas index travels; it is no parameter."""
    described: dict[str, list[Any]] = table.schema.pandas_metadata or {}
    return {name for name in described.get("index_columns", []) if isinstance(name, str)}


def _from_rows(rows: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    for row in rows:
        if len(row) < len(names):
            missing = next(name for name in names if name not in row)
            raise DefinitionError(f"{what}: a row lacks `{missing}`: {dict(row)!r:.200}")
    return {name: [row[name] for row in rows] for name in names}


def aligned(columns: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Read iterators and recycle scalars; give columns of one length and that length.

    Recycled columns come as `Constant`.
    """
    refuse_tables(columns)
    scalars = {name for name, value in columns.items() if is_scalar(value)}
    sized = {n: v for n, v in columns.items() if n not in scalars and hasattr(v, "__len__")}
    iterators = {n: v for n, v in columns.items() if n not in scalars and n not in sized}
    lengths = {name: len(column) for name, column in sized.items()}
    if not columns:
        return {}, 0
    _refuse_lengths(lengths)
    if lengths:
        count = max(lengths.values())
        drawn = {name: _exactly(name, value, count) for name, value in iterators.items()}
    else:
        drawn = {name: list(value) for name, value in iterators.items()}
        found = {name: len(values) for name, values in drawn.items()}
        if len(set(found.values())) > 1:
            raise DefinitionError(f"the iterators differ in length: {_in_words(found)}")
        count = next(iter(found.values()), 1)
    result: dict[str, Any] = {}
    for name, value in columns.items():
        if name in scalars:
            result[name] = Constant(_scalar(value))
        elif name in drawn:
            result[name] = drawn[name]
        elif lengths[name] == count:
            result[name] = value
        else:
            result[name] = Constant(next(iter(value)))
    return result, count


class Constant:
    """A value that all jobs share."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _scalar(value: Any) -> Any:
    if getattr(value, "ndim", None) == 0 and type(value).__name__ == "ndarray":
        return value[()]
    return value


def _refuse_lengths(lengths: Mapping[str, int]) -> None:
    different = set(lengths.values()) - {1}
    if len(different) > 1 or (0 in different and len(lengths) > 1 and set(lengths.values()) != {0}):
        raise DefinitionError(
            f"the columns differ in length: {_in_words(lengths)}; give each 1 or the same number "
            "of values"
        )


def _in_words(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"`{name}` has {length}" for name, length in lengths.items())


def _exactly(name: str, values: Iterable[Any], count: int) -> list[Any]:
    drawn = list(itertools.islice(values, count))
    if len(drawn) < count:
        raise DefinitionError(
            f"`{name}` ended after {len(drawn)} values, but the other columns have {count}"
        )
    return drawn


def as_arrow(
    store: Store, columns: Mapping[str, Any], count: int, *, keyed: bool = False
) -> pa.Table:
    """Give the columns as the core takes them.

    Parameters
    ----------
    keyed
        Whether a pickled column gets another beside it, of what identifies its values.
    """
    import pyarrow as pa

    arrays: list[Any] = []
    fields: list[Any] = []
    beside: dict[str, Any] = {}
    for name, column in columns.items():
        array, pickled = _column(store, name, column, count, keyed=keyed)
        if pickled is not None:
            beside[name + TEXT_SUFFIX] = pickled.text
            if keyed:
                beside[name + KEY_SUFFIX] = pickled.keys
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=PICKLED if pickled else None))
    for name, array in beside.items():
        arrays.append(array)
        fields.append(pa.field(name, array.type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


@dataclass(frozen=True, slots=True)
class _Pickled:
    """A column of pickles, with what lies beside it."""

    pickles: Any
    text: Any
    """What tables show."""
    keys: Any


def _column(
    store: Store, name: str, column: Any, count: int, *, keyed: bool
) -> tuple[Any, _Pickled | None]:
    """Give a column and, if it is pickled, what lies beside it."""
    import numpy as np
    import pyarrow as pa

    if not isinstance(column, Constant):
        found: Any = typed(column)
        if not isinstance(found, list):
            return found, None
        pickled = _pickled(store, name, cast("list[Any]", found), keyed=keyed)
        return pickled.pickles, pickled
    found: Any = typed([column.value])
    if not isinstance(found, list):
        return _repeated(found, count), None
    once = _pickled(store, name, cast("list[Any]", found), keyed=keyed)
    zeros = pa.array(np.zeros(count, dtype=np.int32))
    pickles = pa.DictionaryArray.from_arrays(zeros, once.pickles.dictionary)
    keys = once.keys.take(zeros) if keyed else None
    return pickles, _Pickled(pickles, _repeated(once.text, count), keys)


def _repeated(array: Any, count: int) -> Any:
    import pyarrow as pa

    if pa.types.is_null(array.type):
        return pa.nulls(count)
    return pa.repeat(array[0], count)


def is_pickled(field: pa.Field) -> bool:
    """Whether the values of a column are pickles."""
    return bool(field.metadata) and b"pickled" in field.metadata


def typed(column: Any) -> Any:
    """Give a column as a typed Arrow array, or the list of its values if they are to be pickled."""
    values = _unpacked(column)
    if isinstance(values, list):
        return _from_values(cast("list[Any]", values))
    return values


def _unpacked(column: Any) -> Any:
    """Give an Arrow array of a type the core takes, or a list of Python values."""
    module = type(column).__module__.partition(".")[0]
    if module == "pyarrow":
        return _from_arrow(column)
    if module == "pandas":
        return _from_pandas(column)
    if module == "polars":
        return _from_polars(column)
    if type(column).__name__ == "JobIds" or isinstance(column, range):
        import numpy as np

        if isinstance(column, range):
            column = (
                list(column)
                if _is_wide(column)
                else np.arange(column.start, column.stop, column.step, dtype=np.int64)
            )
        else:
            column = np.asarray(column)
    if module == "numpy" or type(column).__name__ == "ndarray":
        return _from_numpy(column)
    return list(column)


def _is_wide(values: range) -> bool:
    return bool(values) and max(abs(values[0]), abs(values[-1]), abs(values.step)) >= 2**62


# -- numpy


def _from_numpy(array: NDArray[Any]) -> Any:
    import numpy as np
    import pyarrow as pa

    if isinstance(array, np.ma.MaskedArray):
        return cast("list[Any]", array.tolist())
    if array.ndim != 1:
        return list(array)
    kind = array.dtype.kind
    if kind == "b":
        return pa.array(np.ascontiguousarray(array))
    if kind == "i" or (kind == "u" and (array.size == 0 or array.max() <= 2**63 - 1)):
        return pa.array(array.astype(np.int64))
    if kind == "f" and array.dtype.itemsize <= 8:
        return pa.array(array.astype(np.float64), from_pandas=False)
    if kind == "M":
        return _from_datetime64(array)
    if kind == "m":
        return _from_timedelta64(array)
    return list(array) if kind == "O" else cast("list[Any]", array.tolist())


def _from_datetime64(array: NDArray[np.datetime64]) -> Any:
    import numpy as np
    import pyarrow as pa

    unit = np.datetime_data(array.dtype)[0]
    if unit in ("Y", "M", "W", "D"):
        return cast("list[Any]", array.tolist())
    micro = array.astype("M8[us]")
    if unit in ("h", "m", "s", "ms", "us"):
        return pa.array(micro) if _are_years_plain(array, micro) else list(array)
    whole = (micro.astype(array.dtype) == array) | np.isnat(array)
    if whole.all():
        return pa.array(micro)
    return [m.item() if w else a for a, m, w in zip(array, micro, whole, strict=True)]


def _are_years_plain(array: NDArray[Any], micro: NDArray[Any]) -> bool:
    """Whether each is a `datetime`, which knows the years 1 to 9999 only."""
    import numpy as np

    if array.size == 0 or np.isnat(array).all():
        return True
    low, high = np.nanmin(micro), np.nanmax(micro)
    return bool(low >= np.datetime64("0001-01-01") and high < np.datetime64("9999-12-31T23:59:59"))


def _from_timedelta64(array: NDArray[np.timedelta64]) -> Any:
    import numpy as np
    import pyarrow as pa

    unit = np.datetime_data(array.dtype)[0]
    if unit in ("Y", "M", "generic"):
        return list(array)
    micro = array.astype("m8[us]")
    whole = (micro.astype(array.dtype) == array) | np.isnat(array)
    if whole.all():
        return pa.array(micro)
    return [m.item() if w else a for a, m, w in zip(array, micro, whole, strict=True)]


# -- pandas, polars


def _from_pandas(column: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    dtype = getattr(column, "dtype", None)
    if isinstance(dtype, np.dtype):
        return _from_numpy(column.to_numpy())
    if dtype is None:
        return list(column)
    values = getattr(column, "array", column)
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        categories = values.categories
        kept = [_python(value) for value in categories]
        return [kept[code] if code >= 0 else None for code in values.codes]
    if name in ("IntervalDtype", "PeriodDtype", "SparseDtype"):
        return list(column)
    if name == "DatetimeTZDtype":
        return list(column.astype(object))
    try:
        return _from_arrow(pa.array(values, from_pandas=True))
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
        return list(column)


def _from_polars(column: Any) -> Any:
    try:
        return _from_arrow(column.to_arrow())
    except Exception:  # its own errors, and panics for columns of objects
        return list(column)


# -- Arrow


def _from_arrow(array: Any) -> Any:
    import pyarrow as pa

    if isinstance(array, pa.Scalar):
        return [array.as_py()]
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    target = _target(array.type)
    if target is None:
        return cast("list[Any]", array.to_pylist())
    try:
        return array.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _to_python(array)


def _to_python(array: Any) -> list[Any]:
    """Give the values; where nanoseconds do not fit, numpy's own scalars."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_timestamp(array.type) or array.type.tz is not None:
        return cast("list[Any]", array.to_pylist())
    found: Any = _from_datetime64(np.asarray(array.to_numpy(zero_copy_only=False)))
    return cast("list[Any]", found if isinstance(found, list) else found.to_pylist())


def _target(type_: Any) -> Any:
    """Give the type the core takes for an Arrow type that loses nothing; None if there is none."""
    import pyarrow as pa

    of = pa.types
    simple: tuple[tuple[Callable[[Any], bool], Any], ...] = (
        (of.is_null, pa.null()),
        (of.is_boolean, pa.bool_()),
        (of.is_integer, pa.int64()),
        (of.is_floating, pa.float64()),
        (of.is_string, pa.string()),
        (of.is_binary, pa.binary()),
        (of.is_fixed_size_binary, pa.binary()),
        (of.is_large_string, pa.large_string()),
        (of.is_large_binary, pa.large_binary()),
        (of.is_date, pa.date32()),
        (of.is_duration, pa.duration("us")),
    )
    for is_it, target in simple:
        if is_it(type_):
            return target
    if of.is_timestamp(type_):
        return pa.timestamp("us") if type_.tz is None else None
    if str(type_) in ("string_view", "binary_view"):
        return pa.string() if str(type_) == "string_view" else pa.binary()
    if of.is_list(type_) or of.is_large_list(type_) or of.is_fixed_size_list(type_):
        inner = _target(type_.value_type)
        return None if inner is None else pa.list_(inner)
    return None


# -- values of Python


def _from_values(values: list[Any]) -> Any:
    kinds = set(map(type, values))
    if any(_is_foreign(kind) for kind in kinds):
        values = [_python(value) for value in values]
        kinds = set(map(type, values))
    found = _by_kinds(values, kinds)
    return values if found is None else found


def _by_kinds(values: list[Any], kinds: set[type]) -> Any:
    """Give an Arrow array if the values are of one plain type; None if not."""
    import pyarrow as pa

    kinds = kinds - {_NoneType}
    if not kinds:
        return pa.nulls(len(values))
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    target = _arrow_type(kind, values)
    if target is None:
        return None
    try:
        # `from_pandas=False` keeps NaN apart from None.
        return pa.array(values, target, from_pandas=False)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        return None


def _arrow_type(kind: type, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    simple: Mapping[type, Any] = {
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        str: pa.string(),
        bytes: pa.binary(),
        datetime.date: pa.date32(),
        datetime.timedelta: pa.duration("us"),
    }
    if kind in simple:
        return simple[kind]
    if kind is datetime.datetime:
        return _timestamp_type(values)
    if kind is list:
        return _list_type(values)
    return None


def _timestamp_type(values: Sequence[Any]) -> Any:
    """Give the type of plain times; those with a zone are pickled, which keeps the zone's kind."""
    import pyarrow as pa

    is_plain = not any(v is not None and (v.tzinfo is not None or v.fold) for v in values)
    return pa.timestamp("us") if is_plain else None


def _list_type(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    inner = list(itertools.chain.from_iterable(value for value in values if value is not None))
    kinds = set(map(type, inner)) - {_NoneType}
    if not kinds:
        return pa.list_(pa.null())
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    target = _arrow_type(kind, inner)
    return None if target is None else pa.list_(target)


def _is_foreign(kind: type) -> bool:
    """Whether values of a type are scalars of numpy, pandas or pyarrow."""
    module = kind.__module__.partition(".")[0]
    if module == "numpy":
        return kind.__name__ != "ndarray"
    return module == "pandas" or (module == "pyarrow" and kind.__name__.endswith("Scalar"))


def _python(value: Any) -> Any:
    """Give the Python scalar for one of numpy, pandas or pyarrow."""
    kind: type = type(cast("object", value))
    if not _is_foreign(kind):
        return value
    if kind.__name__ in _PANDAS_MISSING:
        return None
    if kind.__module__.startswith("pyarrow"):
        return value.as_py()
    if kind.__module__.startswith("pandas"):
        return _from_pandas_scalar(value)
    if kind.__name__ in ("datetime64", "timedelta64"):
        return _from_numpy_time(value)
    item = getattr(value, "item", None)
    return value if item is None or not hasattr(value, "dtype") else item()


def _from_numpy_time(value: Any) -> Any:
    import numpy as np

    found = np.array([value])
    array: Any
    array = _from_datetime64(found) if found.dtype.kind == "M" else _from_timedelta64(found)
    return cast("Any", array)[0] if isinstance(array, list) else array[0].as_py()


def _from_pandas_scalar(value: Any) -> Any:
    name = type(value).__name__
    if name == "Timestamp":
        if value.nanosecond and value.tzinfo is None:
            return value.to_datetime64()
        return value.to_pydatetime(warn=False) if not value.nanosecond else value
    if name == "Timedelta":
        return value if value.nanoseconds else value.to_pytimedelta()
    return value


# -- pickles


def _pickled(store: Store, name: str, values: Sequence[Any], *, keyed: bool) -> _Pickled:
    """Pickle values, each distinct one once."""
    import numpy as np
    import pyarrow as pa

    by_bytes: dict[bytes, int] = {}
    by_identity: dict[int, int] = {}
    distinct: list[Any] = []
    codes: list[int] = []
    for value in values:
        code = by_identity.get(id(value))
        if code is None:
            code = by_bytes.setdefault(_dumped(name, value), len(by_bytes))
            by_identity[id(value)] = code
            if code == len(distinct):
                distinct.append(value)
        codes.append(code)
    entries = [_entry(store, data) for data in by_bytes]
    indices = pa.array(np.array(codes, dtype=np.int32))
    pickles = pa.DictionaryArray.from_arrays(indices, pa.array(entries, pa.large_binary()))
    keys = pa.array([key_of(value) for value in distinct]).take(indices) if keyed else None
    return _Pickled(pickles, _texts(values, distinct, indices), keys)


def _texts(values: Sequence[Any], distinct: Sequence[Any], indices: Any) -> Any:
    """Give what tables show of values that are pickled."""
    import pyarrow as pa

    if set(map(type, values)) <= _NUMBERS:
        return pa.array([None if v is None else _as_float(v) for v in values])
    if _is_of_one_zone(values):
        return pa.array(values)
    return pa.array([_shown(value) for value in distinct], pa.string()).take(indices)


def _is_of_one_zone(values: Sequence[Any]) -> bool:
    """Whether all values are times of one zone, which tables can show as times."""
    if not set(map(type, values)) <= {datetime.datetime, type(None)}:
        return False
    zones = {str(value.tzinfo) for value in values if value is not None}
    return len(zones) == 1 and "None" not in zones


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _shown(value: object) -> str:
    """Give what tables show of a value that only Python can read."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__qualname__}: {error}>"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _dumped(name: str, value: object) -> bytes:
    try:
        return dump(value)
    except Exception as error:
        raise DefinitionError(
            f"a value of `{name}` cannot be pickled: {value!r:.200}: {error}"
        ) from error


def _entry(store: Store, data: bytes) -> bytes:
    if len(data) > APART:
        return b"R" + store.core.put_object(data).encode()
    return b"P" + data


def as_values(column: Any) -> list[Any]:
    """Give the values of any column, as the jobs would get them."""
    found: Any = typed(column)
    return cast("list[Any]", found if isinstance(found, list) else found.to_pylist())
