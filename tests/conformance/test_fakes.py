"""TORQUE, OpenPBS, LSF and OpenLava, as far as fakes of them go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import batchwright as bw
from batchwright.testing import Conformance

FAKES = Path(__file__).parents[1] / "schedulers" / "fakes"


class Faked(Conformance):
    dialect = ""
    after = ""
    patience = 60

    @classmethod
    def system(cls) -> str:
        return f"fake of {cls.after}"

    def requeue(self, registry: bw.Registry, batch_id: str) -> None:
        subprocess.run([sys.executable, FAKES / "fake.py", "requeue", batch_id], check=True)

    @pytest.fixture(autouse=True)
    def _fake(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(FAKES / self.dialect), prepend=os.pathsep)
        monkeypatch.setenv("FAKE_DIR", str(tmp_path / "fake"))

    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        kinds = {"torque": bw.TORQUE, "pbspro": bw.TORQUE, "lsf": bw.LSF, "openlava": bw.OpenLava}
        return kinds[self.dialect](scheduler_latency=0.2, fs_latency=1)

    def test_a_plan_says_that_limits_are_unknown(self, registry: bw.Registry) -> None:
        registry.batch_map(abs, [-1])
        plan = registry.plan_submission()
        assert plan.limits == bw.SiteLimits()
        assert "the site allows an unknown number" in str(plan)

    def test_no_server(self, registry: bw.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        registry.batch_map(abs, [-1])
        registry.submit_jobs()
        monkeypatch.setenv("FAKE_MISBEHAVE", "down")
        with pytest.raises(bw.SchedulerError):
            registry.cluster_functions.list_jobs(registry)
        assert registry.wait_for_jobs(timeout=self.patience)  # the run file says so

    def test_a_limit_is_waited_for(
        self, registry: bw.Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.batch_map(abs, [-1])
        monkeypatch.setenv("FAKE_MISBEHAVE", "full")
        seen: list[int] = []

        def sleep(iteration: int) -> float:
            seen.append(iteration)
            if iteration == 1:
                monkeypatch.delenv("FAKE_MISBEHAVE")
            return 0.01

        registry.submit_jobs(sleep=sleep)
        assert seen == [0, 1]
        assert registry.wait_for_jobs(timeout=self.patience)

    def test_a_refusal_is_told_in_the_schedulers_words(self, registry: bw.Registry) -> None:
        registry.batch_map(abs, [-1])
        with pytest.raises(bw.SubmitError, match=r"Unknown queue|No such queue"):
            registry.submit_jobs(resources={"partition": "nosuch"})
        assert registry.find_not_submitted() == {1}

    def test_answers_that_cannot_be_understood(
        self, registry: bw.Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_MISBEHAVE", "garble")
        with pytest.raises(bw.SchedulerError, match="cannot be understood"):
            registry.cluster_functions.list_jobs(registry)
        registry.batch_map(abs, [-1])
        with pytest.warns(UserWarning, match="cannot be understood|defined again"):
            registry.submit_jobs()
            monkeypatch.delenv("FAKE_MISBEHAVE")
            self._until(lambda: registry.find_not_submitted() == {1})


class TestTORQUE(Faked):
    dialect = "torque"
    after = "TORQUE 6.1.3"


class TestOpenPBS(Faked):
    dialect = "pbspro"
    after = "OpenPBS 23.06"


class TestLSF(Faked):
    dialect = "lsf"
    after = "LSF 10.1, by its documents"


class TestOpenLava(Faked):
    dialect = "openlava"
    after = "OpenLava 2.2"
