"""How jobs call their functions: one class for each kind of definition."""

from __future__ import annotations

import pickle
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

    def make_job(self, bound: Any, job_id: int, **facts: Any) -> Job:
        """Make what the function sees of a job, of what `bind` gave."""
        ...

    def invoke(self, bound: Any, job: Job | None) -> Any:
        """Run the job and give its result."""
        ...


class MapCall:
    """`batch_map`: one function, its parameters, and what all its jobs share."""

    def __init__(self, spec: Mapping[str, Any], objects: Objects, seeder: Seeder) -> None:
        del seeder  # (nothing is seeded between the start of a job and its end)
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
                values[i] = unpack(values[i], self._objects)
        return dict(zip(self._names, values, strict=True))

    def make_job(self, bound: dict[str, Any], job_id: int, **facts: Any) -> Job:
        """Make what the function sees of a job."""
        return Job(job_id, pars=dict(bound), **facts)

    def invoke(self, bound: dict[str, Any], job: Job | None) -> Any:
        """Call the function."""
        pars = bound
        positional = self._positional
        if positional == len(pars) and self._more is None and job is None:
            return self._fun(*pars.values())
        keywords = pars if positional == 0 else dict(list(pars.items())[positional:])
        if self._more is not None:
            keywords = {**keywords, **self._more.get()}
        if job is not None:
            keywords = {**keywords, "job": job}
        return self._fun(*list(pars.values())[:positional], **keywords)


KINDS: dict[str, Callable[[Mapping[str, Any], Objects, Seeder], Call]] = {
    "map": MapCall,
    "experiment": ExperimentCall,
}
"""Kinds of calls by the name that the owner writes into a collection."""
