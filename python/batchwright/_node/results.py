"""Results as pickles: in memory while they are small, else in a file of the worker's own."""

from __future__ import annotations

import os
import pickle
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from .compression import NONE, Compressor, compressor

if TYPE_CHECKING:
    Data = bytes | memoryview
    """What a pickler writes."""

PROTOCOL = 5
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_MODES = {"private": 0o600, "group": 0o660, "public": 0o644}
_MOST_WRITE = 1 << 30
_WORTH_A_SYNC = 1 << 20


class StorageError(Exception):
    """The worker's own file cannot be written."""


class Stored(NamedTuple):
    """Where a result lies in the worker's file."""

    offset: int
    length: int
    crc32: int


def is_plain(value: object) -> bool:
    """Whether `value` is scalars, at most one container deep: what pickles fast and alike."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        return _SCALARS.issuperset(map(type, value)) and _SCALARS.issuperset(  # pyright: ignore
            map(type, value.values())  # pyright: ignore
        )
    if kind is list or kind is tuple:
        return _SCALARS.issuperset(map(type, value))  # pyright: ignore
    return False


def dump(value: Any) -> bytes:
    """Pickle a result, objects of ``__main__`` and notebooks by value."""
    if is_plain(value):
        return pickle.dumps(value, PROTOCOL)
    import cloudpickle  # (takes longer to import than most jobs run)

    return cloudpickle.dumps(value, PROTOCOL)  # pyright: ignore[reportUnknownMemberType]


class ResultFile:
    """The file of one worker for results that are too large for the pipe.

    It has one writer in its whole life, is appended to, and is never written again after an
    error.

    Parameters
    ----------
    path
        Where it is made when the first large result comes.
    access
        Who may read it, as the collection says.
    inline
        Results up to this many bytes are given back instead.
    compress
        How what goes to the file is compressed.
    """

    def __init__(self, path: str, *, access: str, inline: int, compress: str = NONE) -> None:
        self.compress = compress
        self._path = path
        self._mode = _MODES.get(access, 0o600)
        self._inline = inline
        self._descriptor = -1
        self._end = 0
        self._is_dead = False

    def store(self, value: Any) -> bytes | Stored:
        """Pickle a result, into the file if it is large.

        Raises
        ------
        StorageError
            If the file cannot be written. What pickling raises passes unchanged.
        """
        if is_plain(value):
            pickled = pickle.dumps(value, PROTOCOL)
            if len(pickled) <= self._inline:
                return pickled
        return self._store_large(value)

    def _store_large(self, value: Any) -> bytes | Stored:
        import cloudpickle  # (takes longer to import than most jobs run)

        sink = _Sink(self, self._inline)
        try:
            cloudpickle.Pickler(sink, PROTOCOL).dump(value)  # pyright: ignore
            return sink.finish()
        finally:
            sink.is_over = True

    def prepare(self) -> None:
        """Fail now rather than at the first large result.

        Raises
        ------
        ImportError
            If the compression needs what this Python lacks.
        """
        if self.compress != NONE:
            compressor(self.compress, len).close()

    @property
    def end(self) -> int:
        """Where the next byte goes."""
        return self._end

    def append(self, data: Data) -> None:
        """Write at the end, whole."""
        if self._is_dead:
            raise StorageError(f"`{self._path}` failed before and is not written again")
        try:
            self._open()
            view = memoryview(data).cast("B")
            while view:
                written = os.pwrite(self._descriptor, view[:_MOST_WRITE], self._end)
                self._end += written
                view = view[written:]
        except OSError as error:
            self._is_dead = True
            raise StorageError(f"cannot write `{self._path}`: {error}") from error

    def sync(self) -> None:
        """Make what was appended durable."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._is_dead = True
            raise StorageError(f"cannot sync `{self._path}`: {error}") from error

    def _open(self) -> None:
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            os.fchmod(self._descriptor, self._mode)


class _Sink:
    """Takes a pickle as it is made: in memory up to a limit, from there on in the file."""

    def __init__(self, file: ResultFile, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0
        self._crc32 = 0
        self._offset = -1
        self._compressor: Compressor | None = None
        self.is_over = False
        """A compressor that is dropped half-way writes what it held; it must go nowhere."""

    def write(self, data: Data) -> int:
        size = memoryview(data).nbytes
        self._length += size
        if self._offset < 0 and self._length <= self._limit:
            # A view may be gone when the pickler returns.
            self._parts.append(bytes(data))
            return size
        if self._offset < 0:
            self._offset = self._file.end
            if self._file.compress != NONE:
                self._compressor = compressor(self._file.compress, self._pass_on)
            self._take(b"".join(self._parts))
            self._parts.clear()
        self._take(data)
        return size

    def _take(self, data: Data) -> None:
        if self._compressor is None:
            self._pass_on(data)
        else:
            self._compressor.write(data)

    def _pass_on(self, data: Data) -> None:
        if self.is_over:
            return
        self._crc32 = zlib.crc32(data, self._crc32)
        self._file.append(data)

    def finish(self) -> bytes | Stored:
        if self._offset < 0:
            return b"".join(self._parts)
        if self._compressor is not None:
            self._compressor.close()
        length = self._file.end - self._offset
        if length >= _WORTH_A_SYNC:
            # The executor syncs every result; a long one must not keep its other workers waiting.
            self._file.sync()
        return Stored(self._offset, length, self._crc32)
