"""What identifies a value that only Python can read, so that equal experiments are found equal.

The encoding is the core's (`rust/core/src/keys.rs`), which writes it for plain columns: numbers go
by value, True is no number, None is not NaN. Tuples, lists, dicts, sets, enums, paths, decimals,
dataclasses and arrays have forms of their own. All else goes by its pickle, which need not be the
same in another process or for an equal object.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final

from batchwright import store
from batchwright.serialization import dump

_LIMIT: Final = 2**63
_NAN: Final = struct.pack("<Q", 0x7FF8_0000_0000_0000)
_EPOCH: Final = datetime.datetime(1970, 1, 1)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)


def key_of(value: object) -> bytes:
    """Give the 16 bytes that identify a value."""
    return store.key_of(encoded(value))


def encoded(value: object) -> bytes:
    """Give the bytes that are equal for equal values.

    Examples
    --------
    >>> encoded(1) == encoded(1.0), encoded(1) == encoded(True)
    (True, False)
    >>> encoded({"a": 1, "b": 2}) == encoded({"b": 2, "a": 1})
    True
    """
    encode = _KINDS.get(type(value))
    if encode is not None:
        return encode(value)
    if isinstance(value, enum.Enum):
        return b"E" + _name(value) + _text(value.name)
    if isinstance(value, PurePath):
        return b"P" + _text(str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return b"C" + _name(value) + _mapping(fields)
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
        return _array(value)
    return b"?" + _sized(dump(value))


def _sized(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _text(value: str) -> bytes:
    return _sized(value.encode("utf-8", "surrogatepass"))


def _name(value: object) -> bytes:
    return _text(f"{type(value).__module__}.{type(value).__qualname__}")


def _all(tag: bytes, values: Iterable[bytes], count: int) -> bytes:
    return tag + struct.pack("<Q", count) + b"".join(values)


def _integer(value: int) -> bytes:
    if -_LIMIT <= value < _LIMIT:
        return b"I" + struct.pack("<q", value)
    try:
        as_float = float(value)
    except OverflowError:
        as_float = math.nan
    return _float(as_float) if as_float == value else b"J" + _text(str(value))


def _float(value: float) -> bytes:
    if value != value:
        return b"F" + _NAN
    if -_LIMIT <= value < _LIMIT and value == int(value):
        return _integer(int(value))
    return b"F" + struct.pack("<d", value)


def _datetime(value: datetime.datetime) -> bytes:
    naive = value.replace(tzinfo=None, fold=0)
    micros = struct.pack("<q", (naive - _EPOCH) // _MICROSECOND)
    if value.tzinfo is None and not value.fold:
        return b"T" + micros
    return b"Z" + micros + bytes([value.fold]) + _text(str(value.tzinfo))


def _date(value: datetime.date) -> bytes:
    return b"D" + struct.pack("<q", value.toordinal() - _EPOCH.toordinal())


def _duration(value: datetime.timedelta) -> bytes:
    try:
        return b"U" + struct.pack("<q", value // _MICROSECOND)
    except struct.error:
        return b"V" + _text(str(value // _MICROSECOND))


def _mapping(value: Mapping[Any, Any]) -> bytes:
    items = sorted(encoded(key) + encoded(held) for key, held in value.items())
    return _all(b"M", items, len(items))


def _set(value: Iterable[Any]) -> bytes:
    members = sorted(map(encoded, value))
    return _all(b"{", members, len(members))


def _decimal(value: decimal.Decimal) -> bytes:
    if not value.is_finite():
        return b"." + _text(str(value))
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    if not short:
        return b"." + _text("0")
    power = int(exponent) + len(text) - len(short)
    return b"." + _text(f"{sign} {short} {power}")


def _array(value: Any) -> bytes:
    if value.dtype.hasobject:
        return b"O" + _text(repr(value.shape)) + encoded(value.ravel().tolist())
    return b"A" + _text(f"{value.dtype.str} {value.shape}") + _sized(value.tobytes())


_KINDS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"B\x01" if value else b"B\x00",
    int: _integer,
    float: _float,
    str: lambda value: b"S" + _text(value),
    bytes: lambda value: b"Y" + _sized(value),
    datetime.datetime: _datetime,
    datetime.date: _date,
    datetime.timedelta: _duration,
    list: lambda value: _all(b"L", map(encoded, value), len(value)),
    tuple: lambda value: _all(b"(", map(encoded, value), len(value)),
    dict: _mapping,
    set: _set,
    frozenset: _set,
    complex: lambda value: b"X" + _float(value.real) + _float(value.imag),
    decimal.Decimal: _decimal,
}
