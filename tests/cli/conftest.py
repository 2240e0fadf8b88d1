from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import batchwright as bw
from batchwright.cli.main import program

STUDY = """\
def simulate(n, rate=1.0):
    print("n is", n)
    if n == 3:
        raise ValueError("three is odd")
    return {"y": n * rate}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with `study.py`; what its registry still runs is killed."""
    here = tmp_path / "work"
    here.mkdir()
    (here / "study.py").write_text(STUDY)
    monkeypatch.chdir(here)
    monkeypatch.delenv("BATCHWRIGHT_REGISTRY", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield here
    if (here / "registry" / "registry.json").is_file():
        with bw.load_registry(here / "registry", make_default=False, writeable=True) as reg:
            reg.kill_jobs()


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program in a process of its own."""

    def call(*arguments: str, code: int = 0, input: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "batchwright", *arguments],
            cwd=folder,
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "default::UserWarning"},
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr or "test" in arguments
        return done

    return call


@pytest.fixture
def invoke(folder: Path) -> Callable[..., Result]:
    """Run the program in this process."""

    def call(*arguments: str, code: int = 0, input: str | None = None) -> Result:
        result = CliRunner().invoke(program, list(arguments), input=input, prog_name="batchwright")
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def study(folder: Path) -> bw.Registry:
    """Four jobs of `simulate`, run in this process; the third failed, the fourth is defined."""
    with bw.make_registry("registry", conf_file=None, make_default=False, seed=1) as reg:
        reg.cluster_functions = bw.Interactive()
        scope: dict[str, object] = {"__name__": "__main__"}
        exec(STUDY, scope)
        fun = scope["simulate"]
        assert callable(fun)
        reg.batch_map(fun, n=[1, 2, 3, 4])
        reg.submit_jobs([1, 2, 3])
    return reg
