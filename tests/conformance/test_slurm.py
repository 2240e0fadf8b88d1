"""A real Slurm; `tests/clusters/slurm-up` starts one."""

from __future__ import annotations

import os
import shutil

import pytest

import batchwright as bw
from batchwright.testing import Conformance

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        not (os.environ.get("SLURM_CONF") and shutil.which("sbatch")),
        reason="no Slurm here: run tests/clusters/slurm-up",
    ),
]


class TestSlurm(Conformance):
    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.Slurm(scheduler_latency=1, fs_latency=2)


def test_two_hundred_jobs_in_twenty_chunks(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Slurm(array_jobs=False)
    registry.batch_map(lambda x: -x, range(200))
    registry.submit_jobs(n_chunks=20, resources={"walltime": 600, "memory": 100})
    assert registry.wait_for_jobs(timeout=120, sleep=0.5)
    assert registry.reduce_results_list() == [-x for x in range(200)]
    assert len(set(registry.get_job_table()["batch_id"].to_pylist())) == 20
