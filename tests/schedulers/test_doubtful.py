"""Answers in doubt, by backends made of functions."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import batchwright as bw


def _doubtful(reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
    raise bw.SchedulerError("no answer")


def test_no_clear_answer_three_times(registry: bw.Registry) -> None:
    asked: list[str] = []

    def submit(reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        asked.append(jc.job_hash)
        raise bw.SchedulerError("no answer")

    registry.cluster_functions = bw.make_cluster_functions("mute", submit, fs_latency=3600)
    registry.batch_map(abs, range(10))
    with (
        pytest.warns(UserWarning, match="not known yet"),
        pytest.raises(bw.SubmitError, match="3 times in a row"),
    ):
        registry.submit_jobs()
    assert len(asked) == len(set(asked)) == 3
    assert len(registry.find_not_submitted()) == 8  # two are in doubt, and stay so
    registry.sync_registry()
    assert len(registry.find_submitted()) == 2
    registry.kill_jobs()
    assert len(registry.find_not_submitted()) == 10


def test_what_nobody_knows_is_taken_back(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.make_cluster_functions("mute", _doubtful)
    registry.batch_map(abs, [1, 2])
    with pytest.warns(UserWarning, match="defined again"):
        registry.submit_jobs()
    assert registry.find_not_submitted() == {1, 2}


def test_an_executor_that_is_late_meets_the_void(registry: bw.Registry, tmp_path: Path) -> None:
    started: list[bw.JobCollection] = []

    def submit(reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        started.append(jc)
        raise bw.SchedulerError("no answer")

    registry.cluster_functions = bw.make_cluster_functions("late", submit)
    registry.batch_map(lambda p: Path(p).touch(), [str(tmp_path / "ran")])
    with pytest.warns(UserWarning, match="defined again"):
        registry.submit_jobs()
    done = bw.run_command(started[0].command)
    assert done.exit_code == 0
    assert not (tmp_path / "ran").exists()
    assert registry.find_not_submitted() == {1}


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    begun = time.monotonic()
    with pytest.raises(bw.SchedulerError, match=r"did not end within 0.5 s"):
        bw.run_command(["sh", "-c", "sleep 300 & sleep 300"], timeout=0.5)
    assert time.monotonic() - begun < 5


def test_what_a_command_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"SLURM_CONF": "a", "SGE_ROOT": "b", "PATH": "/bin:/usr/bin", "LSF_ENVDIR": "c"}
    dropped = ["SLURM_JOB_ID", "SBATCH_ACCOUNT", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID", "JOB_ID"]
    dropped += ["PMI_RANK", "PMIX_ID", "OMPI_X", "MY_TOKEN", "AWS_KEY", "DB_PASSWORD", "X_API_KEY"]
    for name, value in [*kept.items(), *((name, "x") for name in dropped)]:
        monkeypatch.setenv(name, value)
    seen = dict(line.split("=", 1) for line in bw.run_command(["env"]).stdout.splitlines())
    assert kept.items() <= seen.items()
    assert not seen.keys() & set(dropped)
