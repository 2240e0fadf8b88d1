"""The cores of this machine, and jobs run while they are submitted."""

from __future__ import annotations

import pytest

import batchwright as bw
from batchwright.testing import Conformance

BLOCKS = "`submit_jobs` returns when the jobs have ended"
HERE = "jobs run in the owner's process"


class Local(Conformance):
    patience = 60

    @classmethod
    def system(cls) -> str:
        return "real, this machine"


class TestMulticore(Local):
    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.Multicore(2)


class TestInteractiveExternal(Local):
    not_applicable = dict.fromkeys(
        [
            "test_jobs_are_listed_until_they_end",
            "test_killing_stops",
            "test_a_killed_job_runs_again",
            "test_a_job_cancelled_behind_our_back",
            "test_a_requeued_job_goes_on",
            "test_chunks_of_one_call",
        ],
        BLOCKS,
    )

    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.Interactive(external=True)


class TestInteractive(TestInteractiveExternal):
    not_applicable = TestInteractiveExternal.not_applicable | {
        "test_a_job_fails_alone": f"{HERE}, so a crash takes it along",
        "test_a_time_limit_ends_one_job": f"{HERE}, where no limit can be enforced",
        "test_jobs_run_in_the_work_dir_with_their_environment": f"{HERE}, and have its environment",
        "test_setup_runs_first": f"{HERE}, before which no shell runs",
    }

    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.Interactive()
