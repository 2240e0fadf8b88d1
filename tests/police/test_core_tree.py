"""The core knows nothing of Python, and the executor nothing of Arrow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def dependencies(package: str, *arguments: str) -> set[str]:
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("needs cargo")
    command = [cargo, "tree", "--locked", "--package", package, "--edges", "normal"]
    tree = subprocess.run(
        [*command, "--prefix", "none", "--format", "{p}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.split()[0] for line in tree.stdout.splitlines() if line}


def test_the_core_does_not_depend_on_python() -> None:
    found = dependencies("batchwright-core", "--features", "arrow")
    assert "arrow-array" in found
    assert not {name for name in found if name.startswith("pyo3") or name == "numpy"}


def test_the_executor_depends_on_neither_arrow_nor_python() -> None:
    found = dependencies("batchwright-exec")
    assert "batchwright-core" in found
    forbidden = ("arrow-", "pyo3", "numpy", "rayon", "tokio")
    assert not {name for name in found if name.startswith(forbidden)}
