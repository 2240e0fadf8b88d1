"""The cores of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import batchwright as bw
from batchwright.executor import executor


def test_results_come_back(registry: bw.Registry) -> None:
    registry.batch_map(lambda x: x**2, range(20))
    registry.submit_jobs(chunk_size=5)
    assert registry.wait_for_jobs(timeout=60)
    assert registry.reduce_results_list() == [x**2 for x in range(20)]


def test_submitting_returns_at_once_and_killing_stops(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Multicore(1)
    registry.batch_map(time.sleep, [60, 60])
    before = time.monotonic()
    registry.submit_jobs()
    assert time.monotonic() - before < 10
    deadline = time.monotonic() + 30
    while not registry.find_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert registry.find_running() == {1}
    assert registry.find_queued() == {2}
    registry.kill_jobs()
    assert registry.find_on_system() == set()
    assert registry.find_not_submitted() == {1, 2}


def test_errors_end_the_wait_when_asked(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Multicore(2)
    registry.batch_map(lambda x: 1 / 0 if x else time.sleep(60), [1, 0])
    registry.submit_jobs()
    assert not registry.wait_for_jobs(stop_on_error=True, timeout=60)
    assert registry.find_errors() == {1}


def test_a_crash_takes_only_its_job(registry: bw.Registry) -> None:
    registry.batch_map(lambda x: os._exit(3) if x == 2 else x, [1, 2, 3])
    registry.submit_jobs(n_chunks=1)
    assert not registry.wait_for_jobs(timeout=60)
    assert registry.find_done() == {1, 3}
    assert registry.find_errors(cause="crashed") == {2}


def test_ids_come_as_jobs_end(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Multicore(2)
    registry.batch_map(time.sleep, [1.5, 0.01])
    registry.submit_jobs()
    assert list(registry.as_completed(timeout=60)) == [2, 1]


def test_environment_and_setup_reach_the_job(registry: bw.Registry) -> None:
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "MINE", "FROM_SETUP"]
    registry.batch_map(lambda name: os.environ.get(name), names)
    resources = {
        "ncpus": 2,
        "blas_threads": 1,
        "env": {"MINE": "a b"},
        "setup": "export FROM_SETUP=1",
    }
    registry.submit_jobs(resources=resources, n_chunks=1)
    assert registry.wait_for_jobs(timeout=60)
    assert registry.reduce_results_list() == ["2", "1", "a b", "1"]


def test_jobs_outlive_the_process_that_submitted_them(tmp_path: Path) -> None:
    code = f"""
import batchwright as bw, time
reg = bw.make_registry({str(tmp_path / "r")!r}, conf_file=None)
reg.batch_map(lambda x: (time.sleep(1), x)[1], [5])
reg.submit_jobs()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with bw.load_registry(tmp_path / "r", conf_file=None, writeable=True) as reg:
        assert reg.wait_for_jobs(timeout=60)
        assert reg.load_result(1) == 5


@pytest.mark.parametrize("bad", [0, -1, 1.5, "two"])
def test_impossible_numbers_of_cores(bad: object) -> None:
    with pytest.raises(bw.ConfigError, match="ncpus"):
        bw.Multicore(bad)  # type: ignore


def test_siblings_of_a_killed_job_expire(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Multicore(2)
    registry.batch_map(lambda x: time.sleep(60), [1, 2, 3])
    registry.submit_jobs(n_chunks=1)
    deadline = time.monotonic() + 30
    while not registry.find_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    table = registry.kill_jobs(3)
    assert table["requested"].to_pylist() == [False, False, True]
    assert registry.find_not_submitted() == {3}
    assert registry.find_expired(cause="killed") == {1, 2}
    assert registry.find_done() | registry.find_on_system() == set()


def test_what_a_killed_host_left_is_run(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Multicore(1)
    registry.batch_map(lambda x: time.sleep(0.2), range(4))
    registry.submit_jobs()
    command = [executor(), "host", "status", "--registry", registry.file_dir]
    status = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert status["queued"] > 0
    os.kill(status["pid"], signal.SIGKILL)
    assert registry.wait_for_jobs(timeout=30)
