"""Random numbers of jobs and of instances: the same wherever and whenever a job runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import batchwright as bw

LARGEST = 2**31 - 1


def draw(job: Any) -> dict[str, Any]:
    import random

    import numpy as np

    return {
        "seed": job.seed,
        "random": random.random(),
        "numpy": float(np.random.random()),
        "rng": float(job.rng.random()),
    }


def expected(seed: int, entropy: int, *key: int) -> dict[str, Any]:
    sequence = np.random.SeedSequence(entropy, spawn_key=key)
    return {
        "seed": seed,
        "random": random.Random(seed).random(),
        "numpy": float(np.random.RandomState(seed).random_sample()),
        "rng": float(np.random.default_rng(sequence).random()),
    }


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., bw.ExperimentRegistry]]:
    numbers = iter(range(100))

    def make(problem_seed: int | None, seed: int = 7, **more: Any) -> bw.ExperimentRegistry:
        reg = bw.make_experiment_registry(
            tmp_path / f"registry-{next(numbers)}", conf_file=None, seed=seed
        )
        reg.add_problem("p", fun=lambda job, x=0: draw(job), seed=problem_seed, **more)
        for name in ("a", "b"):
            reg.add_algorithm(name, lambda job, instance, y: {**both(instance, draw(job))})
        reg.add_experiments({"p": {"x": [1, 2]}}, {n: {"y": [1, 2]} for n in "ab"}, repls=3)
        return reg

    def both(instance: Any, own: Any) -> dict[str, Any]:
        found = {f"instance_{name}": value for name, value in instance.items()}
        return found | {f"own_{name}": value for name, value in own.items()}

    yield make


def parts(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    found = [
        {n.removeprefix(prefix): v for n, v in result.items() if n.startswith(prefix)}
        for prefix in ("instance_", "own_")
    ]
    return found[0], found[1]


BACKENDS = [bw.Interactive(), bw.Multicore(2)]


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
def test_a_problem_with_a_seed(make: Callable[..., Any], backend: Any) -> None:
    reg = make(42)
    reg.cluster_functions = backend
    reg.submit_jobs(n_chunks=3)
    assert reg.wait_for_jobs(timeout=60)
    results = reg.reduce_results_list()
    repls = reg.get_job_pars()["repl"].to_pylist()
    for job, (repl, result) in enumerate(zip(repls, results, strict=True), 1):
        instance, own = parts(result)
        assert instance == expected(42 + repl - 1, 42, repl)
        assert own == expected(7 + job, 7, job)


@pytest.mark.parametrize("backend", BACKENDS, ids=repr)
def test_a_problem_without_a_seed_shares_no_numbers_with_its_algorithm(
    make: Callable[..., Any], backend: Any
) -> None:
    reg = make(None)
    reg.cluster_functions = backend
    reg.submit_jobs(n_chunks=2)
    assert reg.wait_for_jobs(timeout=60)
    for job, result in enumerate(reg.reduce_results_list(), 1):
        instance, own = parts(result)
        assert instance == expected(7 + job, 7, job, 1)
        plain, legacy = random.Random(7 + job), np.random.RandomState(7 + job)
        plain.random(), legacy.random_sample()
        assert own == {
            "seed": 7 + job,
            "random": plain.random(),
            "numpy": float(legacy.random_sample()),
            "rng": expected(0, 7, job)["rng"],
        }


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("problem_seed", [None, 42])
def test_the_same_numbers_however_a_job_is_run(
    make: Callable[..., Any], problem_seed: int | None, cache: bool
) -> None:
    if cache and problem_seed is None:
        pytest.skip("without a seed nothing is kept")
    reg = make(problem_seed, cache=cache)
    tried = [reg.test_job(job) for job in (1, 8, 24)]
    assert [reg.test_job(job, external=True) for job in (1, 8, 24)] == tried
    assert [parts(result)[0] for result in tried] == [
        reg.make_job(job).instance for job in (1, 8, 24)
    ]
    reg.submit_jobs(reg.find_jobs() - {1, 8, 24}, chunk_size=4)
    reg.submit_jobs([24, 8, 1], chunk_size=3)
    assert reg.wait_for_jobs(timeout=60)
    assert [reg.load_result(job) for job in (1, 8, 24)] == tried
    reg.submit_jobs(8)
    assert reg.wait_for_jobs(timeout=60)
    assert reg.load_result(8) == tried[1]


def test_seeds_wrap_around(make: Callable[..., Any]) -> None:
    reg = make(LARGEST, seed=LARGEST - 1)
    assert [reg.make_job(job).seed for job in (1, 2, 3)] == [LARGEST, 1, 2]
    assert [reg.make_job(job).instance["seed"] for job in (1, 2, 3)] == [LARGEST, 1, 2]


def test_generators_of_this_process_are_left_alone(make: Callable[..., Any]) -> None:
    reg = make(42)
    random.seed(5), np.random.seed(5)
    before = (random.getstate(), np.random.get_state()[1].tolist())
    reg.test_job(1)
    assert reg.make_job(1).instance["seed"] == 42
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


# -- instances that are kept


def counting(folder: Path) -> Callable[..., Any]:
    """A problem's function that leaves a file each time it is called."""
    path = str(folder)

    def make(data: Any, job: Any, x: int) -> dict[str, Any]:
        import os
        import uuid

        os.close(os.open(f"{path}/{uuid.uuid4().hex}", os.O_CREAT))
        return {"x": x, "repl": job.repl, "pid": os.getpid(), "draw": float(job.rng.random())}

    return make


@pytest.mark.parametrize(("cache", "made"), [(False, 12), (True, 6)])
def test_instances_are_made_once_a_worker_and_once_at_all_with_a_cache(
    tmp_path: Path, cache: bool, made: int
) -> None:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None, seed=1)
    (tmp_path / "made").mkdir()
    reg.add_problem("p", fun=counting(tmp_path / "made"), seed=3, cache=cache)
    reg.add_algorithm("a", lambda instance, y: instance)
    reg.add_algorithm("b", lambda instance, y: instance)
    reg.add_experiments({"p": {"x": [1, 2]}}, {"a": {"y": [1, 2, 3]}, "b": {"y": [1]}}, repls=3)
    for name in ("a", "b"):
        reg.submit_jobs(reg.find_experiments(algo_name=name), n_chunks=1)
        assert reg.wait_for_jobs(timeout=60)
    assert len(list((tmp_path / "made").iterdir())) == made
    assert len({r["draw"] for r in reg.reduce_results_list()}) == 3
    cached = list((reg.file_dir / "cache").iterdir()) if cache else []
    assert len(cached) == (6 if cache else 0)


def cached(tmp_path: Path, access: str = "private") -> bw.ExperimentRegistry:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None, seed=1, access=access)
    reg.cluster_functions = bw.Interactive()
    (tmp_path / "made").mkdir()
    reg.add_problem("p", fun=counting(tmp_path / "made"), seed=3, cache=True)
    reg.add_algorithm("a", lambda instance: instance)
    reg.add_experiments({"p": {"x": [1]}})
    reg.submit_jobs()
    return reg


def test_an_unreadable_cache_is_made_anew(tmp_path: Path) -> None:
    reg = cached(tmp_path)
    before = reg.load_result(1)
    (path,) = (reg.file_dir / "cache").iterdir()
    for damage in (b"", path.read_bytes()[:-5], b"nonsense"):
        path.write_bytes(damage)
        reg.submit_jobs(1)
        assert reg.load_result(1) == before
        assert path.read_bytes() != damage
    assert len(list((tmp_path / "made").iterdir())) == 4


def test_the_cache_goes_with_its_problem(tmp_path: Path) -> None:
    reg = cached(tmp_path)
    fun = counting(tmp_path / "made")
    reg.add_problem("p", data="other", fun=fun, seed=3, cache=True)
    assert not list((reg.file_dir / "cache").iterdir())
    reg.submit_jobs(1)
    assert len(list((tmp_path / "made").iterdir())) == 2
    reg.remove_problems("p")
    assert not list((reg.file_dir / "cache").iterdir())


@pytest.mark.parametrize(
    ("access", "folder", "file"),
    [("private", 0o700, 0o600), ("group", 0o2770, 0o660), ("public", 0o755, 0o644)],
)
def test_the_cache_is_as_accessible_as_the_registry(
    tmp_path: Path, access: str, folder: int, file: int
) -> None:
    reg = cached(tmp_path, access)
    (path,) = (reg.file_dir / "cache").iterdir()
    assert path.stat().st_mode & 0o7777 == file
    assert path.parent.stat().st_mode & 0o7777 == folder


def test_a_cache_without_a_seed_is_said_to_keep_nothing(tmp_path: Path) -> None:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None)
    with pytest.warns(UserWarning, match="`cache=True` without a `seed`"):
        reg.add_problem("p", cache=True)


# -- objects of each job


def test_what_one_job_changes_in_place_harms_no_other(tmp_path: Path) -> None:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None, seed=1)
    reg.cluster_functions = bw.Interactive()
    reg.add_problem("p", data=[0], fun=lambda data: {"rows": data}, seed=2)
    reg.add_problem("plain", data={"rows": [0]})

    def spoil(job: Any, data: Any, instance: Any, k: int) -> int:
        instance["rows"].append(k)
        (data if isinstance(data, list) else data["rows"]).append(k)
        job.prob_pars["new"] = k
        job.pars["algo_pars"]["new"] = k
        return len(instance["rows"])

    reg.add_algorithm("spoil", spoil)
    reg.add_experiments({"p": None, "plain": None}, {"spoil": {"k": [1, 2, 3]}})
    reg.submit_jobs(n_chunks=1)
    assert reg.reduce_results_list() == [2, 2, 2, 3, 3, 3]


def test_large_instances_are_shared_and_cannot_be_written(tmp_path: Path) -> None:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None, seed=1)
    reg.cluster_functions = bw.Interactive()
    reg.add_problem("p", fun=lambda job: job.rng.random(100_000), seed=2)
    reg.add_algorithm("a", lambda instance, k: (float(instance.sum()), instance.flags.writeable))
    reg.add_experiments(algo_designs={"a": {"k": [1, 2]}})
    reg.submit_jobs(n_chunks=1)
    one, two = reg.reduce_results_list()
    assert one == two
    assert one[1] is False


def test_an_instance_that_cannot_be_pickled_is_made_for_each_job(tmp_path: Path) -> None:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None, seed=1)
    reg.cluster_functions = bw.Interactive()

    def locked(job: Any) -> Any:
        import threading

        return threading.Lock(), float(job.rng.random())

    reg.add_problem("p", fun=locked, seed=2)
    reg.add_algorithm("a", lambda instance, k: instance[1])
    reg.add_experiments(algo_designs={"a": {"k": [1, 2]}})
    reg.submit_jobs(n_chunks=1)
    one, two = reg.reduce_results_list()
    assert one == two
