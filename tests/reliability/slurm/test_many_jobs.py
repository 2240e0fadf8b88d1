"""Many jobs in one call: few commands, all results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

import batchwright as bw

pytestmark = pytest.mark.slurm
FEW = 20
"""Commands of Slurm that one submission may take, however many chunks it has."""


def test_many_chunks_are_submitted_by_few_commands(
    registry: bw.Registry,
    commands: Callable[[], Counter[str]],
    rounds: Callable[[int, int], int],
    figures: Callable[..., None],
) -> None:
    chunks = rounds(100, 2000)
    jobs = 10 * chunks
    registry.batch_map(lambda x: x * x, range(jobs))
    begun = time.monotonic()
    registry.submit_jobs(n_chunks=chunks)
    submitted, ran = time.monotonic(), commands()
    assert registry.wait_for_jobs(timeout=1200, sleep=lambda i: min(2**i, 10))
    waited = time.monotonic()
    assert registry.reduce_results_list() == [x * x for x in range(jobs)]
    collected = time.monotonic()
    assert 1 <= ran["sbatch"] <= ran.total() <= FEW
    assert len(set(registry.get_job_table()["batch_id"].to_pylist())) == chunks
    figures(
        jobs=jobs,
        chunks=chunks,
        commands_to_submit=ran.total(),
        commands_in_all=commands().total(),
        seconds_submitting=f"{submitted - begun:.2f}",
        waiting=f"{waited - submitted:.1f}",
        collecting=f"{collected - waited:.3f}",
    )
