"""Cluster functions that users write: what they may give and raise, and what they are told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import batchwright as bw


class Own(bw.ClusterFunctions):
    """Accepts everything and runs nothing."""

    name = "own"
    answer: Any = bw.SubmitResult(0, ["1"])
    listing: Any = None

    def submit(self, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        return self.answer

    def list_jobs(self, reg: bw.Registry) -> Mapping[str, bw.BatchState] | None:
        if isinstance(self.listing, Exception):
            raise self.listing
        return self.listing


class Killing(Own):
    """Can be told to kill, and fails."""

    def kill(self, reg: bw.Registry, batch_ids: Sequence[str]) -> None:
        raise subprocess.CalledProcessError(1, ["cancel", *batch_ids])


@pytest.fixture
def own(registry: bw.Registry) -> Iterator[Own]:
    backend = Own()
    registry.cluster_functions = backend
    registry.batch_map(abs, [-1, -2])
    yield backend
    registry.cluster_functions = bw.make_cluster_functions("none", _accept, _kill)


def _accept(reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
    return bw.SubmitResult(0, "1")


def _kill(reg: bw.Registry, ids: tuple[str, ...]) -> None:
    return


# -- submitting


@pytest.mark.parametrize("given", ["4711", 4711, ["4711"], [4711], ("4711",)])
def test_one_batch_id_needs_no_list(registry: bw.Registry, own: Own, given: Any) -> None:
    own.answer = bw.SubmitResult(0, given)
    registry.submit_jobs([1])
    assert registry.get_job_table([1])["batch_id"].to_pylist() == ["4711"]


def test_a_log_file_may_be_a_path(registry: bw.Registry, own: Own) -> None:
    own.answer = bw.SubmitResult(0, "1", log_file=Path("/logs/1.out"))  # pyright: ignore
    registry.submit_jobs([1])
    assert registry.find_submitted() == {1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "gave None: give a `SubmitResult`"),
        ((0, ["1"]), "give a `SubmitResult`"),
        (bw.SubmitResult(0), "without a batch id"),
        (bw.SubmitResult(0, ["1", "2"]), "gave 2 batch ids for one job"),
        (bw.SubmitResult(-1, message="no"), "status -1: no"),
    ],
)
def test_answers_that_are_none(registry: bw.Registry, own: Own, answer: Any, message: str) -> None:
    own.answer = answer
    with pytest.raises(bw.SubmitError, match=message):
        registry.submit_jobs([1])
    assert registry.find_submitted() == set()


@pytest.mark.parametrize("status", ["0", None, 0.5])
def test_a_status_is_a_whole_number(status: Any) -> None:
    with pytest.raises(bw.ConfigError, match="`status` is"):
        bw.SubmitResult(status)


# -- listing


@pytest.mark.parametrize("listing", [{"1": "running"}, {1: bw.BatchState("running")}])
def test_a_class_may_list_as_functions_may(
    registry: bw.Registry, own: Own, listing: object
) -> None:
    registry.submit_jobs([1])
    own.listing = listing
    assert registry.find_on_system() == {1}
    assert "`1` is running" in str(registry.explain(1))


@pytest.mark.parametrize(
    "listing",
    [
        RuntimeError("broken"),
        subprocess.CalledProcessError(1, "queue"),
        ["1"],
        {"1": "gone"},
        {"1": bw.BatchState("gone")},  # pyright: ignore[reportArgumentType]
    ],
    ids=str,
)
def test_a_listing_that_fails_is_logged_and_no_look(
    registry: bw.Registry, own: Own, listing: object, caplog: pytest.LogCaptureFixture
) -> None:
    registry.submit_jobs([1])
    own.listing = listing
    assert registry.find_expired() == set()
    assert registry.get_status().submitted == 1
    assert "listing the jobs of `own` failed" in caplog.text
    assert "own does not answer" in str(registry.explain(1))


# -- killing


def test_what_cannot_be_killed_is_refused_and_stays(registry: bw.Registry, own: Own) -> None:
    registry.submit_jobs([1])
    own.listing = {"1": "running"}
    with pytest.raises(bw.SchedulerError, match="`own` cannot kill jobs"):
        registry.kill_jobs()
    assert registry.find_on_system() == {1}


def test_a_kill_that_raises_is_a_warning(registry: bw.Registry, own: Own) -> None:
    registry.cluster_functions = Killing()
    registry.submit_jobs([1])
    with pytest.warns(UserWarning, match="killing failed: .*'cancel', '1'"):
        table = registry.kill_jobs()
    assert table["killed"].to_pylist() == [False]


# -- from functions


@pytest.mark.parametrize(
    "wrong",
    [
        {"submit_job": None},
        {"kill_job": 1},
        {"list_jobs": "squeue"},
        {"list_jobs_queued": 1},
        {"list_jobs_running": 1},
        {"array_var": "MY-INDEX"},
        {"array_var": 1},
        {"scheduler_latency": -1},
        {"fs_latency": "1"},
        {"hooks": ["pre_sync"]},
        {"hooks": {"pre_sync": 1}},
        {"name": 1},
    ],
    ids=str,
)
def test_arguments_that_are_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(bw.ConfigError, match=f"`{next(iter(wrong))}|hook `pre_sync`"):
        arguments: dict[str, Any] = {"name": "mine", "submit_job": _accept}
        bw.make_cluster_functions(**(arguments | wrong))


def test_the_index_of_an_array_comes_from_its_own_variable(registry: bw.Registry) -> None:
    def submit(reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        tasks = range(1, jc.array_jobs + 1)
        for task in tasks:
            environment = {**os.environ, "MY_INDEX": str(task)}
            subprocess.run(["sh", "-c", jc.exec_command], env=environment, check=True)
        return bw.SubmitResult(0, [f"7.{task}" for task in tasks])

    registry.cluster_functions = bw.make_cluster_functions("mine", submit, array_var="MY_INDEX")
    registry.batch_map(pow, [1, 2, 3], [2, 2, 2])
    registry.submit_jobs(n_chunks=1, resources={"chunks_as_arrayjobs": True})
    assert registry.wait_for_jobs(timeout=30)
    assert registry.reduce_results_list() == [1, 4, 9]
    assert registry.get_job_table()["batch_id"].to_pylist() == ["7.1", "7.2", "7.3"]


@pytest.mark.parametrize("external", [False, True])
def test_hooks_of_the_node_know_their_collection(
    registry: bw.Registry, tmp_path: Path, external: bool
) -> None:
    said = tmp_path / "said"

    def say(jc: Any) -> None:
        is_there = jc.uri.is_file() and jc.file_dir / "jobs" in jc.uri.parents
        said.write_text(f"{jc.job_hash} {is_there} {jc.work_dir} {jc.resources['ncpus']}")

    backend = bw.Interactive(external)
    backend.hooks = {"pre_do_collection": say}
    registry.cluster_functions = backend
    registry.batch_map(abs, [-1])
    registry.submit_jobs(resources={"ncpus": 1})
    chunk = registry.get_job_table()["job_hash"][0].as_py()
    assert said.read_text() == f"{chunk} True {registry.work_dir} 1"


# -- commands


@pytest.mark.parametrize(
    ("argv", "error"), [("squeue --me", TypeError), (Path("squeue"), TypeError), ([], ValueError)]
)
def test_a_command_is_a_list_of_words(argv: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="argv is"):
        bw.run_command(argv)
