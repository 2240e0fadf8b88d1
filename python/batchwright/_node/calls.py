"""How jobs call their functions: one class for each kind of definition."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Protocol

from .objects import FreshArguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .job import Job
    from .objects import Objects


class Call(Protocol):
    """The jobs of one definition."""

    names_job: bool
    """Whether the function wants to know about its job."""

    @property
    def functions(self) -> tuple[object, ...]:
        """What it calls, so that exports can become their globals."""
        ...

    def bind(self, parameters: bytes) -> dict[str, Any]:
        """Unpickle a row's parameters, by name."""
        ...

    def invoke(self, pars: dict[str, Any], job: Job | None) -> Any:
        """Run the job and give its result."""
        ...


class MapCall:
    """`batch_map`: one function, its parameters, and what all its jobs share."""

    def __init__(self, spec: Mapping[str, Any], objects: Objects) -> None:
        self._fun: Callable[..., Any] = objects.load(spec["fun"])
        more: str | None = spec.get("more_args")
        self._more = FreshArguments(objects.read(more)) if more else None
        self._names: list[str] = list(spec["names"])
        self._positional: int = spec.get("positional", 0)
        pickled: list[bool] = spec.get("pickled") or []
        self._pickled = [i for i, is_pickled in enumerate(pickled) if is_pickled]
        self._objects = objects
        self.names_job: bool = spec.get("job", False)

    @property
    def functions(self) -> tuple[object, ...]:
        """The function, and functions among what all its jobs share."""
        more = self._more.value.values() if self._more else ()
        return (self._fun, *more)

    def bind(self, parameters: bytes) -> dict[str, Any]:
        """Unpickle a row's parameters, by name."""
        values: Any = pickle.loads(parameters)
        if self._pickled:
            values = list(values)
            for i in self._pickled:
                values[i] = self._unpack(values[i])
        return dict(zip(self._names, values, strict=True))

    def _unpack(self, value: bytes) -> Any:
        if value[:1] == b"R":
            return self._objects.load(value[1:].decode("ascii"))
        return pickle.loads(memoryview(value)[1:])

    def invoke(self, pars: dict[str, Any], job: Job | None) -> Any:
        """Call the function."""
        positional = self._positional
        if positional == len(pars) and self._more is None and job is None:
            return self._fun(*pars.values())
        keywords = pars if positional == 0 else dict(list(pars.items())[positional:])
        if self._more is not None:
            keywords = {**keywords, **self._more.get()}
        if job is not None:
            keywords = {**keywords, "job": job}
        return self._fun(*list(pars.values())[:positional], **keywords)


KINDS: dict[str, Callable[[Mapping[str, Any], Objects], Call]] = {"map": MapCall}
"""Kinds of calls by the name that the owner writes into a collection."""
