"""Functions and values as bytes: by value from `__main__` and notebooks, else by reference."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, cast

from batchwright.errors import DefinitionError

if TYPE_CHECKING:
    from batchwright.store import Store

PROTOCOL = 5
LARGE_FUNCTION = 10_000_000


def dump(value: object) -> bytes:
    """Pickle a value so that a process without our `__main__` can load it.

    Plain pickle is an order of magnitude faster; what it refers to in `__main__` must go by value.
    """
    import cloudpickle

    if not cloudpickle.list_registry_pickle_by_value():
        with contextlib.suppress(Exception):
            data = pickle.dumps(value, PROTOCOL)
            if b"__main__" not in data and b"__mp_main__" not in data:
                return data
    return cast("Any", cloudpickle).dumps(value, PROTOCOL)


def put_function(store: Store, fun: Callable[..., Any]) -> str:
    """Store a function once and give its hash; warns when it drags much along."""
    import cloudpickle

    with _by_value_unless_importable(fun):
        try:
            data: bytes = cast("Any", cloudpickle).dumps(fun, PROTOCOL)
        except Exception as error:
            raise DefinitionError(
                f"function `{name_of(fun)}` cannot be pickled: {error}; pass what it holds as a "
                "parameter, or make it inside the function"
            ) from error
    if len(data) > LARGE_FUNCTION:
        _warn_large(fun, len(data))
    return store.core.put_object(data)


def put_value(store: Store, what: str, value: object) -> str:
    """Store a value once and give its hash."""
    try:
        data = dump(value)
    except Exception as error:
        raise DefinitionError(f"{what} cannot be pickled: {error}") from error
    return store.core.put_object(data)


def name_of(fun: object) -> str:
    """Give the name a user knows a callable by."""
    return getattr(fun, "__qualname__", None) or type(fun).__qualname__


@contextlib.contextmanager
def _by_value_unless_importable(fun: Callable[..., Any]) -> Generator[None]:
    """Send functions of modules that no other process finds by value, as from `__main__`."""
    import cloudpickle

    module = sys.modules.get(getattr(fun, "__module__", None) or "")
    if module is None or module.__name__ == "__main__" or is_importable(module):
        yield
        return
    cast("Any", cloudpickle).register_pickle_by_value(module)
    try:
        yield
    finally:
        cast("Any", cloudpickle).unregister_pickle_by_value(module)


def is_importable(module: types.ModuleType) -> bool:
    """Whether a fresh process with our `sys.path` would import the same module."""
    path: Any = None
    name = ""
    spec: Any = None
    for part in module.__name__.split("."):
        name = f"{name}.{part}" if name else part
        spec = _find_spec(name, path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    origin = getattr(module, "__file__", None)
    return origin is None or spec.origin is None or spec.origin == origin


def _find_spec(name: str, path: Any) -> Any:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        with contextlib.suppress(Exception):
            spec = find(name, path, None) if find else None
            if spec is not None:
                return spec
    return None


def _warn_large(fun: Callable[..., Any], size: int) -> None:
    sizes: list[tuple[int, str]] = []
    for name, value in _captured(fun).items():
        with contextlib.suppress(Exception):
            sizes.append((len(dump(value)), name))
    largest = ", ".join(f"`{name}` ({size / 1e6:.1f} MB)" for size, name in sorted(sizes)[:-4:-1])
    warnings.warn(
        f"function `{name_of(fun)}` takes {size / 1e6:.1f} MB with what it captures"
        + (f", most of it {largest}" if largest else "")
        + "; pass large objects as `more_args` or by `batch_export`",
        stacklevel=4,
    )


def _captured(fun: Callable[..., Any]) -> Mapping[str, object]:
    code = getattr(fun, "__code__", None)
    if code is None:
        return {}
    names = getattr(fun, "__globals__", {})
    found = {name: names[name] for name in code.co_names if name in names}
    for name, cell in zip(code.co_freevars, getattr(fun, "__closure__", None) or (), strict=False):
        with contextlib.suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def reference(value: object) -> str | None:
    """Give `module:name` of something another process can import, else None."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    name = getattr(value, "__qualname__", "")
    if module is None or module.__name__ == "__main__" or "<" in name or not name:
        return None
    try:
        return f"{module.__name__}:{name}" if _attribute(module, name) is value else None
    except AttributeError:
        return None


def dereference(text: str) -> Any:
    """Import what `reference` named."""
    module, _, name = text.partition(":")
    return _attribute(importlib.import_module(module), name)


def _attribute(holder: object, dotted: str) -> Any:
    for part in dotted.split("."):
        holder = getattr(holder, part)
    return holder
