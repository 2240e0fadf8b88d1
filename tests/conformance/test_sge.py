"""A real Grid Engine; `tests/clusters/gridengine-up` starts one."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time

import pytest

import batchwright as bw
from batchwright.testing import Conformance

pytestmark = [
    pytest.mark.sge,
    pytest.mark.skipif(
        not (os.environ.get("SGE_ROOT") and shutil.which("qsub")),
        reason="no Grid Engine here: run tests/clusters/gridengine-up",
    ),
]


class TestSGE(Conformance):
    @classmethod
    def system(cls) -> str:
        told = subprocess.run(["qstat", "-help"], capture_output=True, text=True, check=False)
        return f"real Son of Grid Engine {told.stdout.split()[1]}"

    def requeue(self, registry: bw.Registry, batch_id: str) -> None:
        done = bw.run_command(["qmod", "-rj", batch_id])
        assert "rescheduling" in done.stdout + done.stderr, done

    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.SGE(scheduler_latency=1, fs_latency=2)


def test_a_plan_knows_the_sites_limits(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.SGE()
    registry.batch_map(abs, range(10))
    plan = registry.plan_submission(chunk_size=2)
    assert plan.limits
    said = bw.run_command(["qconf", "-sconf"]).stdout.split()
    assert plan.limits.array_size == int(said[said.index("max_aj_tasks") + 1])
    limit = int(said[said.index("max_u_jobs") + 1])
    assert plan.limits.unfinished_jobs == (limit or math.inf)
    assert "tasks of an array" in str(plan)


def test_accounting_says_why_executors_died(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.SGE(scheduler_latency=1, fs_latency=2)
    registry.work_dir = registry.file_dir.parent
    registry.batch_map(_die, [signal.SIGKILL, signal.SIGABRT, None])
    registry.submit_jobs(chunk_size=1, resources={"setup": "ulimit -c 0"})
    assert not registry.wait_for_jobs(timeout=120, sleep=0.5)
    assert registry.get_job_table()["cause"].to_pylist() == ["killed", "crashed", None]


def _die(by: signal.Signals | None) -> None:
    """End the executor from outside."""
    if by is not None:
        os.kill(os.getppid(), by)
        time.sleep(60)
