"""Map, submit, wait and collect in one call."""

from __future__ import annotations

import pytest

import batchwright as bw


def test_lapply_gives_results_in_order(registry: bw.Registry) -> None:
    assert bw.btlapply([3, 1, 2], lambda x, p: x**p, p=2, n_chunks=2) == [9, 1, 4]
    assert bw.get_default_registry() is registry
    assert len(registry.find_jobs()) == 0


def test_lapply_of_nothing() -> None:
    assert bw.btlapply([], abs) == []


def test_mapply_takes_columns(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    assert bw.btmapply(
        lambda x, y, z: (x, y, z), [1, 2], y="a", more_args={"z": 0}, reg=registry
    ) == [
        (1, "a", 0),
        (2, "a", 0),
    ]


def test_a_failed_job_is_raised_and_the_rest_stays(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    with pytest.raises(bw.JobError, match="division"):
        bw.btlapply([1, 0], lambda x: 1 / x, reg=registry)
    assert registry.load_result(1) == 1
