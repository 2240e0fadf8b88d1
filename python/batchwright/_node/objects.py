"""Pickled objects of the registry, and copies of them that no job shares with another."""

from __future__ import annotations

import os
import pickle
import time
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

PATIENCE = 30.0
"""Seconds for which a file is waited for that the file system does not show yet."""

_LARGE = 1 << 18
"""Bytes from which on a buffer is shared rather than copied for each job."""

_CACHE = 1 << 28
"""Bytes of files that are kept in memory."""

_SHARED = frozenset(
    {type(None), bool, int, float, complex, str, bytes}
    | {FunctionType, BuiltinFunctionType, ModuleType, type, type(Ellipsis), range}
)


def is_shareable(value: object) -> bool:
    """Whether jobs may share `value`, because none of them can change it in place."""
    kind = type(value)
    if kind in _SHARED:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(is_shareable, value))  # pyright: ignore
    return False


class Fresh:
    """A pickled value, of which each job gets a copy of its own.

    Large buffers, such as arrays have, are shared between the copies and cannot be written.
    """

    def __init__(self, pickled: bytes) -> None:
        self._value: Any = pickle.loads(pickled)
        self._is_shared = self._may_be_shared()
        self._pickled = b""
        self._buffers: list[memoryview] = []
        if not self._is_shared:
            self._pickled = pickled if len(pickled) < _LARGE else self._apart()

    def _may_be_shared(self) -> bool:
        return is_shareable(self._value)

    def _apart(self) -> bytes:
        """Pickle once more, with the large buffers left out."""
        import cloudpickle  # (takes longer to import than most jobs run)

        buffers = self._buffers

        def is_inside(buffer: pickle.PickleBuffer) -> bool:
            try:
                raw = buffer.raw()
            except BufferError:
                return True
            if raw.nbytes < _LARGE:
                return True
            buffers.append(raw.toreadonly())
            return False

        return cloudpickle.dumps(self._value, 5, is_inside)  # pyright: ignore

    @property
    def value(self) -> Any:
        """The value as it was at first; not to be given to jobs."""
        return self._value

    def get(self) -> Any:
        """Give a value that no other job has."""
        if self._is_shared:
            return self._value
        return pickle.loads(self._pickled, buffers=self._buffers)


class FreshArguments(Fresh):
    """The same for keyword arguments: the dict itself is never handed on."""

    def _may_be_shared(self) -> bool:
        return all(map(is_shareable, self._value.values()))


class Objects:
    """The registry's folder of objects, content-addressed and immutable."""

    def __init__(self, root: str, access: str = "private") -> None:
        self.root = root
        self.access = access
        self.kept: dict[Any, Any] = {}
        """What calls share with each other, by their own names."""
        self._folder = f"{root}/objects"
        self._files: dict[str, bytes] = {}
        self._size = 0

    def read(self, name: str) -> bytes:
        """Read one object's pickle; a hidden name is waited for."""
        if name in self._files:
            return self._files[name]
        pickled = _wait_for(f"{self._folder}/{name[:2]}", f"{name}.pkl")
        if self._size + len(pickled) <= _CACHE:
            self._files[name] = pickled
            self._size += len(pickled)
        return pickled

    def load(self, name: str) -> Any:
        """Unpickle one object afresh."""
        return pickle.loads(self.read(name))


def _wait_for(folder: str, name: str) -> bytes:
    until = time.monotonic() + PATIENCE
    pause = 0.02
    while True:
        try:
            with open(f"{folder}/{name}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            if time.monotonic() > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
        # Listing the folder is what makes a network file system look again.
        if os.path.isdir(folder):
            os.listdir(folder)
