"""Trying out one job, here and in a fresh process."""

from __future__ import annotations

import os

import pytest

import batchwright as bw


@pytest.mark.parametrize("external", [False, True])
def test_the_result_is_that_of_the_job(registry: bw.Registry, external: bool) -> None:
    registry.batch_export({"offset": 100})
    registry.batch_map(
        lambda x, y, more, job: (x, y, more, job.id, job.rng.random(), offset),  # noqa: F821 # type: ignore
        [1, 2, 3],
        [(1,), (2,), ("x" * 300_000,)],
        more_args={"more": 7},
    )
    found = registry.test_job(3, external=external)
    assert found[:4] == (3, ("x" * 300_000,), 7, 3)
    assert found[5] == 100
    registry.cluster_functions = bw.Interactive()
    registry.submit_jobs(3)
    assert registry.load_result(3) == found


def test_here_the_original_exception_is_raised(registry: bw.Registry) -> None:
    class Own(Exception): ...

    def fail(x: int) -> None:
        raise Own(x)

    registry.batch_map(fail, [1])
    with pytest.raises(Exception, match="1") as caught:
        registry.test_job(1)
    assert type(caught.value).__name__ == "Own"


def test_outside_the_remote_traceback_is_raised(registry: bw.Registry) -> None:
    registry.batch_map(lambda x: 1 / x, [0])
    with pytest.raises(bw.JobError) as caught:
        registry.test_job(1, external=True)
    error = caught.value
    assert (error.job_id, error.cause, error.type) == (1, "error", "ZeroDivisionError")
    assert "division by zero" in error.traceback
    assert "division by zero" in "".join(error.__notes__)


def test_a_crash_outside_harms_nobody(registry: bw.Registry) -> None:
    registry.batch_map(lambda x: os._exit(x), [3])
    with pytest.raises(bw.JobError) as caught:
        registry.test_job(1, external=True)
    assert caught.value.cause == "crashed"


@pytest.mark.parametrize("external", [False, True])
def test_the_registry_stays_as_it_is(registry: bw.Registry, external: bool) -> None:
    registry.batch_map(abs, [-1])
    before = {path: path.stat().st_mtime_ns for path in registry.file_dir.rglob("*")}
    assert registry.test_job(1, external=external) == 1
    assert {path: path.stat().st_mtime_ns for path in registry.file_dir.rglob("*")} == before
    assert registry.get_status().submitted == 0
