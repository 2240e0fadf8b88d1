"""What states jobs are in, counted and found."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

import batchwright as bw


def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@pytest.fixture
def ran(registry: bw.Registry) -> bw.Registry:
    """Five jobs: 1 and 3 done, 2 failed, 4 and 5 not submitted."""
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(odd_only, range(1, 6))
    registry.submit_jobs([1, 2, 3])
    return registry


def test_a_job_counts_in_each_state_it_reached(ran: bw.Registry) -> None:
    assert asdict(ran.get_status()) == {
        "defined": 5,
        "submitted": 3,
        "queued": 0,
        "started": 3,
        "running": 0,
        "done": 2,
        "error": 1,
        "expired": 0,
        "system": 0,
    }


def test_status_of_some_jobs(ran: bw.Registry) -> None:
    status = ran.get_status([2, 3])
    assert (status.defined, status.done, status.error) == (2, 1, 1)
    assert ran.get_status([]).defined == 0


def test_status_prints_as_in_batchtools(ran: bw.Registry) -> None:
    first, *lines = str(ran.get_status()).split("\n")
    assert re.fullmatch(r"Status for 5 jobs at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d:", first)
    assert lines == [
        "  Submitted    : 3 ( 60.0%)",
        "  -- Queued    : 0 (  0.0%)",
        "  -- Started   : 3 ( 60.0%)",
        "  ---- Running : 0 (  0.0%)",
        "  ---- Done    : 2 ( 40.0%)",
        "  ---- Error   : 1 ( 20.0%)",
        "  ---- Expired : 0 (  0.0%)",
    ]


def test_numbers_are_aligned() -> None:
    status = bw.Status(10, 10, 0, 8, 0, 8, 0, 2, 0)
    assert "  Submitted    : 10 (100.0%)\n  -- Queued    :  0 (  0.0%)" in str(status)


def test_no_jobs_have_no_percentages_to_fail_on(registry: bw.Registry) -> None:
    assert "Status for 0 jobs" in str(registry.get_status())
    assert "0 (  0.0%)" in str(registry.get_status())


def test_status_is_a_value(ran: bw.Registry) -> None:
    status = ran.get_status()
    assert status == ran.get_status()
    with pytest.raises(FrozenInstanceError):
        status.done = 3  # type: ignore[misc]
    assert "<td>Done</td>" in re.sub(r" style='[^']*'", "", status._repr_html_())


@pytest.mark.parametrize(
    ("verb", "ids"),
    [
        ("find_submitted", {1, 2, 3}),
        ("find_not_submitted", {4, 5}),
        ("find_started", {1, 2, 3}),
        ("find_not_started", {4, 5}),
        ("find_done", {1, 3}),
        ("find_not_done", {2, 4, 5}),
        ("find_errors", {2}),
        ("find_expired", set()),
        ("find_on_system", set()),
        ("find_running", set()),
        ("find_queued", set()),
    ],
)
def test_jobs_are_found_by_state(ran: bw.Registry, verb: str, ids: set[int]) -> None:
    assert getattr(ran, verb)() == ids
    assert getattr(ran, verb)([2, 3, 4]) == ids & {2, 3, 4}
    assert getattr(ran, verb)([]) == set()


def test_failures_are_found_by_cause(ran: bw.Registry) -> None:
    assert ran.find_errors(cause="error") == {2}
    assert ran.find_errors(cause="oom") == set()
    wrong: Any = "bad luck"
    with pytest.raises(ValueError, match=r"'bad luck'.*walltime"):
        ran.find_expired(cause=wrong)
