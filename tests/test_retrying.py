"""`retry_jobs` and `explain`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import batchwright as bw


def _die_once(path: str) -> int:
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return 7


def test_lost_jobs_run_again(registry: bw.Registry, tmp_path: Path) -> None:
    registry.sleep = 0.1
    registry.batch_map(_die_once, [str(tmp_path / "a"), str(tmp_path / "b")])
    registry.submit_jobs(resources={"memory": 1000})
    assert not registry.wait_for_jobs(timeout=60)
    assert registry.find_expired(cause="lost") == {1, 2}
    told = registry.explain(1)
    assert (told.state, told.cause) == ("expired", "lost")
    assert "retry_jobs" in told.advice
    assert any("last sign" in item.text for item in told.evidence)
    assert str(told).startswith("Job 1 is expired (lost)\n  registry")
    table = registry.retry_jobs()
    assert table.to_pydict() == {"job_id": [1, 2], "chunk": [1, 2]}
    assert registry.wait_for_jobs(timeout=60)
    assert registry.get_job_table()["attempt"].to_pylist() == [2, 2]


def test_what_lacked_grows_up_to_its_cap(registry: bw.Registry) -> None:
    registry.batch_map(lambda x: 1 / x, [0, 0, 1])
    registry.submit_jobs([1], resources={"memory": 100, "walltime": 60})
    registry.submit_jobs([2, 3], resources={"memory": 900})
    registry.wait_for_jobs(timeout=60)
    assert registry.retry_jobs().num_rows == 0
    grow = {"error": {"memory": 3, "walltime": 2}}
    again = registry.retry_jobs(causes=["error"], grow=grow, caps={"memory": 1000}, limit=2)
    assert again["job_id"].to_pylist() == [1, 2]
    assert len(set(again["chunk"].to_pylist())) == 2
    asked = registry.get_job_resources([1, 2])["resources"].to_pylist()
    assert [one["memory"] for one in asked] == [300, 1000]
    assert asked[0]["walltime"] == 120
    registry.wait_for_jobs(timeout=60)
    assert registry.retry_jobs(causes=["error"], limit=2).num_rows == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"causes": "oom"},
        {"causes": ["omm"]},
        {"limit": 0},
        {"causes": None},
        {"grow": {"oom": {"memory": -1}}},
        {"grow": {"oom": 2}},
        {"grow": 2},
        {"caps": {"memory": "much"}},
        {"caps": 1000},
        {"chunk_size": 0},
    ],
)
def test_arguments_that_are_wrong(registry: bw.Registry, arguments: dict[str, object]) -> None:
    with pytest.raises(bw.ConfigError):
        registry.retry_jobs(**arguments)  # pyright: ignore[reportArgumentType]


def test_both_ways_to_chunk_are_refused_without_jobs_too(registry: bw.Registry) -> None:
    with pytest.raises(bw.SubmitError, match="only one of them"):
        registry.retry_jobs(chunk_size=1, n_chunks=1)


@pytest.fixture
def failed(registry: bw.Registry) -> bw.Registry:
    """One job, which failed; a default that it was submitted without."""
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(lambda x: 1 / x, [0])
    asked = {"timeout": 3, "memory": 1, "threads": 3, "queue": "fast"}
    registry.submit_jobs(resources=asked)
    registry.default_resources = {"walltime": 60}
    return registry


def _asked(reg: bw.Registry) -> dict[str, object]:
    (asked,) = reg.get_job_resources()["resources"].to_pylist()
    return {name: value for name, value in asked.items() if value is not None}


def test_growing_loses_no_fraction_where_there_may_be_one(failed: bw.Registry) -> None:
    grow = {"error": {"timeout": 1.5, "memory": 1.5, "threads": 1.5}}
    failed.retry_jobs(causes=["error"], grow=grow)
    assert _asked(failed) == {"timeout": 4.5, "memory": 1.5, "threads": 5, "queue": "fast"}


def test_the_last_resources_are_asked_for_again(failed: bw.Registry) -> None:
    failed.retry_jobs(causes=(cause for cause in ["error"]), grow=None)
    assert _asked(failed) == {"timeout": 3, "memory": 1, "threads": 3, "queue": "fast"}


def test_only_numbers_grow(failed: bw.Registry) -> None:
    with pytest.raises(bw.ConfigError, match="only numbers grow"):
        failed.retry_jobs(causes=["error"], grow={"error": {"queue": 2}})


@pytest.mark.parametrize("ids", [None, [], [1, 2]])
def test_one_job_is_explained(registry: bw.Registry, ids: object) -> None:
    registry.batch_map(abs, [1, 2])
    with pytest.raises((TypeError, ValueError), match="exactly one job id"):
        registry.explain(ids)  # pyright: ignore[reportArgumentType]
    assert registry.explain(registry.find_jobs(ids=2)).job_id == 2


def test_states_explained(registry: bw.Registry) -> None:
    registry.batch_map(lambda x: 1 / x, [1, 0, 2])
    registry.submit_jobs([1, 2])
    registry.wait_for_jobs(timeout=60)
    assert registry.explain(1).advice.startswith("Its result")
    assert any("ZeroDivisionError" in item.text for item in registry.explain(2).evidence)
    assert registry.explain(3).state == "defined"
    with pytest.raises(bw.UnknownJobError):
        registry.explain(4)
