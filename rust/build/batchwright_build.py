"""Build backend: maturin for the extension, plus the executor's binary inside the package.

maturin builds either a library or binaries into one wheel. The nodes need the binary, and it must
be of the same version as the extension, so it is built first, with the same profile into the same
target directory (the core is compiled once), and maturin includes it as a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import *  # noqa: F403 - every other hook stays maturin's

ROOT = Path(__file__).resolve().parents[2]
BINARY = "batchwright-exec"
NO_CARGO = """
building batchwright from source needs Rust 1.95 or later, and `cargo` is not on PATH
hint: install it from https://rustup.rs, open a new shell, and run the command again
"""


def _cargo() -> str:
    cargo = shutil.which("cargo")
    if cargo is None:
        raise SystemExit(NO_CARGO)
    return cargo


def _profile(config_settings: Any) -> str:
    """Give the profile maturin will use: `dist` for uploads, by the same arguments."""
    arguments = iter(maturin.get_maturin_pep517_args(config_settings))
    for argument in arguments:
        if argument == "--profile":
            return next(arguments)
        if argument.startswith("--profile="):
            return argument.removeprefix("--profile=")
    return "release"


def _build_executor(config_settings: Any) -> None:
    profile = _profile(config_settings)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    # pyo3's variable is no concern of a binary, and a change of it would rebuild what is shared.
    env = {k: v for k, v in os.environ.items() if k != "PYO3_BUILD_EXTENSION_MODULE"}
    command = [_cargo(), "build", "--locked", "--profile", profile, "--package", BINARY]
    built = subprocess.run([*command, "--target-dir", target], cwd=ROOT, env=env, check=False)
    if built.returncode != 0:
        raise SystemExit(f"building {BINARY} failed, see cargo's message above")
    folder = ROOT / "python" / "batchwright" / "_bin"
    folder.mkdir(exist_ok=True)
    # Replaced by rename: the executor of an earlier editable install may be running.
    fresh = folder / f".{BINARY}.{os.getpid()}"
    shutil.copy2(target / ("debug" if profile == "dev" else profile) / BINARY, fresh)
    fresh.replace(folder / BINARY)


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Ask for nothing more; without cargo, say so before maturin tries to install one."""
    _cargo()
    return []


get_requires_for_build_editable = get_requires_for_build_wheel


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Build the executor, then the wheel around it."""
    _build_executor(config_settings)
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Build the executor, then the editable wheel around it."""
    _build_executor(config_settings)
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)
