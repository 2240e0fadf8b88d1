"""Problems, algorithms and experiments: defined, found, counted, removed, run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import batchwright as bw

PROBLEMS = {"iris": {"ratio": [0.67, 0.9]}}
ALGORITHMS = {
    "svm": bw.grid(kernel=["linear", "polynomial", "radial"], epsilon=[0.01, 0.1]),
    "forest": {"ntree": [100, 500, 1000]},
}


@pytest.fixture
def reg(tmp_path: Path) -> Iterator[bw.ExperimentRegistry]:
    """The tutorial's problem and algorithms, without experiments."""
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None, seed=1)
    reg.cluster_functions = bw.Interactive()

    def split(data: int, job: Any, ratio: float) -> dict[str, Any]:
        return {"rows": int(data * ratio), "draw": float(job.rng.random()), "repl": job.repl}

    reg.add_problem("iris", data=150, fun=split, seed=42)
    reg.add_algorithm("svm", lambda instance, kernel, epsilon: {**instance, "by": kernel})
    reg.add_algorithm("forest", lambda instance, ntree: {**instance, "by": str(ntree)})
    yield reg


@pytest.fixture
def defined(reg: bw.ExperimentRegistry) -> bw.ExperimentRegistry:
    reg.add_experiments(PROBLEMS, ALGORITHMS, repls=5)
    return reg


# -- defining


def test_the_tutorials_numbers(reg: bw.ExperimentRegistry) -> None:
    assert list(reg.add_experiments(PROBLEMS, ALGORITHMS, repls=5)) == list(range(1, 91))
    assert not reg.add_experiments(PROBLEMS, ALGORITHMS, repls=5)
    assert len(reg.add_experiments(PROBLEMS, ALGORITHMS, repls=6)) == 18
    assert reg.summarize_experiments().to_pylist() == [
        {"problem": "iris", "algorithm": "svm", "count": 72},
        {"problem": "iris", "algorithm": "forest", "count": 36},
    ]


def test_problems_and_algorithms_are_listed(reg: bw.ExperimentRegistry) -> None:
    assert reg.problems == ("iris",)
    assert reg.algorithms == ("forest", "svm")
    reopened = bw.load_registry(reg.file_dir, make_default=False)
    assert isinstance(reopened, bw.ExperimentRegistry)
    assert reopened.problems == ("iris",)


def test_jobs_ascend_by_problem_row_algorithm_row_and_replication(
    defined: bw.ExperimentRegistry,
) -> None:
    pars = bw.unwrap(defined.get_job_pars()).to_pylist()
    found = [(p["algorithm"], p["ratio"], p["kernel"], p["ntree"], p["repl"]) for p in pars]
    kernels = [("linear", 0.01), ("linear", 0.1), ("polynomial", 0.01)]
    kernels += [("polynomial", 0.1), ("radial", 0.01), ("radial", 0.1)]
    expected: list[Any] = []
    for ratio in (0.67, 0.9):
        for kernel, _ in kernels:
            expected += [("svm", ratio, kernel, None, repl) for repl in range(1, 6)]
    for ratio in (0.67, 0.9):
        for ntree in (100, 500, 1000):
            expected += [("forest", ratio, None, ntree, repl) for repl in range(1, 6)]
    assert found == expected


def test_designs_may_be_left_out(reg: bw.ExperimentRegistry) -> None:
    reg.add_problem("plain", data=3)
    reg.add_algorithm("same")
    reg.remove_algorithms(["svm", "forest"])
    reg.remove_problems("iris")
    ids = reg.add_experiments(repls=2)
    assert len(ids) == 2
    reg.submit_jobs()
    assert reg.reduce_results_list() == [3, 3]


def test_bind_pairs_rows_and_starts_the_shorter_again(reg: bw.ExperimentRegistry) -> None:
    reg.add_experiments(
        {"iris": {"ratio": [0.1, 0.2]}}, {"forest": {"ntree": [1, 2, 3]}}, combine="bind", repls=2
    )
    pars = bw.unwrap(reg.get_job_pars())
    found = list(zip(pars["ratio"].to_pylist(), pars["ntree"].to_pylist(), strict=True))
    assert found == [(0.1, 1)] * 2 + [(0.2, 2)] * 2 + [(0.1, 3)] * 2
    # What was bound is known to a product, and the other way round.
    ids = reg.add_experiments({"iris": {"ratio": [0.1, 0.2]}}, {"forest": {"ntree": [1, 2, 3]}})
    assert len(ids) == 3
    assert not reg.add_experiments(
        {"iris": {"ratio": [0.2, 0.1]}}, {"forest": {"ntree": [1, 2]}}, combine="bind"
    )


def test_replications_may_differ_between_problems(reg: bw.ExperimentRegistry) -> None:
    reg.add_problem("other", data=1)
    reg.add_experiments(
        {"iris": {"ratio": [0.5]}, "other": None}, {"forest": {"ntree": [1]}}, repls=[2, 3]
    )
    assert reg.summarize_experiments(by="problem").to_pylist() == [
        {"problem": "iris", "count": 2},
        {"problem": "other", "count": 3},
    ]


def test_known_experiments_are_counted_on_a_terminal(
    defined: bw.ExperimentRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    defined.add_experiments(PROBLEMS, ALGORITHMS, repls=6)
    assert "18 experiments added, 90 known ones skipped" in capsys.readouterr().err


def test_equal_rows_of_one_call_are_one_and_said_aloud(reg: bw.ExperimentRegistry) -> None:
    with pytest.warns(UserWarning, match=r"4 experiments equal others.*`iris`.*`forest`"):
        ids = reg.add_experiments(
            {"iris": {"ratio": [0.5]}}, {"forest": {"ntree": [1, 2, 1.0, 2]}}, repls=2
        )
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("known", "given", "is_new"),
    [
        (1, 1.0, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), False),
        (1, True, True),
        (0, False, True),
        (None, float("nan"), True),
        ("1", 1, True),
        ("a", b"a", True),
        ([1, 2], [1.0, 2.0], False),
        ([1], (1,), True),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, False),
        ({1, 2}, {2, 1}, False),
        (Path("a/b"), Path("a") / "b", False),
        (2**70, float(2**70), False),
        (np.arange(3), np.arange(3), False),
        (np.arange(3), np.arange(3.0), True),
    ],
)
def test_parameters_are_known_by_value(
    reg: bw.ExperimentRegistry, known: Any, given: Any, is_new: bool
) -> None:
    reg.add_experiments({"iris": {"ratio": [1]}}, {"forest": [{"ntree": known}]})
    ids = reg.add_experiments({"iris": {"ratio": [1]}}, {"forest": [{"ntree": given}]})
    assert bool(ids) == is_new
    # In a column with a value of another type all are pickled, and known all the same.
    mixed = [{"ntree": given}, {"ntree": object}]
    assert len(reg.add_experiments({"iris": {"ratio": [1]}}, {"forest": mixed})) == 1


def test_the_order_of_columns_does_not_matter(defined: bw.ExperimentRegistry) -> None:
    svm = bw.grid(epsilon=[0.1, 0.01], kernel=["linear"])
    assert not defined.add_experiments(PROBLEMS, {"svm": svm}, repls=5)


def test_a_wider_design_adds_only_its_new_rows(defined: bw.ExperimentRegistry) -> None:
    ids = defined.add_experiments(
        {"iris": {"ratio": [0.9, 0.5]}}, {"forest": {"ntree": [1000, 1, 100]}}, repls=6
    )
    pars = bw.unwrap(defined.get_job_pars(ids))
    found = zip(pars["ratio"].to_pylist(), pars["ntree"].to_pylist(), strict=True)
    counted: dict[Any, int] = {}
    for pair in found:
        counted[pair] = counted.get(pair, 0) + 1
    assert counted == {
        (0.9, 1000): 1, (0.9, 1): 6, (0.9, 100): 1, (0.5, 1000): 6, (0.5, 1): 6, (0.5, 100): 6
    }  # fmt: skip


def test_a_registry_that_was_reopened_knows_its_experiments(
    defined: bw.ExperimentRegistry,
) -> None:
    folder = defined.file_dir
    defined.save_registry()
    with defined:
        pass
    reopened = bw.load_registry(folder, writeable=True, make_default=False)
    assert isinstance(reopened, bw.ExperimentRegistry)
    assert not reopened.add_experiments(PROBLEMS, ALGORITHMS, repls=5)
    assert len(reopened.find_experiments(algo_pars="ntree > 100")) == 20


# -- bad input


@pytest.mark.parametrize("name", ["", "a b", "ä", 3, None])
def test_bad_names(reg: bw.ExperimentRegistry, name: Any) -> None:
    with pytest.raises(bw.DefinitionError, match="cannot be the name of a problem"):
        reg.add_problem(name)
    with pytest.raises(bw.DefinitionError, match=r"cannot be the name of an? algorithm"):
        reg.add_algorithm(name)


@pytest.mark.parametrize("seed", [0, -1, 1.5, True, "1", 2**31])
def test_bad_seeds_of_problems(reg: bw.ExperimentRegistry, seed: Any) -> None:
    with pytest.raises(bw.DefinitionError, match=re.escape(repr(seed))):
        reg.add_problem("p", seed=seed)
    assert reg.problems == ("iris",)


def test_what_is_no_function(reg: bw.ExperimentRegistry) -> None:
    with pytest.raises(bw.DefinitionError, match="is no function"):
        reg.add_problem("p", fun=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prob_designs": {"no": None}}, "no problem 'no'.*`iris`"),
        ({"algo_designs": {"no": None}}, "no algorithm 'no'.*`svm`"),
        ({"prob_designs": [1]}, "give a mapping"),
        ({"prob_designs": {"iris": 3}}, r"prob_designs\['iris'\].*give a table"),
        ({"algo_designs": {"forest": {"tree": [1]}}}, "`forest`.*tree"),
        ({"algo_designs": {"forest": None}}, "`forest`.*ntree"),
        ({"algo_designs": {"forest": {"ntree": [1], "instance": [1]}}}, "`instance` is filled in"),
        ({"prob_designs": {"iris": {"ratio": [1], "data": [1]}}}, "`data` is filled in"),
        ({"prob_designs": {"iris": {"ratio": [1], "job": [1]}}}, "`job` is filled in"),
        ({"prob_designs": {"iris": {"ratio": [1], "job_id": [1]}}}, "`job_id` cannot be"),
        ({"algo_designs": {"forest": {"ntree": [1, 2], "x": [1, 2, 3]}}}, "differ in length"),
        ({"algo_designs": {"forest": [{"ntree": 1}, {}]}}, "`forest`.*ntree"),
        ({"repls": 0}, "`repls` is 0"),
        ({"repls": [1, 2]}, "2 numbers, but there are 1"),
        ({"repls": 1.5}, "1.5"),
        ({"repls": True}, "True"),
        ({"combine": "cross"}, "'cross'.*crossprod, bind"),
        ({"repls": 2**32 - 1}, "ids end at"),
    ],
)
def test_bad_calls_add_nothing(
    reg: bw.ExperimentRegistry, arguments: dict[str, Any], message: str
) -> None:
    given = {"prob_designs": {"iris": {"ratio": [0.5]}}, "algo_designs": {"forest": {"ntree": [1]}}}
    with pytest.raises(bw.DefinitionError, match=message):
        reg.add_experiments(**(given | arguments))
    assert not reg.find_jobs()
    assert len(reg.add_experiments(**given)) == 1


def test_plain_verbs_refuse_experiments_and_the_other_way_round(
    reg: bw.ExperimentRegistry, tmp_path: Path
) -> None:
    for verb in (reg.batch_map, reg.batch_reduce):
        with pytest.raises(bw.DefinitionError, match="add_experiments"):
            verb(lambda x, y=0: x, [1])
    plain = bw.make_registry(tmp_path / "plain", conf_file=None)
    assert bw.get_default_registry() is plain
    verbs = [
        lambda: bw.add_problem("p"),
        lambda: bw.add_algorithm("a"),
        lambda: bw.remove_problems("p"),
        lambda: bw.remove_algorithms("p"),
        bw.add_experiments,
        bw.find_experiments,
        bw.summarize_experiments,
        lambda: bw.remove_experiments([]),
    ]
    for verb in verbs:
        with pytest.raises(bw.DefinitionError, match="make_experiment_registry"):
            verb()


def test_nothing_is_defined_in_a_registry_opened_for_reading(
    defined: bw.ExperimentRegistry,
) -> None:
    reader = bw.load_registry(defined.file_dir, make_default=False)
    assert isinstance(reader, bw.ExperimentRegistry)
    for verb in (
        lambda: reader.add_problem("p"),
        lambda: reader.add_experiments(PROBLEMS, ALGORITHMS),
        lambda: reader.remove_experiments(1),
        lambda: reader.remove_problems("iris"),
    ):
        with pytest.raises(bw.ReadOnlyRegistryError):
            verb()
    assert len(reader.find_experiments(prob_pars="ratio == 0.9")) == 45


# -- finding


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, range(1, 91)),
        ({"prob_name": "iris"}, range(1, 91)),
        ({"prob_name": "iri"}, ()),
        ({"prob_pattern": "^ir"}, range(1, 91)),
        ({"algo_name": "forest"}, range(61, 91)),
        ({"algo_pattern": "or|x"}, range(61, 91)),
        ({"algo_pattern": re.compile("SVM", re.IGNORECASE)}, range(1, 61)),
        ({"prob_pars": "ratio > 0.7"}, [*range(31, 61), *range(76, 91)]),
        ({"prob_pars": pc.field("ratio") > 0.7}, [*range(31, 61), *range(76, 91)]),
        ({"prob_pars": lambda ratio: ratio > 0.7}, [*range(31, 61), *range(76, 91)]),
        ({"algo_pars": "ntree == 1000"}, [*range(71, 76), *range(86, 91)]),
        ({"algo_pars": "ntree == 1000", "prob_pars": "ratio > 0.7"}, range(86, 91)),
        ({"algo_pars": "kernel == 'radial' or ntree == 100", "repls": 5}, [25, 30, 55, 60, 65, 80]),
        ({"algo_pars": lambda ntree: ntree < 200, "repls": {1, 2}}, [61, 62, 76, 77]),
        ({"repls": [1], "ids": range(1, 12)}, [1, 6, 11]),
        ({"repls": []}, ()),
    ],
)
def test_find_experiments(
    defined: bw.ExperimentRegistry, conditions: dict[str, Any], expected: Any
) -> None:
    assert list(defined.find_experiments(**conditions)) == list(expected)


def test_find_jobs_looks_at_both_sides(defined: bw.ExperimentRegistry) -> None:
    assert list(defined.find_jobs("ratio > 0.7 and ntree == 1000")) == list(range(86, 91))
    assert list(defined.find_jobs(lambda ratio, ntree: ratio > 0.7 and ntree > 500)) == list(
        range(86, 91)
    )
    both = (pc.field("ratio") > 0.7) & (pc.field("ntree") == 1000)
    assert list(defined.find_jobs(both)) == list(range(86, 91))


def test_ambiguous_names(reg: bw.ExperimentRegistry) -> None:
    reg.add_problem("p", fun=lambda n: n)
    reg.add_algorithm("a", lambda instance, n: instance + n)
    reg.add_experiments({"p": {"n": [1, 2]}}, {"a": {"n": [10, 20]}})
    for expr in ("n == 1", pc.field("n") == 1, lambda n: n == 1):
        with pytest.raises(bw.DefinitionError, match=r"'n'.*find_experiments"):
            reg.find_jobs(expr)
    assert list(reg.find_experiments(prob_pars="n == 1", algo_pars="n == 20")) == [2]
    with pytest.raises(bw.DefinitionError, match=r"'n'.*'prob_pars\.n'"):
        reg.summarize_experiments(by="n")
    assert reg.summarize_experiments(by="algo_pars.n").to_pylist() == [
        {"algo_pars.n": 10, "count": 2},
        {"algo_pars.n": 20, "count": 2},
    ]


@pytest.mark.parametrize(
    ("conditions", "error", "message"),
    [
        ({"algo_pars": "ntree >"}, bw.DefinitionError, "column"),
        ({"algo_pars": "f(ntree)"}, bw.DefinitionError, "column 1"),
        ({"algo_pars": "trees > 1"}, bw.DefinitionError, "'trees'"),
        ({"prob_pars": "ntree > 1"}, bw.DefinitionError, "'ntree'"),
        ({"algo_pattern": "("}, bw.DefinitionError, "regular expression"),
        ({"prob_name": ["iris"]}, TypeError, "one name"),
        ({"repls": 0}, bw.DefinitionError, "from 1"),
        ({"repls": "1"}, TypeError, "'1'"),
        ({"algo_pars": 3}, TypeError, "3"),
        ({"ids": 91}, bw.UnknownJobError, "91"),
    ],
)
def test_conditions_that_cannot_be(
    defined: bw.ExperimentRegistry,
    conditions: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        defined.find_experiments(**conditions)


# -- counting


def test_summaries(defined: bw.ExperimentRegistry) -> None:
    counted = defined.summarize_experiments(by=["problem", "algorithm", "ratio"]).to_pylist()
    assert [row["count"] for row in counted] == [30, 30, 15, 15]
    assert [row["ratio"] for row in counted] == [0.67, 0.9, 0.67, 0.9]
    assert defined.summarize_experiments(by="ntree").to_pylist() == [
        {"ntree": None, "count": 60},
        {"ntree": 100, "count": 10},
        {"ntree": 500, "count": 10},
        {"ntree": 1000, "count": 10},
    ]
    assert defined.summarize_experiments([1, 2, 61], by=["algorithm", "repl"]).to_pylist() == [
        {"algorithm": "svm", "repl": 1, "count": 1},
        {"algorithm": "svm", "repl": 2, "count": 1},
        {"algorithm": "forest", "repl": 1, "count": 1},
    ]
    assert defined.summarize_experiments(by=()).to_pylist() == [{"count": 90}]
    assert defined.summarize_experiments([]).num_rows == 0


def test_a_summary_says_what_there_is_to_count_by(defined: bw.ExperimentRegistry) -> None:
    with pytest.raises(bw.DefinitionError, match=r"'trees'.*ratio, kernel, epsilon, ntree"):
        defined.summarize_experiments(by="trees")


def test_a_summary_of_nothing(reg: bw.ExperimentRegistry) -> None:
    table = reg.summarize_experiments()
    assert table.column_names == ["problem", "algorithm", "count"]
    assert table.num_rows == 0


# -- removing


def test_ids_of_removed_experiments_are_not_given_again(defined: bw.ExperimentRegistry) -> None:
    defined.add_job_tags([1, 90], "tagged")
    assert list(defined.remove_experiments([1, 89, 90])) == [1, 89, 90]
    assert len(defined.find_jobs()) == 87
    assert defined.get_status().defined == 87
    assert not defined.find_tagged("tagged")
    assert not defined.find_not_submitted() & {1, 89, 90}
    with pytest.raises(bw.UnknownJobError, match="90"):
        defined.get_job_table(90)
    assert defined.get_job_table().num_rows == 87
    assert sum(defined.summarize_experiments()["count"].to_pylist()) == 87
    assert list(defined.add_experiments(PROBLEMS, ALGORITHMS, repls=5)) == [91, 92, 93]
    pars = bw.unwrap(defined.get_job_pars([91, 93])).to_pylist()
    assert [(p["algorithm"], p["ratio"], p["repl"]) for p in pars] == [
        ("svm", 0.67, 1),
        ("forest", 0.9, 5),
    ]


def test_removal_is_durable(defined: bw.ExperimentRegistry) -> None:
    defined.remove_experiments(range(1, 61))
    reader = bw.load_registry(defined.file_dir, make_default=False)
    assert list(reader.find_jobs()) == list(range(61, 91))


def test_none_removes_nothing(defined: bw.ExperimentRegistry) -> None:
    assert not defined.remove_experiments(None)
    assert len(defined.find_jobs()) == 90


def test_removing_problems_and_algorithms_removes_their_experiments(
    defined: bw.ExperimentRegistry,
) -> None:
    defined.remove_algorithms("svm")
    assert defined.algorithms == ("forest",)
    assert list(defined.find_jobs()) == list(range(61, 91))
    defined.remove_problems(["iris"])
    assert not defined.find_jobs()
    with pytest.raises(bw.DefinitionError, match="no problem 'iris'"):
        defined.remove_problems("iris")


def test_only_the_jobs_concerned_must_be_idle(tmp_path: Path) -> None:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None)
    stop = tmp_path / "stop"

    def wait(k: int, path: str = str(stop)) -> int:
        import time
        from pathlib import Path

        while not Path(path).exists():
            time.sleep(0.05)
        return k

    reg.add_problem("p")
    reg.add_algorithm("wait", wait)
    reg.add_algorithm("other", lambda k: k)
    reg.add_experiments(algo_designs={"wait": {"k": [1]}, "other": {"k": [1, 2]}})
    reg.submit_jobs(1)
    try:
        with pytest.raises(bw.JobsOnSystemError):
            reg.remove_experiments([1, 2])
        with pytest.raises(bw.JobsOnSystemError):
            reg.remove_algorithms("wait")
        assert list(reg.remove_experiments(2)) == [2]
        reg.remove_algorithms("other")
    finally:
        stop.touch()
    assert reg.wait_for_jobs(timeout=60)
    assert reg.load_result(1) == 1


# -- running


def test_results_join_with_parameters(defined: bw.ExperimentRegistry) -> None:
    defined.submit_jobs()
    assert defined.wait_for_jobs()
    table = bw.ijoin(bw.unwrap(defined.get_job_pars()), defined.reduce_results_table())
    assert table.num_rows == 90
    assert table.column_names[:4] == ["job_id", "problem", "algorithm", "repl"] or table
    by = [str(name) for name in table["by"].to_pylist()]
    assert by[0] == "linear" and by[89] == "1000"
    table.to_pandas()
    import polars as pl

    assert pl.from_arrow(table).height == 90


def test_the_job_knows_its_experiment(reg: bw.ExperimentRegistry) -> None:
    def tell(job: Any, data: Any, instance: Any, ntree: int) -> dict[str, Any]:
        return {
            "same": instance is job.instance and data == job.problem.data,
            "names": f"{job.prob_name} {job.algo_name} {job.problem.name} {job.algorithm.name}",
            "pars": repr((job.prob_pars, job.algo_pars, job.pars, job.repl)),
            "seeds": f"{job.problem.seed} {job.problem.cache} {job.problem.fun.__name__}",
        }

    reg.add_algorithm("tell", tell)
    reg.add_experiments({"iris": {"ratio": [0.5]}}, {"tell": {"ntree": [7]}}, repls=2)
    reg.submit_jobs()
    assert reg.load_result(2) == {
        "same": True,
        "names": "iris tell iris tell",
        "pars": repr(
            (
                {"ratio": 0.5},
                {"ntree": 7},
                {"prob_pars": {"ratio": 0.5}, "algo_pars": {"ntree": 7}},
                2,
            )
        ),
        "seeds": "42 False split",
    }


def test_arguments_are_passed_where_they_are_named(reg: bw.ExperimentRegistry) -> None:
    reg.add_problem("open", data=1, fun=lambda **pars: sorted(pars))
    reg.add_algorithm("open", lambda instance, **pars: (instance, sorted(pars)))
    reg.add_algorithm("none", lambda **pars: sorted(pars))
    designs = {"open": {"data": [1], "x": [2]}}
    reg.add_experiments(designs, {"open": {"job": [1], "data": [5]}, "none": {"instance": [1]}})
    assert reg.test_job(1) == (["data", "x"], ["data", "job"])
    assert reg.test_job(2) == ["instance"]


def test_a_job_gets_exactly_the_parameters_of_its_row(reg: bw.ExperimentRegistry) -> None:
    reg.add_algorithm("open", lambda **pars: sorted(pars.items(), key=str))
    rows = [{"a": 1}, {"b": (1, 2)}, {"a": None, "b": 3}, {}]
    reg.add_experiments({"iris": {"ratio": [1]}}, {"open": rows})
    reg.submit_jobs()
    assert reg.reduce_results_list() == [
        [("a", 1)], [("b", (1, 2))], [("a", None), ("b", 3)], []
    ]  # fmt: skip
    table = bw.unwrap(reg.get_job_pars())
    assert table["a"].to_pylist() == [1, None, None, None]
    assert table["b"].to_pylist() == [None, "(1, 2)", "3", None]
    assert list(reg.find_jobs(lambda b: True)) == [2, 3]
    assert list(reg.find_jobs(lambda ratio, b=None: b is None)) == [1, 4]
    # None is a value, and no parameter is another experiment.
    assert len(reg.add_experiments({"iris": {"ratio": [1]}}, {"open": [{"b": None}, {}]})) == 1


def test_a_job_is_tried_out_in_a_process_of_its_own(defined: bw.ExperimentRegistry) -> None:
    big = bytes(300_000)
    defined.add_algorithm("big", lambda instance, value: (len(value), instance["draw"]))
    ids = defined.add_experiments(PROBLEMS, {"big": {"value": [{"b": big}, big]}}, repls=3)
    for job in (5, 88, ids[4], ids[-1]):
        here, outside = defined.test_job(job), defined.test_job(job, external=True)
        assert here == outside


def test_an_algorithm_that_is_replaced_is_used_from_the_next_run_on(
    defined: bw.ExperimentRegistry,
) -> None:
    defined.submit_jobs(61)
    defined.add_algorithm("forest", lambda instance, ntree, depth=1: "new")
    assert defined.load_result(61)["by"] == "100"
    assert defined.make_job(61).algorithm.fun({}, 1) == "new"
    defined.submit_jobs([61, 62])
    assert defined.load_result(61) == "new"
    with pytest.raises(bw.DefinitionError, match=r"has experiments.*ntree"):
        defined.add_algorithm("forest", lambda instance: "newer")
    with pytest.raises(bw.DefinitionError, match=r"has experiments.*ratio"):
        defined.add_problem("iris", fun=lambda data: data)


def test_collections_name_only_the_calls_they_need(defined: bw.ExperimentRegistry) -> None:
    from batchwright.store import open_collection

    jc = defined.make_job_collection([1, 2, 90])
    header = json.loads(open_collection(jc.uri).header)
    names = [call["algorithm"]["name"] for call in header["python"]["calls"]]
    assert names == ["svm", "forest"]
    assert [row[3] for row in open_collection(jc.uri).rows()] == [0, 0, 1]


def test_jobs_of_a_collection_whose_parameters_share_a_name(reg: bw.ExperimentRegistry) -> None:
    reg.add_problem("p", fun=lambda n: n)
    reg.add_algorithm("a", lambda instance, n: instance + n)
    reg.add_experiments({"p": {"n": [1]}}, {"a": {"n": [2]}})
    jobs = reg.make_job_collection(1).jobs
    assert jobs["prob_pars.n"].to_pylist() == [1]


def test_exports_are_seen_by_both_functions(reg: bw.ExperimentRegistry) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def problem(): return limit\ndef algorithm(instance): return instance + limit", scope)
    reg.add_problem("p", fun=scope["problem"])
    reg.add_algorithm("a", scope["algorithm"])
    reg.batch_export({"limit": 3})
    reg.add_experiments({"p": None}, {"a": None})
    reg.submit_jobs()
    assert reg.load_result(1) == 6


def test_clearing_keeps_problems_and_algorithms(defined: bw.ExperimentRegistry) -> None:
    defined.clear_registry()
    assert defined.problems == ("iris",)
    assert not defined.find_jobs()
    assert list(defined.add_experiments(PROBLEMS, ALGORITHMS)) == list(range(1, 19))


def test_loading_unpickles_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, batchwright as bw\n"
        "class Bomb:\n"
        "    def __reduce__(self): return (exec, ('raise SystemExit(9)',))\n"
        "if sys.argv[2] == 'make':\n"
        "    reg = bw.make_experiment_registry(sys.argv[1], conf_file=None)\n"
        "    reg.add_problem('p', data=Bomb())\n"
        "    reg.add_algorithm('a', lambda instance, x: x)\n"
        "    reg.add_experiments(algo_designs={'a': [{'x': Bomb()}, {'x': 2}]})\n"
        "else:\n"
        "    reg = bw.load_registry(sys.argv[1], writeable=True)\n"
        "    assert reg.get_job_table().num_rows == 2\n"
        "    assert len(reg.find_experiments(repls=1, algo_name='a')) == 2\n"
        "    assert reg.summarize_experiments(by=['problem', 'x']).num_rows == 2\n"
        "    assert len(reg.add_experiments(algo_designs={'a': {'x': [3, 2]}})) == 1\n"
    )
    for what in ("make", "load"):
        command = [sys.executable, "-c", code, str(tmp_path / "registry"), what]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_ten_million_experiments_cost_their_designs(tmp_path: Path) -> None:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None)
    reg.add_problem("p", fun=lambda x: x, seed=1)
    reg.add_algorithm("a", lambda instance, k: instance)
    problems, algorithms = {"p": {"x": np.arange(1000)}}, {"a": {"k": np.arange(1000)}}
    assert len(reg.add_experiments(problems, algorithms, repls=10)) == 10_000_000
    assert not reg.add_experiments(problems, algorithms, repls=10)
    assert len(reg.find_experiments(algo_pars="k < 10")) == 100_000
    assert reg.summarize_experiments()["count"].to_pylist() == [10_000_000]
    reg.save_registry()
    size = sum(p.stat().st_size for p in (tmp_path / "registry").rglob("*") if p.is_file())
    assert size < 200_000
    assert isinstance(reg.get_job_pars([1, 10_000_000]), pa.Table)
