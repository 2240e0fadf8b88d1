"""Which names a function is called with, checked when jobs are defined, not when they run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from batchwright.errors import DefinitionError
from batchwright.serialization import name_of

_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Calling:
    """How a function is called with named columns."""

    names: tuple[str, ...]
    """All names; the leading `positional` ones go by position."""
    positional: int
    job: bool
    """Whether it also gets `job=`."""


def parameters(fun: Callable[..., Any]) -> list[Parameter] | None:
    """Give the parameters of a function; None where it does not tell, as many built-ins."""
    if not callable(fun):
        raise DefinitionError(f"{fun!r} is no function: pass something that can be called")
    try:
        return list(inspect.signature(fun).parameters.values())
    except (ValueError, TypeError):
        return None


def takes(fun: Callable[..., Any], name: str) -> bool:
    """Whether the function names a parameter; `**kwargs` names none."""
    return any(
        parameter.name == name and parameter.kind in _BY_NAME for parameter in parameters(fun) or ()
    )


def bind(
    fun: Callable[..., Any],
    n_positional: int,
    names: Sequence[str],
    more: Collection[str] = (),
    reserved: Collection[str] = ("job",),
) -> Calling:
    """Name the positional columns and check that the call fits.

    Parameters
    ----------
    n_positional
        Columns given by position; they come first.
    names
        Columns given by name.
    more
        Names of the shared arguments.
    reserved
        Names that the system fills in where the function has them.
    """
    known = parameters(fun)
    filled = [name for name in reserved if takes(fun, name)]
    leading, by_position = _name_positional(fun, known, n_positional, filled)
    _refuse_names(fun, names, more, filled, leading)
    every = (*leading, *names)
    if known is not None:
        by_position = max(by_position, _positional_only(known, every))
        every = _positional_first(known, every, by_position)
        _try(fun, every, by_position, (*more, *filled))
    return Calling(names=every, positional=by_position, job="job" in filled)


def _name_positional(
    fun: Callable[..., Any],
    known: list[Parameter] | None,
    count: int,
    filled: Collection[str],
) -> tuple[tuple[str, ...], int]:
    if known is None:
        return tuple(f"arg{i + 1}" for i in range(count)), count
    names = [p.name for p in known if p.kind in _BY_POSITION and p.name not in filled][:count]
    surplus = count - len(names)
    if not surplus:
        return tuple(names), 0
    if not any(p.kind is Parameter.VAR_POSITIONAL for p in known):
        raise DefinitionError(
            f"`{name_of(fun)}` takes {len(names)} columns by position, but {count} were given"
        )
    return (*names, *(f"arg{i + 1}" for i in range(surplus))), count


def _refuse_names(
    fun: Callable[..., Any],
    names: Sequence[str],
    more: Collection[str],
    filled: Collection[str],
    leading: Sequence[str],
) -> None:
    for name in (*names, *more):
        if name == "job_id":
            raise DefinitionError("`job_id` cannot be the name of a parameter: rename the column")
        if name in filled:
            raise DefinitionError(
                f"`{name}` is filled in by batchwright, because `{name_of(fun)}` names it: rename "
                "the column or the function's parameter"
            )
    every = [*leading, *names, *more]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise DefinitionError(f"given more than once: {', '.join(f'`{name}`' for name in twice)}")


def _positional_only(known: Sequence[Parameter], names: Collection[str]) -> int:
    given = [p.name in names for p in known if p.kind is Parameter.POSITIONAL_ONLY]
    return sum(given)


def _positional_first(
    known: Sequence[Parameter], names: Sequence[str], by_position: int
) -> tuple[str, ...]:
    """Put those that go by position into the order of the function."""
    if by_position == 0:
        return tuple(names)
    order = [p.name for p in known if p.kind in _BY_POSITION and p.name in names]
    ranked = [*order, *(name for name in names if name not in order)]
    return tuple(ranked)


def _try(
    fun: Callable[..., Any], names: Sequence[str], by_position: int, others: Sequence[str]
) -> None:
    keywords = dict.fromkeys((*names[by_position:], *others))
    try:
        inspect.signature(fun).bind(*names[:by_position], **keywords)
    except TypeError as error:
        given = ", ".join(f"`{name}`" for name in (*names, *others)) or "nothing"
        raise DefinitionError(
            f"`{name_of(fun)}{inspect.signature(fun)}` cannot be called with {given}: {error}"
        ) from error
