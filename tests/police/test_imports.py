"""Imports inside the package run one way, and importing it is cheap.

The rules are the tables below; a change of one needs a sentence of reason in the same commit.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "batchwright"

# The wrappers of the extension. All others work with what these give out.
IMPORT_CORE = {"chunking", "ids", "store", "_node"}

# Classes of the owner's side that hold the registry, and who may name them at run time: the
# package, what creates registries, and the command line. Verbs get one as an argument.
REGISTRY = {"registry"}
IMPORT_REGISTRY = {"__init__", "opening", "defaults", "cli"}

# They take longer to import than all the rest; each is imported by the function that needs it.
HEAVY = {"numpy", "pyarrow", "jinja2", "cloudpickle", "pandas", "polars", "rich"}

# Whatever the owner's side needs, a job on a node must not pay for.
NODE = "_node"
NODE_NEVER = {"numpy", "pyarrow", "jinja2", "pandas", "polars", "rich", "platformdirs"}
# Jobs of a registry that asks for lz4 or zstd pay for their library, and no others.
NODE_MAY = {"_node/compression.py": frozenset({"pyarrow"})}

# Relative imports: only on the node's side, which runs under a name of its own there.
BESIDE, ABOVE = "a module beside it", "a module above it"

# What `from batchwright import NAME` may name inside the package: modules only.
MODULES = {path.stem for path in PACKAGE.iterdir()} | {"_core"}

# The command line is the top: nobody imports it, but for what `python -m` starts it by.
TOP = "cli"
START = "__main__"


@dataclass(frozen=True)
class Import:
    module: str
    """The dotted name that is imported."""
    line: int
    typing_only: bool
    top_level: bool

    @property
    def is_name_of_package(self) -> bool:
        """Whether it is the package itself, or a name that `__init__` defines."""
        first, *rest = self.module.split(".")
        return first == "batchwright" and (not rest or (len(rest) == 1 and rest[0] not in MODULES))

    @property
    def root(self) -> str:
        return self.module.split(".")[0]

    @property
    def own(self) -> str | None:
        """The first part below the package, empty for itself, None for other packages."""
        first, *rest = self.module.split(".")
        if first != "batchwright":
            return None
        return rest[0] if rest else ""


def imports(tree: ast.Module) -> list[Import]:
    return list(_walk(tree.body, typing_only=False, top_level=True))


def _walk(nodes: list[ast.AST], *, typing_only: bool, top_level: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, typing_only, top_level)
        elif isinstance(node, ast.ImportFrom):
            if node.level > 0:
                kind = BESIDE if node.level == 1 else ABOVE
                yield Import(kind, node.lineno, typing_only, top_level)
                continue
            for alias in node.names:
                # `from batchwright import store` names a module, and so may any other.
                yield Import(f"{node.module}.{alias.name}", node.lineno, typing_only, top_level)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _walk(node.body, typing_only=True, top_level=top_level)
            yield from _walk(node.orelse, typing_only=typing_only, top_level=top_level)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(
                list(ast.iter_child_nodes(node)),
                typing_only=typing_only,
                top_level=top_level and not function,
            )


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def owner(path: Path) -> str:
    """Give the part of the package a file belongs to, `_node` for `_node/worker.py`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def violations(part: str, found: list[Import], may: frozenset[str] = frozenset()) -> Iterator[str]:
    for item in found:
        at = f"line {item.line}: imports {item.module}"
        at_run_time = not item.typing_only
        if item.own == "_core" and at_run_time and part not in IMPORT_CORE:
            yield f"{at}; only {', '.join(sorted(IMPORT_CORE))} talk to the extension"
        if item.own in REGISTRY and at_run_time and part not in IMPORT_REGISTRY | REGISTRY:
            yield f"{at}; verbs name the registry under TYPE_CHECKING only"
        if item.own == TOP and part not in {TOP, START}:
            yield f"{at}; nobody imports the command line"
        if item.is_name_of_package and part not in {TOP, "__init__"}:
            yield f"{at}; inside the package, import the module that defines the name"
        if item.root in HEAVY and item.top_level and at_run_time:
            yield f"{at}; import it inside the function that needs it"
        if item.module == ABOVE or (item.module == BESIDE and part != NODE):
            yield f"{at}; relative imports are for {NODE} alone"
        if part == NODE and at_run_time:
            if item.own is not None and item.own != NODE:
                yield f"{at}; the node's side imports nothing of the owner's"
            if item.root in NODE_NEVER - may:
                yield f"{at}; jobs start without it"


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_rules(path: Path) -> None:
    found = imports(ast.parse(path.read_text(), str(path)))
    name = str(path.relative_to(PACKAGE))
    wrong = list(violations(owner(path), found, NODE_MAY.get(name, frozenset())))
    assert not wrong, "\n".join([name, *wrong])


@pytest.mark.parametrize(
    ("part", "code", "allowed"),
    [
        ("store", "from batchwright import _core", True),
        ("submit", "from batchwright import _core", False),
        ("submit", "from batchwright._core import ArrowTable", False),
        ("submit", "from batchwright.registry import Registry", False),
        ("opening", "from batchwright.registry import Registry", True),
        (
            "submit",
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from batchwright.registry import Registry",
            True,
        ),
        ("submit", "import numpy as np", False),
        ("submit", "def f():\n    import numpy as np", True),
        ("submit", "try:\n    import pyarrow.compute\nexcept ImportError:\n    pass", False),
        ("submit", "class A:\n    import jinja2", False),
        ("_node", "from batchwright._node import frames", True),
        ("_node", "from .frames import Frame", True),
        ("_node", "from ..store import Store", False),
        ("submit", "from .store import Store", False),
        ("_node", "def f():\n    from batchwright.store import Store", False),
        ("_node", "def f():\n    import pyarrow", False),
        ("_node", "def f():\n    import cloudpickle", True),
        ("store", "from batchwright.cli import main", False),
        ("store", "from batchwright import make_registry", False),
        ("store", "import batchwright", False),
    ],
)
def test_the_rules_themselves(part: str, code: str, allowed: bool) -> None:
    assert (not list(violations(part, imports(ast.parse(code))))) is allowed
