"""A real Slurm that is asked much, and parts of which fail; `tests/clusters/slurm-up` starts it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import batchwright as bw

CLUSTERS = Path(__file__).parents[2] / "clusters"
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "srun")
COUNTED = """#!/bin/sh
echo {name} >>{log}
exec {real} "$@"
"""


@pytest.fixture(autouse=True)
def _needs_slurm() -> None:
    if not (os.environ.get("SLURM_CONF") and shutil.which("sbatch")):
        pytest.skip("no Slurm here: run tests/clusters/slurm-up")


@pytest.fixture
def registry(tmp_path: Path, _needs_slurm: None) -> Iterator[bw.Registry]:
    """An empty registry on Slurm; what it still runs is killed."""
    reg = bw.make_registry(tmp_path / "registry", conf_file=None, work_dir=tmp_path, seed=1)
    reg.cluster_functions = bw.Slurm(fs_latency=2)
    reg.sleep = 0.5
    yield reg
    if reg.writeable:
        reg.kill_jobs()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """Count the commands of Slurm that are run from now on."""
    folder, log = tmp_path / "counted", tmp_path / "commands"
    folder.mkdir()
    for name in COMMANDS:
        wrapper = folder / name
        wrapper.write_text(COUNTED.format(name=name, log=log, real=shutil.which(name)))
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    log.touch()
    return lambda: Counter(log.read_text().split())


class Nodes:
    """The pretended nodes of `slurm-up`, by name."""

    def of(self, batch_id: str) -> str:
        """Say on which node a job runs."""
        return said("squeue", "--noheader", "--format=%N", f"--jobs={batch_id}")

    def lose(self, node: str) -> None:
        """Kill a node at once: its daemon, who watches its jobs, and the jobs."""
        jobs = [process for process in processes() if is_on(node, process)]
        watching = {parent for job in jobs if is_watcher(parent := parent_of(job))}
        daemon = Path(os.environ["SLURM_CONF"]).parent / "run" / f"slurmd.{node}.pid"
        for process in (int(daemon.read_text()), *watching, *jobs):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def take_down(self, node: str) -> None:
        """Take a node out of service at once, as an administrator does."""
        said("scontrol", "update", f"nodename={node}", "state=down", "reason=test")


def said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def told_by_kernel(process: int, name: str) -> bytes:
    """Read a file of a process; nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except OSError:
        return b""


def is_on(node: str, process: int) -> bool:
    return f"SLURMD_NODENAME={node}".encode() in told_by_kernel(process, "environ").split(b"\0")


def parent_of(process: int) -> int:
    after_name = told_by_kernel(process, "stat").rpartition(b") ")[2].split()
    return int(after_name[1]) if after_name else 0


def is_watcher(process: int) -> bool:
    return told_by_kernel(process, "comm").strip() == b"slurmstepd"


def healed() -> None:
    subprocess.run(["bash", str(CLUSTERS / "slurm-up")], check=True, capture_output=True)


@pytest.fixture
def nodes(_needs_slurm: None) -> Iterator[Nodes]:
    """Nodes that may be lost; they are back afterwards."""
    yield Nodes()
    healed()


class Controller:
    """Slurm's controller, which can be away for a while."""

    def stop(self) -> None:
        """Stop it in good order: killed, Slurm itself would forget what it accepted last."""
        pid = int((Path(os.environ["SLURM_CONF"]).parent / "run" / "slurmctld.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        while told_by_kernel(pid, "cmdline"):
            time.sleep(0.1)

    def start(self) -> None:
        """Start it again; it knows its jobs."""
        healed()


@pytest.fixture
def controller(_needs_slurm: None) -> Iterator[Controller]:
    """A controller that may be stopped; it is back afterwards."""
    yield Controller()
    healed()
