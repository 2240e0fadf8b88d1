"""What an installation holds: extension and executor of one version, in one place."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import tomllib
from pathlib import Path

import batchwright
from batchwright import _core

ROOT = Path(__file__).parents[2]
EXECUTOR = Path(batchwright.__file__).parent / "_bin" / "batchwright-exec"


def test_extension_executor_and_metadata_have_the_version_of_the_workspace() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    version = workspace["package"]["version"]
    assert _core.__version__ == version
    assert importlib.metadata.version("batchwright") == version
    shown = subprocess.run([EXECUTOR, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"batchwright-exec {version}\n"


def test_executor_is_executable_by_all() -> None:
    assert os.access(EXECUTOR, os.X_OK)
    assert EXECUTOR.stat().st_mode & 0o111 == 0o111


def test_types_are_shipped() -> None:
    assert (Path(batchwright.__file__).parent / "py.typed").is_file()


def test_members_of_the_workspace_are_what_the_extension_carries() -> None:
    # The sdist holds only crates that the extension depends on; the executor must be one.
    extension = tomllib.loads((ROOT / "rust/py/Cargo.toml").read_text())
    assert {"batchwright-core", "batchwright-exec"} <= extension["dependencies"].keys()
