"""Slurm lists a job long after it has accepted it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import batchwright as bw

pytestmark = pytest.mark.slurm
LATE = """#!/bin/sh
[ "$(date +%s)" -lt "{until}" ] || exec {real} "$@"
"""


def test_a_job_that_is_listed_late_is_not_believed_dead(
    registry: bw.Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: Callable[[int, int], int],
) -> None:
    seconds = rounds(8, 60)
    registry.cluster_functions = bw.Slurm(fs_latency=seconds + 5)
    folder = tmp_path / "late"
    folder.mkdir()
    until = int(time.time()) + seconds + 1
    for name in ("squeue", "sacct"):
        (folder / name).write_text(LATE.format(until=until, real=shutil.which(name)))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    registry.batch_map(lambda x: -x, [1, 2])
    # It waits in the queue for so long, so that no run file speaks for it.
    registry.submit_jobs(resources={"dependency": f"afterany:{blocker(seconds)}"})
    assert registry.wait_for_jobs(timeout=seconds + 120)
    assert registry.reduce_results_list() == [-1, -2]
    assert registry.get_job_table()["attempt"].to_pylist() == [1, 1]


def blocker(seconds: int) -> str:
    """Submit a job that others can be told to wait for."""
    done = bw.run_command(["sbatch", "--parsable", "-o", "/dev/null", f"--wrap=sleep {seconds}"])
    return done.stdout.strip()
