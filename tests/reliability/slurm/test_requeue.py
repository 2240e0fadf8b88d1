"""Jobs that Slurm runs again, and nodes that are lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import batchwright as bw

pytestmark = pytest.mark.slurm
PATIENCE = 120


def slow_at_first(x: int, folder: str, job: bw.JobCollection) -> int:
    """Job 2 is slow unless it runs for the second time."""
    ran = Path(folder, "ran")
    again = ran.exists() and str(job.id) in ran.read_text().split()
    with ran.open("a") as file:
        file.write(f"{job.id}\n")
    time.sleep(300 if job.id == 2 and not again else 0.01)
    return x * x


def submit_threes(reg: bw.Registry, chunks: int = 1, **resources: object) -> str:
    """Submit chunks of three jobs, of which the second is slow; give its batch id once it runs."""
    values = range(1, 3 * chunks + 1)
    reg.batch_map(slow_at_first, values, more_args={"folder": str(reg.work_dir)})
    reg.submit_jobs(chunk_size=3, resources=resources)
    until(lambda: 1 in reg.find_done() and 2 in reg.find_running())
    return reg.get_job_table([2])["batch_id"][0].as_py()


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def ran(reg: bw.Registry) -> Counter[int]:
    return Counter(int(word) for word in Path(reg.work_dir, "ran").read_text().split())


@pytest.mark.parametrize("chunks", [1, 2], ids=["single", "array"])
def test_waiting_goes_on_while_a_job_is_requeued(registry: bw.Registry, chunks: int) -> None:
    batch = submit_threes(registry, chunks, requeue=True)
    bw.run_command(["scontrol", "requeue", batch])
    assert registry.wait_for_jobs(timeout=PATIENCE)
    jobs = range(1, 3 * chunks + 1)
    assert registry.reduce_results_list() == [x * x for x in jobs]
    assert ran(registry) == {job: 1 + (job == 2) for job in jobs}
    assert set(registry.get_job_table()["attempt"].to_pylist()) == {1}
    told = str(registry.explain(2))
    assert "run 1 on " in told
    assert "ended early: stopped by SIG" in told
    assert "run 2 on " in told


def test_a_requeued_job_is_queued_and_then_runs(registry: bw.Registry) -> None:
    batch = submit_threes(registry, requeue=True)
    bw.run_command(["scontrol", "requeue", batch])
    until(lambda: registry.find_queued() == {2, 3})
    assert registry.find_running() == set()
    assert registry.get_job_table([2])["state"].to_pylist() == ["queued"]
    until(lambda: registry.find_done() == {1, 2, 3})


def test_a_cancelled_job_is_not_waited_for(registry: bw.Registry) -> None:
    batch = submit_threes(registry, requeue=True)
    bw.run_command(["scancel", batch])
    assert not registry.wait_for_jobs(timeout=PATIENCE)
    assert registry.find_done() == {1}
    assert ran(registry) == {1: 1, 2: 1}
