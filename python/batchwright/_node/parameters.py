"""Parameters of jobs by name, out of the rows of a collection."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .objects import Objects


def unpack(value: bytes, objects: Objects) -> Any:
    """Unpickle a value that only Python can read; large ones lie apart."""
    if value[:1] == b"R":
        return objects.load(value[1:].decode("ascii"))
    return pickle.loads(memoryview(value)[1:])


class Row:
    """How the rows of a design become parameters."""

    def __init__(self, spec: Mapping[str, Any], objects: Objects) -> None:
        self.names: list[str] = list(spec["names"])
        self._pickled = [i for i, is_pickled in enumerate(spec["pickled"]) if is_pickled]
        self._is_ragged: bool = spec["ragged"]
        self._objects = objects

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """Give a row's parameters by name; an empty tuple stands where it has none."""
        if self._pickled:
            values = list(values)
            for i in self._pickled:
                if values[i] != () and values[i] is not None:
                    values[i] = unpack(values[i], self._objects)
        named = zip(self.names, values, strict=True)
        if self._is_ragged:
            return {name: value for name, value in named if value != ()}
        return dict(named)
