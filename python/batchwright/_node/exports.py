"""Exported objects as globals of the job function and of all that was pickled with it."""

from __future__ import annotations

import sys
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_SEEN = 10_000


def own_globals(roots: Iterable[object]) -> list[dict[str, Any]]:
    """Find the globals that came with pickled functions.

    Globals of real modules are left out: they belong to all code of the process.
    """
    found: dict[int, dict[str, Any]] = {}
    seen: set[int] = set()
    todo = list(roots)
    while todo and len(seen) < _MOST_SEEN:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            todo.extend(_inside_function(value, found))
        else:
            todo.extend(_inside(value))
    return list(found.values())


def _inside_function(function: FunctionType, found: dict[int, dict[str, Any]]) -> Iterable[object]:
    names = function.__globals__
    if not _is_modules(names) and id(names) not in found:
        found[id(names)] = names
        yield from list(names.values())
    yield from function.__closure__ or ()
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if hasattr(function, "__wrapped__"):
        yield function.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, CellType):
        try:
            yield value.cell_contents
        except ValueError:
            return
    elif isinstance(value, MethodType):
        yield value.__func__
        yield type(value.__self__)
    elif isinstance(value, partial):
        yield value.func
        yield from value.args
        yield from value.keywords.values()
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__  # pyright: ignore[reportUnknownMemberType]
    elif isinstance(value, type):
        # Classes of modules are shared with all code; those that came along are not.
        if not _is_importable(value):
            yield from list(vars(value).values())
    elif callable(value) and hasattr(value, "__dict__"):
        yield type(value)
        yield from list(vars(value).values())


def _is_modules(names: dict[str, Any]) -> bool:
    module = sys.modules.get(str(names.get("__name__")))
    return module is not None and vars(module) is names


def _is_importable(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    return getattr(module, kind.__qualname__.partition(".")[0], None) is not None
