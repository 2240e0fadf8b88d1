"""One Arrow column out of pieces that were typed apart: by several calls, or batch by batch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

_MOST_TEXT: Final = 200
_UNNAMED_INDEX: Final = re.compile(r"__index_level_\d+__")
"""How pandas calls the column of an index without a name."""


def common_type(types: Iterable[pa.DataType]) -> pa.DataType | None:
    """Give the type that holds values of all these; None if only their text has one.

    Integers and floats meet in float64, null in anything. True is no number.
    """
    import pyarrow as pa

    found: pa.DataType = pa.null()
    for type in types:
        joint = _joint(found, type)
        if joint is None:
            return None
        found = joint
    return found


def _joint(one: pa.DataType, two: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    from pyarrow import types as of

    if one == two or of.is_null(two):
        return one
    if of.is_null(one):
        return two
    for family, wide in (
        (of.is_integer, pa.int64()),
        (_is_number, pa.float64()),
        (_is_text, pa.large_string()),
        (_is_bytes, pa.large_binary()),
    ):
        if family(one) and family(two):
            return wide
    if _is_list(one) and _is_list(two):
        values = _joint(one.value_type, two.value_type)
        return None if values is None else pa.list_(values)
    return None


def _is_number(type: pa.DataType) -> bool:
    from pyarrow import types as of

    return of.is_integer(type) or of.is_floating(type)


def _is_text(type: pa.DataType) -> bool:
    from pyarrow import types as of

    return of.is_string(type) or of.is_large_string(type)


def _is_bytes(type: pa.DataType) -> bool:
    from pyarrow import types as of

    return of.is_binary(type) or of.is_large_binary(type)


def _is_list(type: pa.DataType) -> bool:
    from pyarrow import types as of

    return of.is_list(type) or of.is_large_list(type)


def cast(array: pa.Array, type: pa.DataType) -> pa.Array:
    """Cast to what `common_type` found; large integers may lose digits as floats."""
    return array if array.type == type else array.cast(type, safe=False)


def plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Give a column as one array of its values, dictionaries decoded."""
    import pyarrow as pa
    from pyarrow import types as of

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        # More text than one array can hold: the large type can.
        array = array.cast(pa.large_string()).combine_chunks()
    return array.dictionary_decode() if of.is_dictionary(array.type) else array


def is_lazy(value: object) -> bool:
    """Whether a table has yet to be collected, as polars' LazyFrame."""
    return hasattr(value, "collect") and hasattr(value, "lazy")


def table_of(value: Any) -> pa.Table:
    """Give any table as pyarrow has it, in types that all its functions know.

    An index of pandas that has a name becomes a column, one without is left out.
    """
    table = _as_arrow(value.collect() if is_lazy(value) else value)
    import pyarrow as pa

    # What polars hands out; `take` and others have no kernels for views.
    plain_types = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}
    if not any(str(field.type) in plain_types for field in table.schema):
        return table
    fields = [
        field.with_type(plain_types.get(str(field.type), field.type)) for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _as_arrow(value: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    has_index = hasattr(value, "iloc")
    if not (hasattr(value, "__arrow_c_stream__") or isinstance(value, Mapping)):
        raise TypeError(f"a table is needed, not {type(value).__name__} {value!r:.60}")
    table = pa.table(value)
    if not has_index:
        return table
    return table.select([n for n in table.column_names if not _UNNAMED_INDEX.fullmatch(n)])


def as_text(array: pa.Array) -> pa.Array:
    """Give the `repr` of each value, at most 200 characters of it; null stays null."""
    import pyarrow as pa
    from pyarrow import types as of

    if of.is_nested(array.type) or of.is_null(array.type):
        texts = [None if value is None else shortened(repr(value)) for value in array.to_pylist()]
        return pa.array(texts, pa.large_string())
    encoded = array.dictionary_encode()
    texts = [shortened(repr(value)) for value in encoded.dictionary.to_pylist()]
    return pa.array(texts, pa.large_string()).take(encoded.indices)


def shortened(text: str) -> str:
    """Cut a text to what a table shows."""
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def chunked(pieces: Sequence[pa.Array], type: pa.DataType) -> pa.ChunkedArray:
    """Put pieces of one column together."""
    import pyarrow as pa

    return pa.chunked_array([cast(piece, type) for piece in pieces], type)


def from_json(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn JSON objects, few of them distinct, into structs; null stays null."""
    import pyarrow as pa

    encoded = plain(texts).dictionary_encode()
    objects = [json.loads(text) for text in encoded.dictionary.to_pylist()]
    return pa.chunked_array([_structs(objects).take(encoded.indices)])


def _structs(objects: Sequence[Mapping[str, Any]]) -> pa.Array:
    import pyarrow as pa

    names = dict.fromkeys(name for item in objects for name in item)
    fields = {name: _typed([item.get(name) for item in objects]) for name in names}
    if not fields:
        return pa.array([{} for _ in objects], pa.struct([]))
    return pa.StructArray.from_arrays(list(fields.values()), list(fields))


def _typed(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        texts = [None if value is None else shortened(repr(value)) for value in values]
        return pa.array(texts, pa.large_string())
