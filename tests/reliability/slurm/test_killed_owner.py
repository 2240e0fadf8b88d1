"""Owners killed while they submit: every chunk reaches Slurm once, every job runs once."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import batchwright as bw

pytestmark = pytest.mark.slurm
OWNER = Path(__file__).with_name("owner.py")
WRAPPER = Path(__file__).parents[2] / "conformance" / "wrapped_submit.sh"
PER_CHUNK = 10
SMALL_ARRAYS = """#!/bin/sh
[ "$*" = "show config" ] || exec {real} "$@"
echo "MaxArraySize = {size}"
"""


@pytest.fixture
def wrapped(tmp_path: Path) -> dict[str, str]:
    """An environment whose sbatch misbehaves and leaves the ids of what was accepted."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(WRAPPER, folder / "sbatch")
    noting = tmp_path / "noting"
    noting.mkdir()
    real = shutil.which("sbatch")
    (noting / "sbatch").write_text(f'#!/bin/sh\n{real} "$@" | tee -a "$ACCEPTED"\n')
    (noting / "sbatch").chmod(0o755)
    path = os.pathsep.join([str(folder), str(noting), os.environ["PATH"]])
    return os.environ | {"PATH": path}


def arrays_of(folder: Path, size: int) -> None:
    """Let Slurm say that its largest array is a small one, so that a call takes several."""
    scontrol = folder / "scontrol"
    scontrol.write_text(SMALL_ARRAYS.format(real=shutil.which("scontrol"), size=size + 1))
    scontrol.chmod(0o755)


def owner_dies(path: Path, chunks: int, array: str, env: dict[str, str], **how: object) -> None:
    """Let an owner submit, and be killed by its sbatch."""
    settings = {f"WRAPPED_{name.upper()}": str(value) for name, value in how.items()}
    files = {"WRAPPED_CALLS": f"{path}.calls", "ACCEPTED": f"{path}.accepted"}
    words = [sys.executable, str(OWNER), str(path), str(chunks), array]
    ended = subprocess.run(words, env=env | settings | files, check=False, stderr=subprocess.PIPE)
    assert ended.returncode == -9, ended.stderr.decode()


def followed(path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> bw.Registry:
    """Take over, by commands that behave."""
    monkeypatch.setenv("PATH", env["PATH"])
    monkeypatch.setenv("WRAPPED_CALLS", f"{path}.calls")
    monkeypatch.setenv("WRAPPED_AT", "0")
    monkeypatch.setenv("ACCEPTED", f"{path}.accepted")
    reg = bw.load_registry(path, conf_file=None, writeable=True, make_default=False)
    reg.sleep = 0.5
    return reg


def finish(reg: bw.Registry, timeout: float) -> int:
    """Settle what is in doubt, submit the rest, wait; give how many jobs were left to submit."""
    with warnings.catch_warnings(action="ignore"):
        deadline = time.monotonic() + timeout
        while reg.sync_registry() or reg.store.doubts:
            assert time.monotonic() < deadline, "still in doubt"
            time.sleep(0.2)
        left = reg.find_not_submitted()
        if left:
            reg.submit_jobs(left, chunk_size=PER_CHUNK)
        assert reg.wait_for_jobs(timeout=timeout)
    return len(left)


def runs(path: Path) -> Counter[str]:
    return Counter(Path(f"{path}.ran").read_text().split())


def tasks_accepted(path: Path, at_least: int) -> int:
    """Count the jobs, and tasks of arrays, that Slurm's accounting has of these submissions."""
    ids = ",".join(Path(f"{path}.accepted").read_text().split())
    command = ["sacct", "-n", "-P", "-X", "-D", "-j", ids, "--format=JobID"]
    deadline = time.monotonic() + 30
    while True:
        rows = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        # It lags: tasks that it takes for waiting are one row.
        is_complete = len(rows) >= at_least and not any("[" in row for row in rows)
        if is_complete or time.monotonic() > deadline:
            return len(rows)
        time.sleep(1)


def test_killed_in_the_middle_of_many_chunks(
    wrapped: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: Callable[[int, int], int],
    figures: Callable[..., None],
) -> None:
    chunks = rounds(60, 2000)
    arrays_of(tmp_path / "bin", chunks // 10)
    path = tmp_path / "registry"
    owner_dies(path, chunks, "array", wrapped, how="kills-the-owner", at=5)
    with followed(path, wrapped, monkeypatch) as reg:
        left = finish(reg, timeout=1200)
        assert left == PER_CHUNK * chunks // 2, "five arrays of ten were accepted"
        assert reg.reduce_results_list() == [x * x for x in range(PER_CHUNK * chunks)]
        batches = set(reg.get_job_table()["batch_id"].to_pylist())
    ran = runs(path)
    lost, twice = PER_CHUNK * chunks - len(ran), sum(count > 1 for count in ran.values())
    assert (lost, twice) == (0, 0)
    assert len(batches) == tasks_accepted(path, chunks) == chunks
    figures(jobs=PER_CHUNK * chunks, chunks=chunks, submitted_after=left, lost=lost, twice=twice)


@pytest.mark.parametrize("array", ["array", "single"])
def test_killed_before_the_answer_is_recorded(
    wrapped: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: Callable[[int, int], int],
    figures: Callable[..., None],
    array: str,
) -> None:
    """Half of the successors look at once, while the jobs wait or begin; half look when all ran."""
    kills, chunks = rounds(2, 25), 3
    counts: Counter[str] = Counter()
    for number in range(kills):
        path = tmp_path / f"registry{number}"
        at = 1 if array == "array" else random.randint(1, chunks)
        owner_dies(path, chunks, array, wrapped, how="kills-the-owner", at=at)
        accepted = chunks if array == "array" else at
        if number % 2:
            wait_for(lambda path=path, n=accepted: len(jobs_ran(path)) == PER_CHUNK * n)
        with followed(path, wrapped, monkeypatch) as reg:
            left = finish(reg, timeout=120)
            assert left == PER_CHUNK * (chunks - accepted), "the accepted ones were adopted"
            assert reg.reduce_results_list() == [x * x for x in range(PER_CHUNK * chunks)]
        ran = runs(path)
        counts["kills"] += 1
        counts["adopted"] += accepted
        counts["lost"] += PER_CHUNK * chunks - len(ran)
        counts["twice"] += sum(count > 1 for count in ran.values())
        counts["submitted twice"] += tasks_accepted(path, chunks) - chunks
    figures(**counts)
    assert counts["kills"] == kills
    assert counts["lost"] == counts["twice"] == counts["submitted twice"] == 0


def jobs_ran(path: Path) -> set[str]:
    ran = Path(f"{path}.ran")
    return set(ran.read_text().split()) if ran.exists() else set()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
