"""Defining jobs: which calls are made of which columns, and what cannot be."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import batchwright as bw


def called(registry: bw.Registry, *columns: Any, **named: Any) -> list[Any]:
    """What the jobs got, as (positional, by name) of each."""
    registry.batch_map(lambda *args, **kwargs: (args, kwargs), *columns, **named)
    return [registry.test_job(job) for job in registry.find_jobs()]


def received(registry: bw.Registry, values: Any) -> list[Any]:
    registry.clear_registry()
    registry.batch_map(lambda x: x, values)
    return [registry.test_job(job) for job in registry.find_jobs()]


def test_columns_are_zipped_by_position_and_by_name(registry: bw.Registry) -> None:
    assert called(registry, [1, 2], k=["a", "b"]) == [((1,), {"k": "a"}), ((2,), {"k": "b"})]


def test_ids_count_from_one(registry: bw.Registry) -> None:
    assert registry.batch_map(abs, [-1, -2, -3]) == {1, 2, 3}


@pytest.mark.parametrize("scalar", ["text", b"bytes", {"a": 1}, 3, None, np.array(5)])
def test_scalars_are_recycled(registry: bw.Registry, scalar: Any) -> None:
    found = called(registry, [1, 2], k=scalar)
    assert [kwargs["k"] for _, kwargs in found] == [scalar, scalar]


def test_a_column_of_one_value_is_recycled(registry: bw.Registry) -> None:
    assert [args for args, _ in called(registry, [1, 2, 3], [9])] == [(1, 9), (2, 9), (3, 9)]


def test_an_iterator_beside_a_column_is_read_exactly_as_far(registry: bw.Registry) -> None:
    numbers = itertools.count()
    registry.batch_map(lambda x, y: x + y, [10, 20], numbers)
    assert next(numbers) == 2


def test_an_iterator_alone_is_drained(registry: bw.Registry) -> None:
    assert len(registry.batch_map(abs, iter(range(7)))) == 7


def test_no_column_and_empty_columns_give_no_job(registry: bw.Registry) -> None:
    assert registry.batch_map(lambda: 1) == set()
    assert registry.batch_map(abs) == set()
    assert registry.batch_map(abs, args=pd.DataFrame()) == set()
    assert registry.batch_map(abs, []) == set()


def test_args_takes_tables(registry: bw.Registry) -> None:
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}, index=[7, 8])
    for table in (frame, pl.DataFrame(frame), pa.table(frame), frame.to_dict("list")):
        registry.clear_registry()
        registry.batch_map(lambda x, y: (x, y), args=table)
        assert registry.test_job(2) == (2, "b")


def test_more_args_are_shared(registry: bw.Registry) -> None:
    registry.batch_map(lambda x, data: (x, data), [1, 2], more_args={"data": [1, 2, 3]})
    assert registry.test_job(2) == (2, [1, 2, 3])


def test_names_of_the_function_work_whatever_the_verbs_own_are(registry: bw.Registry) -> None:
    registry.batch_map(lambda reg, fun: (reg, fun), reg=[1], fun=[2])
    assert registry.test_job(1) == (1, 2)


def test_positional_only_parameters_and_builtins(registry: bw.Registry) -> None:
    registry.batch_map(pow, [2, 3], [3, 2])
    assert registry.test_job(1) == 8


def test_append_goes_on_with_the_ids(registry: bw.Registry) -> None:
    registry.batch_map(abs, [-1, -2])
    assert registry.batch_map(lambda y: y, ["a"], append=True) == {3}
    assert registry.test_job(1) == 1
    assert registry.test_job(3) == "a"


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, None],
        [2**63, -1],
        [1, 2.5, True, "a", None],
        [0.1, float("inf"), None],
        [True, False],
        ["a", "", "ä\x00", None],
        ["\ud800"],
        [b"\x00", b""],
        [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)],
        [datetime.datetime(2024, 1, 1, 12, 30, 1, 5), None],
        [datetime.datetime(2024, 7, 1, tzinfo=BERLIN)],
        [datetime.datetime(2024, 7, 1, tzinfo=datetime.UTC)],
        [datetime.datetime(2024, 7, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=3)))],
        [datetime.timedelta(days=-3, microseconds=7)],
        [[1, 2], [], None],
        [["a"], ["b", None]],
        [[1, 2.5]],
        [(1, 2), (3,)],
        [{"a": [1]}, {}],
        [Path("/x"), Path("y")],
        [frozenset({1})],
        [1j],
        ["x" * 300_000],
        [tuple(range(100_000))],
    ],
    ids=lambda values: ascii(values)[:40],
)
def test_a_job_gets_an_equal_value_of_the_same_type(
    registry: bw.Registry, values: list[Any]
) -> None:
    found = received(registry, values)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (np.array([1, 2], dtype=np.int8), [1, 2]),
        (np.array([0.5], dtype=np.float32), [0.5]),
        (np.array(["a"]), ["a"]),
        (np.array([True]), [True]),
        ([np.int64(3), np.float64(0.5), np.str_("s")], [3, 0.5, "s"]),
        (np.array(["2024-01-02"], dtype="M8[D]"), [datetime.date(2024, 1, 2)]),
        (np.array(["2024-01-02", "NaT"], dtype="M8[ns]"), [datetime.datetime(2024, 1, 2), None]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series(["b", "a"], dtype="category"), ["b", "a"]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Series(pd.to_datetime(["2024-01-02", None])), [datetime.datetime(2024, 1, 2), None]),
        ([pd.NA, pd.Timestamp("2024-01-02")], [None, datetime.datetime(2024, 1, 2)]),
        (pl.Series([1, None]), [1, None]),
        (pl.Series([[1], [2, 3]]), [[1], [2, 3]]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
        (pa.array([{"a": 1}]), [{"a": 1}]),
        (range(3), [0, 1, 2]),
        (bw.JobIds([4, 2]), [2, 4]),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_values_of_other_libraries_arrive_as_pythons_own(
    registry: bw.Registry, column: Any, expected: list[Any]
) -> None:
    found = received(registry, column)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_nan_stays_apart_from_none(registry: bw.Registry) -> None:
    nan, none = received(registry, [float("nan"), None])
    assert nan != nan
    assert none is None


def test_nanoseconds_are_kept(registry: bw.Registry) -> None:
    value = np.datetime64("2024-01-02T00:00:00.000000001")
    (found,) = received(registry, np.array([value]))
    assert found == value
    assert type(found) is np.datetime64


def test_arrays_arrive_as_arrays(registry: bw.Registry) -> None:
    found = received(registry, np.eye(2))
    assert [row.tolist() for row in found] == [[1.0, 0.0], [0.0, 1.0]]


plain = st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.lists(st.one_of(plain, st.lists(plain, max_size=3), st.booleans()), min_size=1)


@given(
    column=st.one_of(values, st.lists(st.text(), min_size=1), st.lists(st.integers(), min_size=1))
)
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_whatever_the_values(registry: bw.Registry, column: list[Any]) -> None:
    found = received(registry, column)
    assert repr(found) == repr(column)


def test_grid_changes_the_last_column_fastest() -> None:
    assert bw.grid(x=[2, 1], y=["a", "b"], z=0).to_pydict() == {
        "x": [2, 2, 1, 1],
        "y": ["a", "b", "a", "b"],
        "z": [0, 0, 0, 0],
    }


def test_reduce_folds_groups_by_number(registry: bw.Registry) -> None:
    registry.batch_reduce(lambda total, x: total + x, ["a", "b", "c"], chunks=[2, 1, 2])
    assert [registry.test_job(i) for i in (1, 2)] == ["b", "ac"]


def test_reduce_begins_with_init_which_no_job_spoils(registry: bw.Registry) -> None:
    def collect(values: list[int], x: int) -> list[int]:
        values.append(x)
        return values

    registry.batch_reduce(collect, [1, 2], init=[])
    registry.cluster_functions = bw.Interactive()
    registry.submit_jobs(chunk_size=2)
    assert registry.reduce_results_list() == [[1], [2]]


def test_exports_are_globals_of_the_function(registry: bw.Registry) -> None:
    registry.batch_export({"limit": 7})
    registry.batch_map(lambda x: x + limit, [1])  # noqa: F821 # type: ignore
    assert registry.test_job(1) == 8
    assert "limit" not in globals()
    assert registry.batch_export(unexport="limit").num_rows == 0


def test_results_of_another_registry_are_the_first_argument(
    registry: bw.Registry, tmp_path: Path
) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(lambda x: x * 10, [1, 2, 3])
    registry.submit_jobs()
    target = bw.make_registry(tmp_path / "target", conf_file=None)
    target.batch_map_results(lambda result, y: (result, y), [3, 1], source=registry, y=["a", "b"])
    assert [target.test_job(i) for i in (1, 2)] == [(30, "a"), (10, "b")]


def test_results_to_map_over_must_be_there(registry: bw.Registry, tmp_path: Path) -> None:
    source = bw.make_registry(tmp_path / "source", conf_file=None, make_default=False)
    source.batch_map(abs, [-1])
    with pytest.raises(bw.JobNotDoneError, match="job 1"):
        registry.batch_map_results(abs, [1], source=source)
    with pytest.raises(TypeError, match="`source` is"):
        registry.batch_map_results(abs, source=source.file_dir)  # type: ignore


def test_a_million_jobs_are_defined_without_a_loop(registry: bw.Registry) -> None:
    ids = registry.batch_map(lambda x, y: x, np.arange(1_000_000), y="same")
    assert len(ids) == 1_000_000
