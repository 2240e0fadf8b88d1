"""Other programs that do the same: how each step of theirs is called, and up to which size.

A step that takes minutes at a size is measured at a smaller one; the report says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Step:
    """One process of a peer; steps of one peer run in order, each upon what those before left."""

    name: str
    most: int
    """The largest number of jobs that takes a reasonable time."""
    once: bool = False


@dataclass(frozen=True)
class Peer:
    """Another program."""

    name: str
    script: str
    steps: tuple[Step, ...]
    module: str = ""
    """Which Python module it needs; empty for R."""

    def command(self, step: Step, n: int, folder: Path, python: str) -> list[str]:
        """Give the command of a step."""
        program = python if self.module else "Rscript"
        return [program, os.fspath(HERE / self.script), step.name, str(n), os.fspath(folder)]

    def missing(self, python: str) -> str:
        """Say what is not installed; empty if all is there."""
        if not self.module:
            if shutil.which("Rscript") is None:
                return "R is not installed"
            check = ["Rscript", "-e", "library(batchtools)"]
        else:
            check = [python, "-c", f"import {self.module}"]
        found = subprocess.run(check, capture_output=True, check=False)
        return "" if found.returncode == 0 else f"{self.name} is not installed"


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "batchtools",
            "batchtools.R",
            (
                Step("define", 1_000_000),
                Step("reopen", 1_000_000),
                Step("query", 1_000_000),
                Step("run", 10_000),
                Step("reopen-finished", 10_000),
                Step("collect", 10_000),
                Step("grep", 10_000),
                Step("sync", 1_000_000),
                Step("submit", 1_000),
                Step("poll", 100_000),
                Step("packing", 100_000),
                Step("experiments", 100_000),
                Step("start", 1, once=True),
            ),
        ),
        Peer(
            "joblib",
            "joblib_peer.py",
            (Step("run", 1_000_000), Step("memory", 10_000)),
            module="joblib",
        ),
        Peer(
            "submitit",
            "submitit_peer.py",
            (Step("run", 20), Step("array", 10_000)),
            module="submitit",
        ),
    )
}


def environment() -> dict[str, str]:
    """Give the variables of a peer's process: it finds `measuring` beside the peers."""
    return {**os.environ, "PYTHONPATH": os.fspath(HERE.parent)}


def default_python() -> str:
    """Give the interpreter that runs peers in Python unless told otherwise."""
    return sys.executable
