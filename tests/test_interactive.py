"""Jobs in this process: results, logs, random numbers, and that nothing of it stays."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

import batchwright as bw


@pytest.fixture
def here(registry: bw.Registry) -> bw.Registry:
    registry.cluster_functions = bw.Interactive()
    return registry


def test_submitting_runs_the_jobs(here: bw.Registry) -> None:
    here.batch_map(lambda x: x + 1, [1, 2])
    here.submit_jobs()
    assert here.wait_for_jobs()
    assert here.reduce_results_list() == [2, 3]


def test_errors_and_output_are_kept(here: bw.Registry) -> None:
    def speak(x: int) -> None:
        print("hello", x)
        raise ValueError(f"no {x}")

    here.batch_map(speak, [1, 2])
    here.submit_jobs()
    assert not here.wait_for_jobs()
    assert here.find_errors() == {1, 2}
    assert here.get_log(2)[0] == "hello 2"
    assert "no 2" in here.get_error_messages(2)["message"][0].as_py()


def test_nothing_of_a_run_stays_in_the_process(here: bw.Registry, tmp_path: Path) -> None:
    def meddle() -> float:
        os.chdir("/")
        return random.random()

    random.seed(1)
    np.random.seed(1)
    states = (random.getstate(), np.random.get_state()[1].tolist())
    folder, path = Path.cwd(), list(sys.path)
    here.batch_map(lambda x: meddle(), [1, 2])
    here.submit_jobs()
    assert (Path.cwd(), sys.path) == (folder, path)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_a_job_gets_its_own_random_numbers(here: bw.Registry) -> None:
    here.batch_map(lambda x, job: (random.random(), job.rng.random(), job.seed), [1, 2, 3])
    here.submit_jobs(chunk_size=3)
    together = here.reduce_results_list()
    here.submit_jobs([3, 1])
    assert here.reduce_results_list() == together
    assert len(set(together)) == 3
    assert [seed for *_, seed in together] == [2, 3, 4]


def test_a_set_up_that_fails_is_told_apart(here: bw.Registry) -> None:
    here.imports = ("no_such_module_at_all",)
    here.batch_map(abs, [1])
    here.submit_jobs()
    assert here.find_errors(cause="setup") == {1}


def test_the_executor_can_run_them_apart(here: bw.Registry) -> None:
    here.cluster_functions = bw.Interactive(external=True)
    here.batch_map(lambda x: os.getpid(), [1])
    here.submit_jobs()
    assert here.wait_for_jobs()
    assert here.load_result(1) != os.getpid()


def test_ctrl_c_leaves_a_consistent_registry(here: bw.Registry) -> None:
    def interrupt(x: int) -> int:
        if x == 2:
            raise KeyboardInterrupt
        return x

    here.batch_map(interrupt, [1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        here.submit_jobs()
    assert here.find_done() == {1}
    assert here.find_not_submitted() == {3}


def test_sources_and_loads_become_globals(here: bw.Registry, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "first.py").write_text("def double(x): return 2 * x\n")
    (tmp_path / "more.pkl").write_bytes(pickle.dumps({"offset": 100}))
    here.work_dir = tmp_path
    here.source = ("first.py",)
    here.load = ("more.pkl",)
    here.batch_map(lambda x: double(x) + offset, [1])  # noqa: F821 # type: ignore
    here.submit_jobs()
    assert here.load_result(1) == 102
