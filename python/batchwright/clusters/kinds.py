"""Backends by name: how a registry stores one, and how a configuration file names one."""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Mapping
from typing import Any

from batchwright import serialization
from batchwright.clusters.base import (
    ClusterFunctions,
    dump_functions,
    is_made_of_functions,
    load_functions,
)
from batchwright.errors import ConfigError

ENTRY_POINTS = "batchwright.cluster_functions"
FUNCTIONS = "functions"
SHIPPED: Mapping[str, str] = {
    "interactive": "batchwright.clusters.interactive:Interactive",
    "multicore": "batchwright.clusters.multicore:Multicore",
    "socket": "batchwright.clusters.multicore:Socket",
    "ssh": "batchwright.clusters.ssh:SSH",
    "slurm": "batchwright.clusters.slurm:Slurm",
    "sge": "batchwright.clusters.sge:SGE",
    "torque": "batchwright.clusters.torque:TORQUE",
    "lsf": "batchwright.clusters.lsf:LSF",
    "openlava": "batchwright.clusters.openlava:OpenLava",
    "docker": "batchwright.clusters.docker:Docker",
}


def find(kind: str) -> type[ClusterFunctions]:
    """Give the class of a kind: shipped, of another package, or `module:Class`."""
    name = kind.lower()
    if name in SHIPPED:
        module, _, attribute = SHIPPED[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if ":" in kind:
        return _checked(kind, serialization.dereference(kind))
    from importlib.metadata import entry_points

    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if kind in others:
        return _checked(kind, others[kind].load())
    known = sorted({*SHIPPED, *others})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
    raise ConfigError(f"unknown kind of cluster functions `{kind}`; {hint}")


def _checked(kind: str, found: Any) -> type[ClusterFunctions]:
    if not (isinstance(found, type) and issubclass(found, ClusterFunctions)):
        raise ConfigError(f"`{kind}` is {found!r}, which is no class of cluster functions")
    return found


def make(kind: str, arguments: Mapping[str, Any]) -> ClusterFunctions:
    """Make cluster functions of a kind; wrong arguments are a `ConfigError`."""
    cls = find(kind)
    make_from = getattr(cls, "from_plain", cls)
    try:
        return make_from(**arguments)
    except TypeError as error:
        raise ConfigError(f"cluster functions `{kind}`: {error}") from error


def kind_of(backend: ClusterFunctions) -> str | None:
    """Give the kind by which another process makes the same; None if there is none."""
    cls = type(backend)
    place = f"{cls.__module__}:{cls.__qualname__}"
    for kind, shipped in SHIPPED.items():
        if shipped == place:
            return kind
    return serialization.reference(cls)


def dump(backend: ClusterFunctions) -> dict[str, Any] | None:
    """Give plain data to make the backend again; None where functions stand in the way."""
    if is_made_of_functions(backend):
        arguments = dump_functions(backend)
        return None if arguments is None else {"kind": FUNCTIONS, "arguments": arguments}
    kind, arguments = kind_of(backend), backend.arguments()
    try:
        plain = json.loads(json.dumps(arguments))
    except (TypeError, ValueError):
        return None
    return None if kind is None else {"kind": kind, "arguments": plain}


def load(stored: Mapping[str, Any]) -> ClusterFunctions:
    """Make cluster functions from what `dump` gave."""
    if stored["kind"] == FUNCTIONS:
        return load_functions(stored["arguments"])
    return make(stored["kind"], stored["arguments"])
