"""Nodes that die under their jobs, or are taken out of service."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import batchwright as bw

pytestmark = [pytest.mark.slurm, pytest.mark.disruptive]
PATIENCE = 180


def slow_at_first(x: int, folder: str, job: bw.JobCollection) -> int:
    """Job 2 is slow unless it runs for the second time."""
    ran = Path(folder, "ran")
    again = ran.exists() and str(job.id) in ran.read_text().split()
    with ran.open("a") as file:
        file.write(f"{job.id}\n")
    time.sleep(300 if job.id == 2 and not again else 0.01)
    return x * x


def running_on(reg: bw.Registry, nodes: Any, **resources: object) -> str:
    """Submit a chunk of three jobs; give its node once the second, the slow one, runs."""
    reg.batch_map(slow_at_first, [1, 2, 3], more_args={"folder": str(reg.work_dir)})
    reg.submit_jobs(n_chunks=1, resources=resources)
    until(lambda: reg.find_done() == {1} and reg.find_running() == {2})
    return nodes.of(reg.get_job_table([2])["batch_id"][0].as_py())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def ran(reg: bw.Registry) -> list[str]:
    return Path(reg.work_dir, "ran").read_text().split()


@pytest.mark.parametrize("how", ["dies", "down"])
def test_the_node_is_told_and_the_jobs_are_tried_again(
    registry: bw.Registry, nodes: Any, how: str
) -> None:
    node = running_on(registry, nodes, requeue=False)
    if how == "dies":
        nodes.lose(node)
    else:
        nodes.take_down(node)
    assert not registry.wait_for_jobs(timeout=PATIENCE)
    table = registry.get_job_table([2]).to_pylist()[0]
    assert (table["cause"], table["host"] is not None) == ("node", True)
    assert f"({node})" in str(registry.explain(2))
    assert registry.find_done() == {1}
    assert 2 in registry.retry_jobs()["job_id"].to_pylist()
    assert registry.wait_for_jobs(timeout=PATIENCE)
    assert registry.reduce_results_list() == [1, 4, 9]
    assert sorted(ran(registry)) == ["1", "2", "2", "3"]


def test_a_job_of_a_dead_node_runs_on_another(registry: bw.Registry, nodes: Any) -> None:
    nodes.lose(running_on(registry, nodes, requeue=True))
    assert registry.wait_for_jobs(timeout=PATIENCE)
    assert registry.reduce_results_list() == [1, 4, 9]
    assert sorted(ran(registry)) == ["1", "2", "2", "3"]
    assert registry.get_job_table()["attempt"].to_pylist() == [1, 1, 1]
