"""Resources: what users may ask for, checked once, and what executors make of them."""

from __future__ import annotations

import difflib
import json
import math
import numbers
import operator
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

from batchwright.errors import ConfigError, TemplateError

# The columns of a table of ids that are read as resources of the single job.
PER_JOB = ("walltime", "memory", "ncpus", "omp_threads", "blas_threads")

_THREADS_OMP = ("OMP_NUM_THREADS",)
_THREADS_BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_THREADS_OTHER = (
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOG_LIMIT = 10.0


def whole(name: str, value: object, *, low: int, high: int = 2**31 - 1) -> int:
    """Check a whole number."""
    wrong = ConfigError(f"`{name}` is {value!r}: give a whole number from {low} to {high}")
    if isinstance(value, bool):
        raise wrong
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        number = operator.index(cast("Any", value))
    except TypeError:
        raise wrong from None
    if not low <= number <= high:
        raise wrong
    return number


def positive(name: str, value: object, *, zero: bool = False) -> float:
    """Check a finite number above zero."""
    wrong = ConfigError(f"`{name}` is {value!r}: give a {'' if zero else 'positive '}number")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise wrong
    number = float(value)
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise wrong
    return int(number) if number.is_integer() else number


def text(name: str, value: object) -> str:
    """Check a text that may enter a script; control characters would start commands there."""
    if not isinstance(value, str):
        raise ConfigError(f"`{name}` is {value!r}: give a text")
    refuse_control(name, value)
    return value


def refuse_control(name: str, value: str) -> None:
    """Raise `TemplateError` for text that a scheduler's script could take for more lines."""
    if _CONTROL.search(value):
        raise TemplateError(f"`{name}` is {value!r}: line breaks and control characters may not be")


def _seconds(name: str, value: object) -> float:
    return positive(name, value.total_seconds() if isinstance(value, timedelta) else value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"`{name}` is {value!r}: give True or False")
    return value


def _texts(name: str, value: object) -> list[str]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Sequence):
        raise ConfigError(f"`{name}` is {value!r}: give a list of texts")
    return [text(name, item) for item in cast("Sequence[object]", value)]


def _command(name: str, value: Any) -> list[str]:
    words = _texts(name, _plain_path(value))
    if not words or not all(words):
        raise ConfigError(f"`{name}` is {value!r}: give a command")
    return words


def _path(name: str, value: Any) -> str:
    return text(name, _plain_path(value))


def _plain_path(value: object) -> object:
    return os.fspath(cast("str", value)) if isinstance(value, os.PathLike) else value


def _setup(name: str, value: object) -> list[str]:
    lines: Any = [value] if isinstance(value, str) else value
    if not isinstance(lines, Sequence) or not all(
        isinstance(line, str) for line in cast("Sequence[object]", lines)
    ):
        raise ConfigError(f"`{name}` is {value!r}: give lines of shell")
    checked: list[str] = []
    for line in cast("Sequence[str]", lines):
        refuse_control(name, line.replace("\n", "").replace("\t", ""))
        checked.extend(line.splitlines())
    return checked


def _environment(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{name}` is {value!r}: give a mapping of variables")
    variables: dict[str, str] = {}
    for variable, item in cast("Mapping[object, object]", value).items():
        if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
            raise ConfigError(f"`{name}` holds {variable!r}, which is no name of a variable")
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ConfigError(f"`{name}` sets `{variable}` to {item!r}: give a text")
        variables[variable] = text(f"{name}[{variable!r}]", str(item))
    return variables


def _at_least(low: int) -> Callable[[str, object], int]:
    return lambda name, value: whole(name, value, low=low)


_KNOWN: Mapping[str, Callable[[str, Any], object]] = {
    "walltime": _seconds,
    "memory": positive,
    "ncpus": _at_least(1),
    "omp_threads": _at_least(1),
    "blas_threads": _at_least(1),
    "array": _flag,
    "chunks_as_arrayjobs": _flag,
    "max_concurrent_jobs": _at_least(1),
    "timeout": _seconds,
    "retries": lambda name, value: whole(name, value, low=0, high=1000),
    "parallel": _at_least(1),
    "jobs_per_worker": _at_least(1),
    "log_limit": lambda name, value: positive(name, value, zero=True),
    "python": _command,
    "executor": _path,
    "env": _environment,
    "modules": _texts,
    "setup": _setup,
    "wrap": _texts,
    "dependency": text,
    "partition": text,
    "queue": text,
    "cluster": text,
}


def parse(given: object) -> dict[str, Any]:
    """Check resources and give them as plain data, sorted by name; None takes one away."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"`resources` is {given!r}: give a mapping such as {{'walltime': 3600}}")
    checked: dict[str, Any] = {}
    for name, value in cast("Mapping[object, object]", given).items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(f"`resources` holds {name!r}, which is no name of a resource")
        checked[name] = None if value is None else _check(name, value)
    return dict(sorted(checked.items()))


def _check(name: str, value: object) -> object:
    known = _KNOWN.get(name)
    return known(name, value) if known else _plain(name, value)


def _plain(name: str, value: Any) -> Any:
    """Check a resource that only a template knows."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, str):
        return text(name, value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, os.PathLike):
        return _path(name, cast("Any", value))
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {text(name, key): _plain(name, item) for key, item in items}
    if isinstance(value, Sequence):
        return [_plain(name, item) for item in cast("Sequence[object]", value)]
    raise ConfigError(
        f"resource `{name}` is {value!r}: give a text, number, list or mapping of such"
    )


def nearest(name: str) -> str | None:
    """Give the known resource that a name resembles."""
    near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.8)
    return near[0] if near else None


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge by name, later ones win; None takes away."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return {name: value for name, value in sorted(merged.items()) if value is not None}


def as_json(resources: Mapping[str, Any]) -> str:
    """Give the text that stands for these resources in the registry."""
    return json.dumps(resources, sort_keys=True, separators=(",", ":"))


def limits(resources: Mapping[str, Any], *, debug: bool, runs_setup: bool) -> str:
    """Give the JSON of what the executor obeys (`Limits` of the core).

    Parameters
    ----------
    runs_setup
        Whether the backend's own script runs `modules` and `setup`; else a shell around the
        workers does.
    """
    found: dict[str, Any] = {
        "python": resources.get("python", [sys.executable]),
        "wrap": [*(() if runs_setup else _shell(resources)), *resources.get("wrap", ())],
        "env": environment(resources, debug=debug),
        "parallel": resources.get("parallel", 1),
        "retries": resources.get("retries", 0),
        "log_limit": int(resources.get("log_limit", _LOG_LIMIT) * 1_000_000),
        "ncpus": resources.get("ncpus", 1),
    }
    for name in ("timeout", "walltime", "jobs_per_worker"):
        if name in resources:
            found[name] = resources[name]
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def environment(resources: Mapping[str, Any], *, debug: bool) -> dict[str, str]:
    """Give the variables to set before Python starts."""
    variables: dict[str, str] = {}
    counts = (
        ((*_THREADS_OMP, *_THREADS_BLAS, *_THREADS_OTHER), "ncpus"),
        (_THREADS_OMP, "omp_threads"),
        (_THREADS_BLAS, "blas_threads"),
    )
    for names, resource in counts:
        if resource in resources:
            variables |= dict.fromkeys(names, str(resources[resource]))
    if debug:
        variables["BATCHWRIGHT_DEBUG"] = "1"
    return variables | resources.get("env", {})


def _shell(resources: Mapping[str, Any]) -> list[str]:
    modules, setup = resources.get("modules", ()), resources.get("setup", ())
    if not modules and not setup:
        return []
    # One line each: a failing `module load` is the site's to report, not ours to hide.
    lines = [*(f"module load {_quote(name)}" for name in modules), *setup, 'exec "$@"']
    return ["bash", "-lc", "\n".join(lines), "bash"]


def _quote(word: str) -> str:
    import shlex

    return shlex.quote(word)


def asked(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a chunk asks of the scheduler: jobs side by side need their sum."""
    parallel = resources.get("parallel", 1)
    scaled = {name: resources[name] * parallel for name in ("memory", "ncpus") if name in resources}
    if parallel > 1:
        scaled.setdefault("ncpus", parallel)
    return {**resources, **scaled}
