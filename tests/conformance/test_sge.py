"""A real Grid Engine; `tests/clusters/gridengine-up` starts one."""

from __future__ import annotations

import os
import shutil

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
    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.SGE(scheduler_latency=1, fs_latency=2)
