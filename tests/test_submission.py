"""Submitting: chunks, resources, attempts, backends of one's own."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import batchwright as bw


class Queue(bw.ClusterFunctions):
    """A scheduler that accepts, remembers, and runs when told."""

    name = "queue"

    def __init__(self) -> None:
        self.chunks: list[bw.JobCollection] = []
        self.waiting: dict[str, bw.JobCollection] = {}
        self.answers: list[bw.SubmitResult] = []
        self.killed: list[str] = []

    def submit(self, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        if self.answers:
            return self.answers.pop(0)
        batch = str(len(self.chunks) + 1)
        self.chunks.append(jc)
        self.waiting[batch] = jc
        return bw.SubmitResult(0, (batch,))

    def list_jobs(self, reg: bw.Registry) -> dict[str, bw.BatchState]:
        return dict.fromkeys(self.waiting, bw.BatchState("queued"))

    def kill(self, reg: bw.Registry, batch_ids: Sequence[str]) -> None:
        for batch in batch_ids:
            self.killed.append(batch)
            self.waiting.pop(batch, None)

    def run(self) -> None:
        for jc in self.waiting.values():
            subprocess.run(jc.command, check=True)
        self.waiting.clear()

    @property
    def jobs(self) -> list[list[int]]:
        return [jc.jobs["job_id"].to_pylist() for jc in self.chunks]


@pytest.fixture
def queue(registry: bw.Registry) -> Queue:
    backend = Queue()
    with warnings.catch_warnings(action="ignore"):
        registry.cluster_functions = backend
    registry.sleep = 0.01
    registry.batch_map(lambda x: x, np.arange(10))
    return backend


def test_each_job_is_a_chunk_by_default(registry: bw.Registry, queue: Queue) -> None:
    table = registry.submit_jobs([3, 1])
    assert table.to_pydict() == {"job_id": [1, 3], "chunk": [1, 2]}
    assert queue.jobs == [[1], [3]]
    assert registry.find_submitted() == {1, 3}


def test_by_default_what_was_not_submitted_is(registry: bw.Registry, queue: Queue) -> None:
    registry.submit_jobs([1, 2])
    assert registry.submit_jobs()["job_id"].to_pylist() == list(range(3, 11))
    assert registry.submit_jobs().num_rows == 0


def test_an_empty_selection_is_no_job(registry: bw.Registry, queue: Queue) -> None:
    assert registry.submit_jobs([]).num_rows == 0
    assert queue.chunks == []


@pytest.mark.parametrize(
    ("chunking", "expected"),
    [
        ({"chunk_size": 4}, [[1, 2, 3, 4], [5, 6, 7], [8, 9, 10]]),
        ({"n_chunks": 2}, [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]),
        ({"n_chunks": 20}, [[i] for i in range(1, 11)]),
        ({"chunks": [5, 2] * 5}, [[2, 4, 6, 8, 10], [1, 3, 5, 7, 9]]),
    ],
    ids=str,
)
def test_chunks(
    registry: bw.Registry, queue: Queue, chunking: dict[str, Any], expected: list[list[int]]
) -> None:
    registry.submit_jobs(**chunking)
    assert queue.jobs == expected


def test_chunks_belong_to_the_ids_as_passed(registry: bw.Registry, queue: Queue) -> None:
    table = registry.submit_jobs([7, 3, 7, 5], chunks=[1, 2, 1, 1])
    assert table.to_pydict() == {"job_id": [3, 5, 7], "chunk": [2, 1, 1]}


@pytest.mark.parametrize("library", [pa.table, pd.DataFrame])
def test_a_table_of_ids_says_chunks_and_resources(
    registry: bw.Registry, queue: Queue, library: Any
) -> None:
    table = library(
        {
            "job_id": [1, 2, 3],
            "chunk": [9, 9, 4],
            "memory": [100, 300, 200],
            "walltime": [60.0, None, 30.0],
            "other": ["x", "y", "z"],
        }
    )
    registry.submit_jobs(table, resources={"walltime": 45, "parallel": 2})
    assert queue.jobs == [[3], [1, 2]]
    asked = [dict(jc.resources) for jc in queue.chunks]
    assert asked[0] == {"memory": 400, "ncpus": 2, "parallel": 2, "walltime": 30}
    assert asked[1] == {"memory": 600, "ncpus": 2, "parallel": 2, "walltime": 60}


def test_resources_are_merged_by_name(registry: bw.Registry, queue: Queue) -> None:
    registry.default_resources = {"walltime": 60, "memory": 10}
    registry.submit_jobs(1, resources={"memory": 20, "partition": "short"})
    assert queue.chunks[0].resources == {"walltime": 60, "memory": 20, "partition": "short"}
    found = registry.get_job_resources(1)["resources"][0].as_py()
    assert found == {"walltime": 60, "memory": 20, "partition": "short"}


def test_jobs_on_the_system_are_not_submitted_again(registry: bw.Registry, queue: Queue) -> None:
    registry.submit_jobs([1, 2])
    with pytest.raises(bw.JobsOnSystemError, match="job 2"):
        registry.submit_jobs([2, 3])
    assert registry.find_submitted() == {1, 2}


def test_ended_jobs_start_a_new_attempt(registry: bw.Registry, queue: Queue) -> None:
    for attempt in (1, 2):
        registry.submit_jobs(1)
        queue.run()
        assert registry.wait_for_jobs(timeout=10)
        assert registry.get_job_status(1)["attempt"].to_pylist() == [attempt]


def test_temporary_errors_are_tried_again(registry: bw.Registry, queue: Queue) -> None:
    queue.answers = [bw.SubmitResult(1, message="busy"), bw.SubmitResult(100)]
    registry.submit_jobs(1)
    assert queue.jobs == [[1]]


@pytest.mark.parametrize("status", [101, 300, -1])
def test_a_final_error_takes_back_what_was_not_accepted(
    registry: bw.Registry, queue: Queue, status: int
) -> None:
    queue.answers = [bw.SubmitResult(0, ("x",)), bw.SubmitResult(status, message="no such queue")]
    with pytest.raises(bw.SubmitError, match="no such queue"):
        registry.submit_jobs([1, 2, 3])
    assert registry.find_submitted() == {1}


def test_ctrl_c_takes_back_what_was_not_accepted(registry: bw.Registry, queue: Queue) -> None:
    accept = queue.submit

    def submit(reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        if len(queue.chunks) == 2:
            raise KeyboardInterrupt
        return accept(reg, jc)

    queue.submit = submit  # type: ignore
    with pytest.raises(KeyboardInterrupt):
        registry.submit_jobs()
    assert registry.find_submitted() == {1, 2}


def test_killing_makes_the_requested_defined_and_siblings_expired(
    registry: bw.Registry, queue: Queue
) -> None:
    registry.submit_jobs([1, 2, 3], chunks=[1, 1, 2])
    table = registry.kill_jobs(1)
    assert table.to_pydict() == {
        "job_id": [1, 2],
        "batch_id": ["1", "1"],
        "killed": [True, True],
        "requested": [True, False],
    }
    assert queue.killed == ["1"]
    assert registry.find_expired(cause="killed") == {2}
    assert registry.find_not_submitted([1, 2, 3]) == {1}
    assert registry.find_on_system() == {3}


def test_resetting_needs_the_given_jobs_idle(registry: bw.Registry, queue: Queue) -> None:
    registry.submit_jobs(1)
    queue.run()
    registry.wait_for_jobs(timeout=10)
    registry.submit_jobs(2)
    assert registry.reset_jobs(1) == {1}
    with pytest.raises(bw.JobsOnSystemError):
        registry.reset_jobs([1, 2])
    assert registry.find_done() == set()
    assert registry.reset_jobs(None) == set()


def test_a_plan_is_what_would_be_done(registry: bw.Registry, queue: Queue) -> None:
    plan = registry.plan_submission(chunk_size=5, resources={"memory": 10, "parallel": 3})
    assert plan.table["n_jobs"].to_pylist() == [5, 5]
    assert plan.table["memory"].to_pylist() == [30, 30]
    assert plan.table["ncpus"].to_pylist() == [3, 3]
    assert "run" in plan.script(1)
    assert registry.get_status().submitted == 0


def test_a_plan_takes_what_submitting_takes_and_prints(registry: bw.Registry, queue: Queue) -> None:
    plan = registry.plan_submission([1], sleep=1, progress=False)
    assert str(plan) == repr(plan)
    assert str(plan).startswith("1 job in 1 chunk by 1 call")
    with pytest.raises(bw.ConfigError, match="sleep"):
        registry.plan_submission(sleep="long")  # pyright: ignore[reportArgumentType]
    with pytest.raises(IndexError, match="no chunk at place 1"):
        plan.script(1)


@pytest.mark.parametrize("timeout", [None, float("inf")])
def test_waiting_without_an_end(registry: bw.Registry, queue: Queue, timeout: float | None) -> None:
    registry.submit_jobs([1, 2])
    queue.run()
    assert registry.wait_for_jobs(timeout=timeout)
    assert list(registry.as_completed(timeout=timeout)) == [1, 2]


def test_vanished_jobs_expire_after_looks(registry: bw.Registry, queue: Queue) -> None:
    registry.submit_jobs(1)
    queue.waiting.clear()
    assert not registry.wait_for_jobs(expire_after=1, timeout=30)
    assert registry.find_expired(cause="not_started") == {1}


def test_waiting_gives_up_aloud(registry: bw.Registry, queue: Queue) -> None:
    registry.submit_jobs(1)
    with pytest.warns(UserWarning, match="not ended"):
        assert registry.wait_for_jobs(timeout=0) is False
    with pytest.warns(UserWarning, match="not submitted"):
        assert registry.wait_for_jobs([5], timeout=0) is True
    with pytest.raises(TimeoutError):
        list(registry.as_completed(timeout=0.1))


def test_functions_make_a_backend(registry: bw.Registry) -> None:
    said: list[str] = []

    def submit(reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        done = bw.run_command(jc.command)
        said.append("submit")
        return (
            bw.SubmitResult(0, ("7",))
            if done.exit_code == 0
            else bw.SubmitResult.from_failure(done)
        )

    hooks = {
        hook: lambda reg, hook=hook: said.append(hook) for hook in ("pre_submit", "post_submit")
    }
    with pytest.warns(UserWarning, match="not stored"):
        registry.cluster_functions = bw.make_cluster_functions("mine", submit, hooks=hooks)
    registry.batch_map(lambda x: x * 2, [4])
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=10)
    assert registry.load_result(1) == 8
    assert said == ["pre_submit", "submit", "post_submit"]
    with pytest.raises(bw.ConfigError, match="pre_submit"):
        bw.make_cluster_functions("mine", submit, hooks={"pre_submitt": print})


def test_collections_can_be_run_by_hand(registry: bw.Registry, queue: Queue) -> None:
    jc = registry.make_job_collection([2, 4])
    assert jc.jobs["job_id"].to_pylist() == [2, 4]
    assert bw.do_job_collection(jc.uri) == jc.job_hash
    other = registry.make_job_collection([5])
    assert bw.do_job_collection(other) == other.job_hash
    assert registry.find_done() == {2, 4, 5}


@pytest.mark.parametrize(
    "make",
    [
        lambda: pa.table({"job_id": [1, 2, 3], "chunk": [7, 7, 9]}).to_reader(),
        lambda: pl.LazyFrame({"job_id": [1, 2, 3], "chunk": [7, 7, 9]}),
    ],
)
def test_tables_that_can_be_read_once_are(registry: bw.Registry, make: Any) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(abs, [1, 2, 3])
    assert registry.submit_jobs(make())["chunk"].to_pylist() == [7, 7, 9]


def test_chunks_pair_with_ids_of_an_iterator(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(abs, [1, 2])
    chunks = registry.submit_jobs(iter([2, 1]), chunks=[5, 6])
    assert dict(zip(*chunks.to_pydict().values(), strict=True)) == {1: 6, 2: 5}
