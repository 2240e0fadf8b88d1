"""A real Grid Engine; `tests/clusters/gridengine-up` starts one."""

from __future__ import annotations

import os
import shutil
import subprocess

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
