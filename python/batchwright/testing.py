"""Tests that every backend must pass, for authors of backends; they need pytest.

Subclass `Conformance` and give it the backend:

    class TestMine(Conformance):
        @pytest.fixture
        def backend(self):
            return Mine(scheduler_latency=1, fs_latency=0)

A case that cannot apply is named in `not_applicable`, with the reason. To have requeued jobs
tested, override `requeue`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from batchwright.errors import BatchwrightError, SubmitError
from batchwright.opening import load_registry, make_registry

if TYPE_CHECKING:
    from batchwright.clusters.base import ClusterFunctions
    from batchwright.registry import Registry


class Conformance:
    """What users rely on, whatever runs their jobs."""

    patience: ClassVar[float] = 120
    """Seconds within which a short job ends."""
    resources: ClassVar[dict[str, object]] = {}
    """Of all jobs."""
    not_applicable: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Names of cases that are skipped, and why."""

    @classmethod
    def system(cls) -> str:
        """Say what stands behind the backend, and its version, for reports."""
        return ""

    def requeue(self, registry: Registry, batch_id: str) -> None:
        """Have the system run a job again under its old name, as after the loss of a node."""
        pytest.skip("not applicable: the system requeues nothing")

    @pytest.fixture(autouse=True)
    def _applies(self, request: pytest.FixtureRequest) -> None:
        reason = self.not_applicable.get(request.function.__name__)
        if reason is not None:
            pytest.skip(f"not applicable: {reason}")

    @pytest.fixture
    def backend(self) -> ClusterFunctions:
        """Give the backend; override it."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Give a folder that the nodes see."""
        return tmp_path

    @pytest.fixture
    def registry(self, folder: Path, backend: ClusterFunctions) -> Iterator[Registry]:
        """Give an empty registry; what it still runs is killed."""
        with self._made(folder, backend) as reg:
            yield reg

    # -- jobs

    def test_results_come_back(self, registry: Registry) -> None:
        """Each job's result, in the order of the ids."""
        registry.batch_map(_square, range(20))
        registry.submit_jobs(n_chunks=4)
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.reduce_results_list() == [x * x for x in range(20)]

    def test_a_job_fails_alone(self, registry: Registry) -> None:
        """Exceptions and crashes cost their own jobs."""
        registry.batch_map(_trip, range(6))
        registry.submit_jobs(n_chunks=2)
        assert not registry.wait_for_jobs(timeout=self.patience)
        assert registry.find_errors(cause="error") == {3}
        assert registry.find_errors(cause="crashed") == {5}
        assert registry.find_done() == {1, 2, 4, 6}
        assert "job two trips" in registry.get_error_messages([3])["message"][0].as_py()

    def test_logs_are_kept(self, registry: Registry) -> None:
        """Each job's own lines."""
        registry.batch_map(_talk, ["here", "there"])
        registry.submit_jobs(n_chunks=1)
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.get_log(1) == ["it is here"]
        assert registry.get_log(2) == ["it is there"]

    def test_jobs_run_in_the_work_dir_with_their_environment(
        self, registry: Registry, folder: Path
    ) -> None:
        """`work_dir` and `env` reach the job; its parameters are never commands."""
        registry.batch_map(_where, ["$(touch planted)", "'; touch planted; '"])
        registry.submit_jobs(resources={"env": {"BW_TEST": "$(touch planted) `x`"}})
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.load_result(1) == (str(folder), "$(touch planted) `x`", "$(touch planted)")
        assert not (folder / "planted").exists()

    def test_setup_runs_first(self, registry: Registry) -> None:
        """Lines of `setup` are shell."""
        registry.batch_map(_where, [1])
        registry.submit_jobs(resources={"setup": ["export BW_TEST=set", "true"]})
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.load_result(1)[1] == "set"

    def test_names_are_made_fit(self, registry: Registry, folder: Path) -> None:
        """No name of a job does harm."""
        names = ["my job (1)", "a;touch planted", "$(touch planted)", "ü/../x", "-x", "%j 'q'"]
        registry.batch_map(_square, range(len(names)))
        registry.set_job_names(range(1, len(names) + 1), names)
        registry.submit_jobs(resources={"array": False})
        assert registry.wait_for_jobs(timeout=self.patience)
        assert not (folder / "planted").exists()

    def test_no_name_of_a_folder_does_harm(
        self, folder: Path, backend: ClusterFunctions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Names of folders are never commands; what a system cannot take is refused."""
        inside = folder / "a'; touch planted; echo foo"
        inside.mkdir()
        monkeypatch.chdir(folder)
        with self._made(inside, backend) as registry:
            registry.batch_map(_where, [1])
            try:
                registry.submit_jobs()
            except SubmitError as error:
                assert registry.find_not_submitted() == {1}
                pytest.skip(f"not applicable: {error}".replace(str(registry.file_dir), "FOLDER"))
            assert registry.wait_for_jobs(timeout=self.patience)
            assert registry.load_result(1)[0] == str(inside)
        assert not list(folder.rglob("planted"))
        assert not Path("planted").exists()

    # -- limits

    def test_a_time_limit_ends_one_job(self, registry: Registry) -> None:
        """`timeout` costs the job that overran it, and no other."""
        registry.batch_map(_sleep_long_if_two, [1, 2, 3])
        registry.submit_jobs(n_chunks=1, resources={"timeout": 2})
        assert not registry.wait_for_jobs(timeout=self.patience)
        assert registry.find_errors(cause="timeout") == {2}
        assert registry.find_done() == {1, 3}

    def test_no_more_run_at_once_than_asked_for(self, registry: Registry) -> None:
        """`max_concurrent_jobs` holds for the tasks of arrays, too."""
        registry.batch_map(_span, range(3))
        registry.submit_jobs(resources={"max_concurrent_jobs": 1})
        assert registry.wait_for_jobs(timeout=self.patience)
        spans = sorted(registry.reduce_results_list())
        assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))

    # -- the system

    def test_jobs_are_listed_until_they_end(
        self, registry: Registry, backend: ClusterFunctions
    ) -> None:
        """What was submitted is queued or running."""
        registry.batch_map(time.sleep, [8])
        registry.submit_jobs()
        self._until(lambda: bool(registry.find_running() | registry.find_queued()))
        batch = registry.get_job_table()["batch_id"][0].as_py()
        listing = backend.list_jobs(registry)
        if listing is not None:
            assert batch in listing
        assert registry.wait_for_jobs(timeout=self.patience)
        self._until(lambda: batch not in (backend.list_jobs(registry) or {}))

    def test_killing_stops(self, registry: Registry, folder: Path) -> None:
        """Killed jobs are defined again and do no more."""
        registry.batch_map(_count_up, [str(folder / "count")] * 2)
        registry.submit_jobs(n_chunks=1)
        self._until(lambda: (folder / "count").exists())
        killed = registry.kill_jobs([1])
        assert killed["killed"].to_pylist() == [True, True]
        assert killed["requested"].to_pylist() == [True, False]
        assert registry.find_on_system() == set()
        assert registry.find_not_submitted() == {1}
        assert registry.find_expired(cause="killed") == {2}
        assert self._stands_still(folder / "count")
        registry.reset_jobs([2])

    def test_a_killed_job_runs_again(self, registry: Registry) -> None:
        """A new attempt knows nothing of the old one."""
        registry.batch_map(_sleep_once, [1], more_args={"seconds": 0.01})
        registry.batch_map(_sleep_once, [2], more_args={"seconds": 300}, append=True)
        registry.submit_jobs()
        self._until(lambda: registry.find_done() == {1})
        registry.kill_jobs()
        assert registry.find_not_submitted() == {2}
        assert registry.find_done() == {1}

    def test_a_job_cancelled_behind_our_back(
        self, registry: Registry, backend: ClusterFunctions
    ) -> None:
        """What others stop is told, costs no other job, and can be submitted again."""
        registry.batch_map(_sleep_long_if_two, [1, 2])
        registry.submit_jobs(chunk_size=1)
        self._until(lambda: registry.find_done() == {1} and registry.find_running() == {2})
        backend.kill(registry, [registry.get_job_table([2])["batch_id"][0].as_py()])
        assert not registry.wait_for_jobs(timeout=self.patience)
        assert registry.find_done() == {1}
        assert registry.find_expired() | registry.find_errors() == {2}
        cause = registry.get_job_table([2])["cause"][0].as_py()
        assert cause in ("stopped", "killed"), cause
        assert registry.reset_jobs([2]) == {2}

    def test_a_requeued_job_goes_on(self, registry: Registry, folder: Path) -> None:
        """What the first run finished counts; the second runs the rest."""
        registry.batch_map(_append_and_wait_at_first, [1, 2], more_args={"folder": str(folder)})
        registry.submit_jobs(n_chunks=1, resources={"requeue": True})
        self._until(lambda: registry.find_done() == {1} and registry.find_running() == {2})
        self.requeue(registry, registry.get_job_table([2])["batch_id"][0].as_py())
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.reduce_results_list() == [1, 2]
        assert (folder / "ran").read_text().split() == ["1", "2", "2"]

    def test_another_process_goes_on(self, registry: Registry) -> None:
        """The registry closed and loaded again finds its jobs."""
        registry.batch_map(time.sleep, [3])
        registry.submit_jobs()
        registry.store.close()
        again = load_registry(registry.file_dir, conf_file=None, writeable=True, make_default=False)
        with again:
            again.cluster_functions = registry.cluster_functions
            again.sleep = 0.5
            assert again.wait_for_jobs(timeout=self.patience)

    def test_the_owner_is_killed(self, registry: Registry, folder: Path) -> None:
        """Whoever loads the registry next finds the jobs and goes on."""
        path = registry.file_dir
        registry.store.close()
        owner = f"""
import os, signal
import batchwright as bw
from batchwright import testing
reg = bw.load_registry({str(path)!r}, conf_file=None, writeable=True)
testing.submit_slow_appends(reg, {str(folder / "ran")!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
        ended = subprocess.run([sys.executable, "-c", owner], check=False)
        assert ended.returncode == -signal.SIGKILL
        with self._again(registry) as again:
            assert again.wait_for_jobs(timeout=self.patience)
            assert again.find_done() == {1, 2, 3}
        assert sorted((folder / "ran").read_text().split()) == ["1", "2", "3"]

    # -- doubt

    def test_a_submission_that_was_not_recorded_is_adopted(
        self, registry: Registry, backend: ClusterFunctions, folder: Path
    ) -> None:
        """An owner that died between asking and recording costs nothing; nothing runs twice."""
        registry.batch_map(_append, [str(folder / "ran")] * 3)
        collection = registry.make_job_collection()
        assert backend.submit(registry, collection).status == 0
        backend.finish_submit(registry)
        with self._again(registry) as again:
            assert again.wait_for_jobs(timeout=self.patience)
        assert (folder / "ran").read_text().split() == ["1", "2", "3"]

    def test_a_submission_that_never_came_is_taken_back(self, registry: Registry) -> None:
        """An owner that died before asking leaves jobs that can be submitted."""
        registry.batch_map(_square, [1, 2])
        registry.make_job_collection()
        with pytest.warns(UserWarning, match="defined again"), self._again(registry) as again:
            self._until(lambda: again.find_not_submitted() == {1, 2})
            again.submit_jobs(n_chunks=1)
            assert again.wait_for_jobs(timeout=self.patience)

    # -- arrays

    def test_chunks_of_one_call(self, registry: Registry) -> None:
        """Chunks may be tasks of one array, and are listed and killed one by one."""
        registry.batch_map(_sleep_long_if_two, [1, 2, 3])
        registry.submit_jobs()
        self._until(lambda: registry.find_done() == {1, 3})
        assert len(set(registry.get_job_table()["batch_id"].to_pylist())) == 3
        registry.kill_jobs([2])
        assert registry.find_not_submitted() == {2}

    def test_chunks_of_several_jobs_in_an_array(
        self, registry: Registry, backend: ClusterFunctions
    ) -> None:
        """Each task runs the jobs of its chunk, and only those."""
        registry.batch_map(_square, range(7))
        registry.submit_jobs(n_chunks=3)
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.reduce_results_list() == [x * x for x in range(7)]
        batches = set(registry.get_job_table()["batch_id"].to_pylist())
        assert len(batches) == 3
        if backend.array_size(registry) > 1:
            assert len(_heads(batches)) == 1

    def test_arrays_end_at_the_sites_limit(
        self, registry: Registry, backend: ClusterFunctions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More chunks than an array may have are several arrays."""
        if backend.array_size(registry) == 1:
            pytest.skip("not applicable: there are no arrays")
        monkeypatch.setattr(type(backend), "array_size", _two)
        registry.batch_map(_square, range(5))
        registry.submit_jobs()
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.reduce_results_list() == [0, 1, 4, 9, 16]
        assert len(_heads(registry.get_job_table()["batch_id"].to_pylist())) == 3

    def test_chunks_as_arrays(self, registry: Registry, backend: ClusterFunctions) -> None:
        """With `chunks_as_arrayjobs` each job is a task."""
        registry.batch_map(_square, range(5))
        asked = {"chunks_as_arrayjobs": True}
        if backend.array_var is None:
            with pytest.raises(SubmitError, match="have no arrays"):
                registry.submit_jobs(n_chunks=1, resources=asked)
            return
        registry.submit_jobs(n_chunks=1, resources=asked)
        assert registry.wait_for_jobs(timeout=self.patience)
        assert registry.reduce_results_list() == [0, 1, 4, 9, 16]
        assert len(set(registry.get_job_table()["batch_id"].to_pylist())) == 5

    # -- helpers

    @contextlib.contextmanager
    def _made(self, folder: Path, backend: ClusterFunctions) -> Generator[Registry]:
        reg = make_registry(
            folder / "registry", work_dir=folder, conf_file=None, seed=1, make_default=False
        )
        reg.cluster_functions = backend
        reg.default_resources = self.resources
        reg.sleep = 0.5
        try:
            yield reg
        finally:
            with contextlib.suppress(BatchwrightError):
                if reg.writeable:
                    reg.kill_jobs()

    @contextlib.contextmanager
    def _again(self, registry: Registry) -> Generator[Registry]:
        registry.store.close()
        again = load_registry(registry.file_dir, conf_file=None, writeable=True, make_default=False)
        with again:
            again.cluster_functions = registry.cluster_functions
            again.sleep = 0.5
            yield again

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.3)

    def _stands_still(self, path: Path) -> bool:
        """Whether a file stops growing; a scheduler may take a while to kill."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            before = path.stat().st_size
            time.sleep(2)
            if path.stat().st_size == before:
                return True
        return False


def submit_slow_appends(reg: Registry, path: str) -> None:
    """Submit three jobs that take a while and add a line each; for owners that get killed."""
    reg.batch_map(_append_slowly, [path] * 3)
    reg.submit_jobs(chunk_size=1)


def _heads(batch_ids: Iterable[str]) -> set[str]:
    """Give the numbers of arrays that tasks are of."""
    return {re.split(r"[._\[]", batch)[0] for batch in batch_ids}


def _two(*_: object) -> int:
    return 2


def _square(x: int) -> int:
    return x * x


def _trip(x: int) -> int:
    if x == 2:
        raise ValueError("job two trips")
    if x == 4:
        os._exit(9)
    return x


def _talk(where: str) -> None:
    print("it is", where)


def _where(x: object) -> tuple[str, str | None, object]:
    return str(Path.cwd()), os.environ.get("BW_TEST"), x


def _count_up(path: str) -> None:
    for _ in range(3000):
        with Path(path).open("a") as file:
            file.write(".")
        time.sleep(0.1)


def _append(path: str, job: Any) -> None:
    with Path(path).open("a") as file:
        file.write(f"{job.id}\n")


def _sleep_once(x: int, seconds: float) -> int:
    time.sleep(seconds)
    return x


def _sleep_long_if_two(x: int) -> int:
    time.sleep(300 if x == 2 else 0.01)
    return x


def _span(x: int) -> tuple[float, float]:
    began = time.time()
    time.sleep(1)
    return began, time.time()


def _append_slowly(path: str, job: Any) -> None:
    time.sleep(2)
    _append(path, job)


def _append_and_wait_at_first(x: int, folder: str) -> int:
    ran = Path(folder) / "ran"
    again = x == 2 and "2" in ran.read_text()
    with ran.open("a") as file:
        file.write(f"{x}\n")
    time.sleep(300 if x == 2 and not again else 0.01)
    return x
