"""A real Slurm; `tests/clusters/slurm-up` starts one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

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
    @classmethod
    def system(cls) -> str:
        told = subprocess.run(["sinfo", "--version"], capture_output=True, text=True, check=False)
        return f"real Slurm {told.stdout.split()[-1]}"

    def requeue(self, registry: bw.Registry, batch_id: str) -> None:
        done = bw.run_command(["scontrol", "requeue", batch_id])
        assert done.exit_code == 0, done

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


@pytest.mark.parametrize("how", ["single", "array of chunks", "array of jobs"])
def test_accounting_says_why_executors_died(registry: bw.Registry, how: str) -> None:
    registry.cluster_functions = bw.Slurm(array_jobs=how != "single", fs_latency=2)
    registry.batch_map(_die, ["kill", "hog", "fine"])
    if how == "array of jobs":
        registry.submit_jobs(n_chunks=1, resources={"memory": 60, "chunks_as_arrayjobs": True})
    else:
        registry.submit_jobs(resources={"memory": 60})
    registry.wait_for_jobs(timeout=120, sleep=0.7)
    causes = dict(zip([1, 2, 3], registry.get_job_table()["cause"].to_pylist(), strict=True))
    assert causes == {1: "crashed", 2: "oom", 3: None}
    told = str(registry.explain(2))
    assert "(oom)" in told
    assert "memory limit" in told, "the log of this very task"


def _die(how: str) -> None:
    """End the executor from outside, as a node or Slurm might."""
    if how == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if how == "hog":
        hog = bytearray(400 << 20)
        time.sleep(60)
        del hog


def test_a_host_of_slurms_commands_by_ssh(
    registry: bw.Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    ssh = folder / "ssh"  # stands for a login host: runs what it gets as a login shell does
    ssh.write_text(
        '#!/bin/bash\nwhile [ "$1" != -- ]; do shift; done\nshift 2\necho welcome\n'
        f'[ "$*" = "/bin/sh -s" ] || touch "{tmp_path}/wrong"\nexec env -i PATH="$PATH" '
        f'SLURM_CONF="{os.environ["SLURM_CONF"]}" $@\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    registry.cluster_functions = bw.Slurm(nodename="login1", fs_latency=2)
    registry.batch_map(lambda x: -x, range(3))
    registry.set_job_names([1], ["it's $(touch x)"])
    registry.submit_jobs()
    assert registry.wait_for_jobs(timeout=60, sleep=0.5)
    assert not (tmp_path / "wrong").exists()


def test_another_cluster_by_name(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Slurm(fs_latency=2)
    registry.batch_map(time.sleep, [3, 300])
    registry.submit_jobs(resources={"cluster": "loop"})
    batches = registry.get_job_table()["batch_id"].to_pylist()
    assert all(batch.endswith(";loop") for batch in batches)
    assert registry.find_on_system() == {1, 2}
    registry.wait_for_jobs([1], timeout=60, sleep=0.5)
    assert registry.find_done() == {1}
    registry.kill_jobs()
    assert registry.find_not_submitted() == {2}
