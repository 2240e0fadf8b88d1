"""How jobs call their functions: one class for each kind of definition."""

from __future__ import annotations

import pickle
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from .experiments import ExperimentCall
from .job import Job
from .objects import FreshArguments
from .parameters import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .objects import Objects
    from .seeds import Seeder


class Call(Protocol):
    """The jobs of one definition."""

    names_job: bool
    """Whether the function wants to know about its job."""

    @property
    def functions(self) -> tuple[object, ...]:
        """What it calls, so that exports can become their globals."""
        ...

    def bind(self, parameters: bytes) -> Any:
        """Unpickle a row's parameters."""
        ...

    def make_job(self, read: Callable[[], Any], job_id: int, **facts: Any) -> Job:
        """Make what the function sees of a job; `read` gives what `bind` gave."""
        ...

    def invoke(self, bound: Any, job: Job | None) -> Any:
        """Run the job and give its result."""
        ...


class MapJob(Job):
    """A job of `batch_map`. What is its own is unpickled when it is asked for."""

    def __init__(
        self, job_id: int, call: MapCall, read: Callable[[], dict[str, Any]], **facts: Any
    ) -> None:
        super().__init__(job_id, **facts)
        self._call = call
        self._read = read

    @cached_property
    def pars(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Its parameters by name, and after them what all jobs share."""
        return {**self._read(), **self._call.shared()}

    @cached_property
    def fun(self) -> Callable[..., Any]:
        """The function that it calls."""
        return self._call.fun

    def __getstate__(self) -> dict[str, Any]:
        # The call stays behind: its function may be one that pickle does not take.
        left = ("_call", "_read", "fun")
        return {n: value for n, value in vars(self).items() if n not in left} | {"pars": self.pars}


class MapCall:
    """`batch_map`: one function, its parameters, and what all its jobs share."""

    def __init__(self, spec: Mapping[str, Any], objects: Objects, seeder: Seeder) -> None:
        del seeder  # (nothing is seeded between the start of a job and its end)
        self._spec = spec
        self._names: list[str] = list(spec["names"])
        self._positional: int = spec.get("positional", 0)
        pickled: list[bool] = spec.get("pickled") or []
        self._pickled = [i for i, is_pickled in enumerate(pickled) if is_pickled]
        self._objects = objects
        self.names_job: bool = spec.get("job", False)

    @cached_property
    def fun(self) -> Callable[..., Any]:
        """The function."""
        return self._objects.load(self._spec["fun"])

    @cached_property
    def _more(self) -> FreshArguments | None:
        more: str | None = self._spec.get("more_args")
        return FreshArguments(self._objects.read(more)) if more else None

    def shared(self) -> dict[str, Any]:
        """Give what all its jobs share, afresh."""
        return self._more.get() if self._more else {}

    @property
    def functions(self) -> tuple[object, ...]:
        """The function, and functions among what all its jobs share."""
        more = self._more.value.values() if self._more else ()
        return (self.fun, *more)

    def bind(self, parameters: bytes) -> dict[str, Any]:
        """Unpickle a row's parameters, by name."""
        values: Any = pickle.loads(parameters)
        if self._pickled:
            values = list(values)
            for i in self._pickled:
                values[i] = unpack(values[i], self._objects)
        return dict(zip(self._names, values, strict=True))

    def make_job(self, read: Callable[[], dict[str, Any]], job_id: int, **facts: Any) -> Job:
        """Make what the function sees of a job."""
        return MapJob(job_id, self, read, **facts)

    def invoke(self, bound: dict[str, Any], job: Job | None) -> Any:
        """Call the function."""
        pars = bound
        positional = self._positional
        if positional == len(pars) and self._more is None and job is None:
            return self.fun(*pars.values())
        keywords = pars if positional == 0 else dict(list(pars.items())[positional:])
        if self._more is not None:
            keywords = {**keywords, **self._more.get()}
        if job is not None:
            keywords = {**keywords, "job": job}
        return self.fun(*list(pars.values())[:positional], **keywords)


KINDS: dict[str, Callable[[Mapping[str, Any], Objects, Seeder], Call]] = {
    "map": MapCall,
    "experiment": ExperimentCall,
}
"""Kinds of calls by the name that the owner writes into a collection."""
