"""Results come back one by one, folded, as a list and as a table; failures say why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import batchwright as bw


def invert(x: float) -> float:
    return 1 / x


def same(x: Any) -> Any:
    return x


def as_dict(x: int) -> dict[str, Any]:
    return {"x": x, "half": x / 2, "name": f"job {x}"}


def run(reg: bw.Registry, fun: Callable[..., Any], values: Any) -> bw.Registry:
    reg.cluster_functions = bw.Interactive()
    reg.batch_map(fun, list(values))
    reg.submit_jobs()
    return reg


@pytest.fixture
def inverted(registry: bw.Registry) -> bw.Registry:
    """1/1, 1/2, an error, 1/4 and a job that was not submitted."""
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(invert, [1, 2, 0, 4, 5])
    registry.submit_jobs([1, 2, 3, 4])
    return registry


def test_one_result(inverted: bw.Registry) -> None:
    assert inverted.load_result(2) == 0.5
    assert inverted.load_result([2]) == 0.5


@pytest.mark.parametrize("ids", [[], [1, 2]])
def test_one_result_needs_one_id(inverted: bw.Registry, ids: Any) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        inverted.load_result(ids)


def test_results_keep_the_order_of_ids(inverted: bw.Registry) -> None:
    assert inverted.reduce_results_list([4, 1, 2, 1]) == [0.25, 1.0, 0.5]
    assert list(inverted.iter_results([4, 1])) == [(4, 0.25), (1, 1.0)]
    assert inverted.reduce_results(lambda text, x: f"{text} {x}", [4, 1], init="") == " 0.25 1.0"


def test_done_jobs_are_the_default(inverted: bw.Registry) -> None:
    assert inverted.reduce_results_list() == [1.0, 0.5, 0.25]
    assert inverted.reduce_results_table()["job_id"].to_pylist() == [1, 2, 4]
    assert dict(inverted.iter_results()) == {1: 1.0, 2: 0.5, 4: 0.25}
    assert inverted.reduce_results(lambda total, x: total + x) == 1.75


def test_folding_nothing(inverted: bw.Registry) -> None:
    assert inverted.reduce_results(max, []) is None
    assert inverted.reduce_results(max, [], init=7) == 7
    assert inverted.reduce_results_list([]) == []
    assert inverted.reduce_results_table([]).column_names == ["job_id"]


def test_functions_may_ask_for_the_job(inverted: bw.Registry) -> None:
    assert inverted.reduce_results_list([2, 1], lambda x, job: (job.id, x)) == [(2, 0.5), (1, 1.0)]
    ids = inverted.reduce_results(lambda ids, x, job: [*ids, job.job_id], init=[])
    assert ids == [1, 2, 4]


def test_functions_do_not_see_missing_values(inverted: bw.Registry) -> None:
    found = inverted.reduce_results_list([5, 1, 3], lambda x: -x, missing_val=None)
    assert found == [None, -1.0, None]


def read(verb: str, reg: bw.Registry, ids: Any) -> Any:
    if verb == "reduce_results":
        return reg.reduce_results(max, ids)
    return getattr(reg, verb)(ids)


VERBS = [
    "load_result",
    "reduce_results",
    "reduce_results_list",
    "reduce_results_table",
    "iter_results",
]


@pytest.mark.parametrize("verb", VERBS)
def test_a_failed_job_raises_with_its_traceback(inverted: bw.Registry, verb: str) -> None:
    with pytest.raises(bw.JobError, match=r"job 3 .*division by zero") as caught:
        read(verb, inverted, [3])
    error = caught.value
    assert (error.job_id, error.cause) == (3, "error")
    assert "ZeroDivisionError" in error.type
    assert "division by zero" in error.message
    assert "in invert" in error.traceback
    assert any("in invert" in note for note in error.__notes__)


@pytest.mark.parametrize("verb", VERBS)
def test_a_job_that_did_not_run_raises(inverted: bw.Registry, verb: str) -> None:
    with pytest.raises(bw.JobNotDoneError, match="job 5 is defined") as caught:
        read(verb, inverted, [5])
    assert not isinstance(caught.value, bw.JobError)


def test_unknown_jobs_have_no_results(inverted: bw.Registry) -> None:
    with pytest.raises(bw.UnknownJobError, match="6"):
        inverted.load_result(6)


def test_none_is_a_result(registry: bw.Registry) -> None:
    run(registry, same, [None, 1])
    assert registry.reduce_results_list() == [None, 1]
    assert registry.reduce_results(lambda a, b: (a, b)) == (None, 1)


def test_large_results_come_back(registry: bw.Registry) -> None:
    values = [b"x" * 3_000_000, b"y" * 10, b"z" * 5_000_000]
    run(registry, same, values)
    assert registry.reduce_results_list([3, 2, 1]) == values[::-1]


# -- tables


def test_dicts_of_scalars_become_columns(registry: bw.Registry) -> None:
    table = run(registry, as_dict, [1, 2]).reduce_results_table()
    assert table.schema.names == ["job_id", "x", "half", "name"]
    assert table.schema.field("job_id").type == pa.int64()
    assert table.to_pylist() == [
        {"job_id": 1, "x": 1, "half": 0.5, "name": "job 1"},
        {"job_id": 2, "x": 2, "half": 1.0, "name": "job 2"},
    ]


def test_none_among_dicts_is_a_row_of_nulls(registry: bw.Registry) -> None:
    table = run(registry, same, [None, {"a": 1}, None]).reduce_results_table()
    assert table.column_names == ["job_id", "a"]
    assert table["a"].to_pylist() == [None, 1, None]


def test_keys_that_a_result_lacks_are_null(registry: bw.Registry) -> None:
    table = run(registry, same, [{"a": 1}, {"b": 2.5, "a": 0.5}, {}]).reduce_results_table()
    assert table.to_pylist() == [
        {"job_id": 1, "a": 1.0, "b": None},
        {"job_id": 2, "a": 0.5, "b": 2.5},
        {"job_id": 3, "a": None, "b": None},
    ]


def test_integers_and_floats_meet_in_float64(registry: bw.Registry) -> None:
    table = run(registry, same, [1, 0.5]).reduce_results_table()
    assert table.schema.field("result").type == pa.float64()


@pytest.mark.parametrize(
    "values", [[1, 2], ["a", None], [[1], [2, 3]], [True, False], [{"a": [1]}, {"a": [2]}]]
)
def test_other_results_stand_in_one_column(registry: bw.Registry, values: list[Any]) -> None:
    table = run(registry, same, values).reduce_results_table()
    assert table.column_names == ["job_id", "result"]
    assert table["result"].to_pylist() == values


@pytest.mark.parametrize("values", [[object], [1, "a"], [{"a": 1}, 2], [{1: 2}], [True, 1]])
def test_results_without_a_type_advise_fun(registry: bw.Registry, values: list[Any]) -> None:
    run(registry, same, values)
    with pytest.raises(bw.DefinitionError, match="fun="):
        registry.reduce_results_table()


def test_fun_makes_results_fit(registry: bw.Registry) -> None:
    run(registry, same, [object, int])
    table = registry.reduce_results_table(fun=lambda kind: {"name": kind.__name__})
    assert table["name"].to_pylist() == ["object", "int"]


def test_a_result_cannot_name_its_job(registry: bw.Registry) -> None:
    run(registry, same, [{"job_id": 1}])
    with pytest.raises(bw.DefinitionError, match="job_id"):
        registry.reduce_results_table()


def test_missing_rows(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(as_dict, [1, 2, 3])
    registry.submit_jobs([2])
    table = registry.reduce_results_table([3, 2, 1], missing_val=0)
    assert table["job_id"].to_pylist() == [1, 2, 3]
    assert table["x"].to_pylist() == [None, 2, None]
    filled = registry.reduce_results_table([1, 2], missing_val={"x": -1, "why": "none"})
    assert filled["x"].to_pylist() == [-1, 2]
    assert filled["why"].to_pylist() == ["none", None]


def test_missing_scalars(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(same, [1, 2])
    registry.submit_jobs([2])
    assert registry.reduce_results_table([1, 2], missing_val=0)["result"].to_pylist() == [0, 2]


# -- errors


def test_error_messages(inverted: bw.Registry) -> None:
    table = inverted.get_error_messages()
    assert table.column_names == ["job_id", "terminated", "error", "message"]
    (row,) = table.to_pylist()
    assert (row["job_id"], row["terminated"], row["error"]) == (3, True, True)
    assert "ZeroDivisionError: division by zero" in row["message"]
    assert "Traceback" in row["message"]


def test_error_messages_of_jobs_without_error(inverted: bw.Registry) -> None:
    assert inverted.get_error_messages([1, 5]).to_pylist() == [
        {"job_id": 1, "terminated": True, "error": False, "message": None},
        {"job_id": 5, "terminated": False, "error": False, "message": None},
    ]
    rows = inverted.get_error_messages([1, 5], missing_as_error=True).to_pylist()
    assert rows[0]["error"] is False
    assert rows[1] == {
        "job_id": 5,
        "terminated": False,
        "error": True,
        "message": "[not terminated]",
    }


# -- trust


def test_pickles_that_anybody_could_have_written_are_not_loaded(
    inverted: bw.Registry,
) -> None:
    folder = Path(inverted.file_dir)
    folder.chmod(0o777)
    try:
        with pytest.raises(bw.BatchwrightError, match=r"chmod o-w"):
            inverted.load_result(1)
        assert inverted.get_job_table().num_rows == 5
    finally:
        folder.chmod(0o700)
    assert inverted.load_result(1) == 1.0


def test_group_may_write_only_where_access_says_so(inverted: bw.Registry) -> None:
    folder = Path(inverted.file_dir)
    folder.chmod(0o770)
    try:
        with pytest.raises(bw.BatchwrightError, match=r"chmod g-w"):
            inverted.load_result(1)
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("method", ["gzip", "lz4", "zstd"])
def test_large_results_are_compressed_if_asked(registry: bw.Registry, method: str) -> None:
    registry.cluster_functions = bw.Multicore(1)
    registry.compress = method
    registry.batch_map(lambda n: {"n": n, "text": "x" * n}, [10, 1_000_000, 20, 2_000_000])
    registry.submit_jobs(n_chunks=1)
    assert registry.wait_for_jobs(timeout=30)
    files = list((registry.file_dir / "runs").rglob("*.res"))
    assert files
    assert sum(file.stat().st_size for file in files) < 30_000
    assert [len(one["text"]) for _, one in registry.iter_results()] == [10, 10**6, 20, 2 * 10**6]
    assert registry.load_result(2)["text"] == "x" * 1_000_000
    assert registry.reduce_results_table().column("n").to_pylist() == [10, 1_000_000, 20, 2_000_000]
    registry.compress = "none"
    registry.reset_jobs(2)
    registry.submit_jobs(2)
    assert registry.wait_for_jobs(timeout=30)
    assert registry.load_result(2)["text"] == "x" * 1_000_000


def test_an_unknown_compression_is_refused(registry: bw.Registry) -> None:
    with pytest.raises(bw.ConfigError, match="'lzma': give one of none, gzip, lz4, zstd"):
        registry.compress = "lzma"
