"""Jobs in the process of the caller, as the interactive backend and `test_job` run them."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from _batchwright_node.collection import Collection
from _batchwright_node.failures import SetupError, failure
from _batchwright_node.seeds import Seeder, job_seed, restored


def by_value(code: str) -> Any:
    """A function as it comes from `__main__`: with globals of its own."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(code, scope)
    return scope["fun"]


class Registry:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "work").mkdir()

    def store(self, value: Any) -> str:
        pickled = cloudpickle.dumps(value, 5)
        name = hashlib.blake2b(pickled, digest_size=16).hexdigest()
        path = self.root / "objects" / name[:2] / f"{name}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickled)
        return name

    def collection(self, fun: Any, *, exports: dict[str, Any] | None = None, **call: Any):
        if "more_args" in call:
            call["more_args"] = self.store(call["more_args"])
        spec = {"kind": "map", "fun": self.store(fun), "names": ["x"], "positional": 1, **call}
        header = {
            "work_dir": str(self.root / "work"),
            "seed": 7,
            "resources": {"memory": 100},
            "python": {
                "version": list(sys.version_info[:2]),
                "calls": [spec],
                "exports": {n: self.store(v) for n, v in (exports or {}).items()},
            },
        }
        return Collection(header, self.root)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.chdir(tmp_path)
    return Registry(tmp_path)


def run(collection: Collection, *values: Any, job_id: int = 1) -> Any:
    return collection.run(job_id, 1, 0, pickle.dumps(values))


def test_values_come_back_and_exceptions_are_raised_as_they_are(registry: Registry) -> None:
    collection = registry.collection(by_value("def fun(x): return 1 / x"))
    collection.prepare()
    assert run(collection, 4) == 0.25
    with pytest.raises(ZeroDivisionError) as caught:
        run(collection, 0)
    described = failure(caught.value)
    assert described["type"] == "ZeroDivisionError"
    assert "in fun" in described["traceback"]
    assert "_node" not in described["traceback"]


def test_the_job_knows_itself(registry: Registry) -> None:
    code = "def fun(x, job): return job"
    collection = registry.collection(by_value(code), job=True)
    collection.prepare()
    job = run(collection, 5, job_id=3)
    assert (job.id, job.job_id, job.attempt, job.seed) == (3, 3, 1, 10)
    assert job.pars == {"x": 5}
    assert job.resources == {"memory": 100}
    assert not (registry.root / "external").exists()
    assert job.external_dir == registry.root / "external" / "3"
    assert job.external_dir.is_dir()
    numpy = pytest.importorskip("numpy")
    expected = numpy.random.default_rng(numpy.random.SeedSequence(7, spawn_key=(3,)))
    assert job.rng.random() == expected.random()
    assert job.rng is job.rng


def test_exports_are_globals_of_what_was_pickled_and_of_nothing_else(registry: Registry) -> None:
    code = """
def inner(): return limit
def fun(x):
    call = lambda: inner() + x
    return call()
"""
    collection = registry.collection(by_value(code), exports={"limit": 40})
    collection.prepare()
    assert run(collection, 2) == 42
    assert not hasattr(sys.modules["__main__"], "limit")

    by_reference = registry.collection(os.path.basename, exports={"altsep": "changed"})
    by_reference.prepare()
    run(by_reference, "a/b")
    assert os.path.altsep is None


def test_what_one_job_changes_no_other_sees(registry: Registry) -> None:
    code = "def fun(x, more):\n    more.append(x)\n    seen.add(x)\n    return len(more), len(seen)"
    collection = registry.collection(
        by_value(code), exports={"seen": set()}, more_args={"more": [1, 2]}
    )
    collection.prepare()
    assert [run(collection, i) for i in range(3)] == [(3, 1)] * 3


def test_pickled_and_stored_values_arrive(registry: Registry) -> None:
    collection = registry.collection(
        by_value("def fun(x, *, y): return x, y"), names=["x", "y"], pickled=[True, True]
    )
    collection.prepare()
    stored = b"R" + registry.store({"big": 1}).encode()
    assert run(collection, b"P" + pickle.dumps((1, 2)), stored) == ((1, 2), {"big": 1})


def test_another_python_is_refused_before_anything_is_unpickled(registry: Registry) -> None:
    collection = registry.collection(by_value("def fun(x): pass"))
    header = {
        "work_dir": str(registry.root),
        "seed": 1,
        "python": {"version": [2, 7], "calls": [{"kind": "map", "fun": "missing"}]},
    }
    collection = Collection(header, registry.root)
    with pytest.raises(SetupError, match=r"Python 2\.7, the node runs 3\."):
        collection.prepare()


def test_states_of_generators_are_put_back(registry: Registry) -> None:
    collection = registry.collection(
        by_value("def fun(x):\n    import random\n    return random.random()")
    )
    collection.prepare()
    random.seed(99)
    expected = random.random()
    random.seed(99)
    with restored():
        first = run(collection, 1)
        assert first == run(collection, 1)
        assert first != run(collection, 1, job_id=2)
    assert random.random() == expected


def test_modules_that_a_job_imports_are_seeded(registry: Registry) -> None:
    numpy = pytest.importorskip("numpy")
    seeder = Seeder()
    seeder.install()
    saved = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "numpy"}
    try:
        assert seeder.find_spec("json") is None
        spec = seeder.find_spec("numpy.random", numpy.__path__)
        assert spec is not None
        assert spec.loader is not None
    finally:
        seeder.uninstall()
        sys.modules.update(saved)
    assert seeder not in sys.meta_path


def test_seeds_wrap(registry: Registry) -> None:
    assert job_seed(1, 1) == 2
    assert job_seed(2**31 - 1, 1) == 1
    assert job_seed(2**31 - 2, 1) == 2**31 - 1


def test_large_arrays_are_shared_and_cannot_be_written(registry: Registry) -> None:
    numpy = pytest.importorskip("numpy")
    code = """
def fun(x, big, small):
    small[0] += 1
    return big, float(small[0])
"""
    more = {"big": numpy.zeros(1_000_000), "small": numpy.zeros(10)}
    collection = registry.collection(by_value(code), more_args=more)
    collection.prepare()
    first, small = run(collection, 1)
    second, again = run(collection, 2)
    assert (small, again) == (1.0, 1.0)
    assert numpy.shares_memory(first, second)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
