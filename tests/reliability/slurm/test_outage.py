"""Slurm's controller is away: nothing is lost, nothing happens twice, and the user is told once."""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import batchwright as bw

pytestmark = [pytest.mark.slurm, pytest.mark.disruptive]
PATIENCE = 150


def appended(x: int, path: str, seconds: float, job: bw.JobCollection) -> int:
    time.sleep(seconds)
    with Path(path).open("a") as file:
        file.write(f"{job.id}\n")
    return x * x


def away(controller: Any, after: float, seconds: float) -> threading.Thread:
    """Take the controller away after a while, for a while."""

    def outage() -> None:
        time.sleep(after)
        controller.stop()
        time.sleep(seconds)
        controller.start()

    thread = threading.Thread(target=outage)
    thread.start()
    return thread


def ran(reg: bw.Registry) -> Counter[int]:
    return Counter(int(word) for word in Path(reg.work_dir, "ran").read_text().split())


def test_the_controller_is_away_while_jobs_are_waited_for(
    registry: bw.Registry,
    controller: Any,
    rounds: Callable[[int, int], int],
    figures: Callable[..., None],
) -> None:
    seconds = rounds(10, 60)
    path = str(Path(registry.work_dir, "ran"))
    registry.batch_map(appended, range(40), more_args={"path": path, "seconds": 1})
    registry.submit_jobs(n_chunks=40)
    begun = time.monotonic()
    outage = away(controller, 1, seconds)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert registry.wait_for_jobs(timeout=PATIENCE)
    waited = time.monotonic() - begun
    outage.join()
    assert registry.reduce_results_list() == [x * x for x in range(40)]
    assert ran(registry) == Counter(registry.find_jobs())
    figures(
        seconds_away=seconds, jobs=40, lost=0, twice=0, seconds_waited=f"{waited:.0f}",
        words=len(told),
    )  # fmt: skip
    # Slurm's commands have patience of their own, so that a short outage is not noticed.
    assert len(told) <= 1, [str(warning.message) for warning in told]


def test_the_controller_is_away_while_jobs_are_submitted(
    registry: bw.Registry,
    controller: Any,
    rounds: Callable[[int, int], int],
    figures: Callable[..., None],
) -> None:
    seconds = rounds(10, 60)
    path = str(Path(registry.work_dir, "ran"))
    registry.batch_map(appended, range(80), more_args={"path": path, "seconds": 0})
    outage = away(controller, 0.7, seconds)
    begun = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        registry.submit_jobs(chunk_size=1, resources={"array": False})
        submitted = time.monotonic() - begun
        assert registry.wait_for_jobs(timeout=PATIENCE)
    outage.join()
    assert registry.reduce_results_list() == [x * x for x in range(80)]
    assert ran(registry) == Counter(registry.find_jobs())
    assert len(set(registry.get_job_table()["batch_id"].to_pylist())) == 80
    assert submitted > seconds / 2, "it was away"
    texts = [str(warning.message) for warning in told]
    figures(
        seconds_away=seconds, jobs=80, lost=0, twice=0, seconds_submitting=f"{submitted:.0f}",
        words=len(texts),
    )  # fmt: skip
    assert len(texts) == len(set(texts)) <= 3, texts
