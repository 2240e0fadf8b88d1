"""Results in compressed form, as `compress` of the registry asks for.

What a file begins with tells the method, and that it is no pickle, which begins with byte 0x80.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    Data = bytes | memoryview

NONE = "none"
_GZIP_WINDOW = 31
_GZIP_LEVEL = 1
_METHODS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


class Compressor(Protocol):
    """Takes data piece by piece."""

    def write(self, data: Data) -> object:
        """Compress a piece."""
        ...

    def close(self) -> object:
        """Pass the rest on."""
        ...


def compressor(method: str, write: Callable[[Data], object]) -> Compressor:
    """Give what compresses, and passes on to `write`: gzip by itself, the others by pyarrow.

    Raises
    ------
    ImportError
        If pyarrow is needed and is not there.
    """
    if method == "gzip":
        return _Gzip(write)
    import pyarrow as pa

    sink: Any = pa.PythonFile(_Sink(write), mode="w")
    return pa.CompressedOutputStream(sink, method)


def decompressed(data: bytes) -> Data:
    """Give a result's pickle, compressed or not."""
    method = next((name for magic, name in _METHODS.items() if data.startswith(magic)), None)
    if method is None:
        return data
    if method == "gzip":
        return zlib.decompress(data, _GZIP_WINDOW)
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(data), method) as stream:
        return stream.read()


class _Gzip:
    def __init__(self, write: Callable[[Data], object]) -> None:
        self._write = write
        self._object = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def write(self, data: Data) -> None:
        self._write(self._object.compress(data))

    def close(self) -> None:
        self._write(self._object.flush())


class _Sink:
    """A file as pyarrow wants it."""

    closed = False

    def __init__(self, write: Callable[[Data], object]) -> None:
        self._write = write

    def write(self, data: Data) -> int:
        self._write(data)
        return len(data)

    def flush(self) -> None:
        return

    def close(self) -> None:
        self.closed = True
