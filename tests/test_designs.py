"""Designs of experiments: whatever they come as, each job gets the values of its row."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batchwright as bw
from batchwright.keys import encoded


@pytest.fixture
def reg(tmp_path: Path) -> Iterator[bw.ExperimentRegistry]:
    reg = bw.make_experiment_registry(tmp_path / "registry", conf_file=None, seed=1)
    reg.cluster_functions = bw.Interactive()
    reg.add_problem("p", data=0)
    reg.add_algorithm("a", lambda **pars: pars)
    yield reg


TABLES: list[Any] = [
    {"x": [1, 2], "y": ["a", "b"]},
    pa.table({"x": [1, 2], "y": ["a", "b"]}),
    pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}, index=[7, 3]),
    pl.DataFrame({"x": [1, 2], "y": ["a", "b"]}),
    pl.LazyFrame({"x": [1, 2], "y": ["a", "b"]}),
    [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}],
    ({"y": "a", "x": 1}, {"y": "b", "x": 2}),
    {"x": np.array([1, 2]), "y": pd.Categorical(["a", "b"])},
    {"x": range(1, 3), "y": iter("ab")},
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: type(table).__name__)
def test_the_same_rows_from_any_table(reg: bw.ExperimentRegistry, table: Any) -> None:
    reg.add_experiments(algo_designs={"a": table})
    reg.submit_jobs()
    assert reg.reduce_results_list() == [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]
    assert not reg.add_experiments(algo_designs={"a": TABLES[0]})


def test_scalars_hold_for_all_rows(reg: bw.ExperimentRegistry) -> None:
    reg.add_experiments(algo_designs={"a": {"x": [1, 2], "name": "same", "shape": [(3, 4)]}})
    reg.submit_jobs()
    assert reg.load_result(2) == {"x": 2, "name": "same", "shape": (3, 4)}
    assert reg.find_experiments(algo_pars="name == 'same'") == {1, 2}


@pytest.mark.parametrize(
    "table", [None, {}, [], [{}], {"x": []}, pa.table({"x": pa.array([], pa.int64())})]
)
def test_one_row_without_parameters(reg: bw.ExperimentRegistry, table: Any) -> None:
    assert len(reg.add_experiments(algo_designs={"a": table})) == 1
    assert reg.test_job(1) == {}
    assert not reg.add_experiments()


def test_no_design_at_all_defines_nothing(reg: bw.ExperimentRegistry) -> None:
    assert not reg.add_experiments({}, None)
    assert not reg.add_experiments(None, {})


@dataclasses.dataclass
class Point:
    x: float
    y: float


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


VALUES: list[Any] = [
    True,
    3,
    2**70,
    1.5,
    float("inf"),
    "text",
    "\ud800",
    b"bytes",
    None,
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 12, 30, 15, 7),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    datetime.timedelta(days=-1, microseconds=3),
    [1, 2.5],
    ["a", None],
    (1, "a"),
    {"a": {1, 2}},
    Decimal("1.50"),
    PurePosixPath("a/b"),
    Colour.RED,
    Point(1.0, 2.0),
    1 + 2j,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_arrive_as_they_were(reg: bw.ExperimentRegistry, value: Any) -> None:
    reg.add_experiments(algo_designs={"a": [{"v": value}]})
    (found,) = reg.test_job(1).values()
    assert type(found) is type(value)
    assert found == value
    assert not reg.add_experiments(algo_designs={"a": [{"v": value}]})
    # The same beside values of other types, where all are pickled.
    mixed = [{"v": value}, {"v": object}, {"v": "another"}]
    assert len(reg.add_experiments(algo_designs={"a": mixed})) == 2


def test_all_of_them_are_different_experiments(reg: bw.ExperimentRegistry) -> None:
    assert len(reg.add_experiments(algo_designs={"a": [{"v": v} for v in VALUES]})) == len(VALUES)


def test_arrays_are_parameters(reg: bw.ExperimentRegistry) -> None:
    rows = [{"v": np.arange(3)}, {"v": np.eye(2)}]
    reg.add_experiments(algo_designs={"a": rows})
    np.testing.assert_array_equal(reg.test_job(2)["v"], np.eye(2))
    assert not reg.add_experiments(algo_designs={"a": rows})


def test_rows_of_the_same_design_in_any_order_are_known(reg: bw.ExperimentRegistry) -> None:
    rows = [{"x": x, "y": y} for x in (1, 2.0, "3", None) for y in ("a", (1, 2))]
    assert len(reg.add_experiments(algo_designs={"a": rows}, repls=2)) == 16
    turned = [dict(reversed(row.items())) for row in reversed(rows)]
    assert not reg.add_experiments(algo_designs={"a": turned}, repls=2)
    assert len(reg.add_experiments(algo_designs={"a": turned}, repls=3)) == 8


def test_columns_of_mixed_numbers_are_found_as_numbers(reg: bw.ExperimentRegistry) -> None:
    reg.add_experiments(algo_designs={"a": {"x": [1, 2.5, 3]}})
    assert list(reg.find_experiments(algo_pars="x > 2")) == [2, 3]
    assert [type(reg.test_job(i)["x"]) for i in (1, 2, 3)] == [int, float, int]


def test_what_cannot_be_pickled_is_refused(reg: bw.ExperimentRegistry) -> None:
    import threading

    with pytest.raises(bw.DefinitionError, match=r"design of `a`.*`v` cannot be pickled"):
        reg.add_experiments(algo_designs={"a": [{"v": threading.Lock()}]})
    assert not reg.find_jobs()


@pytest.mark.parametrize("key", [1, "", None])
def test_names_of_parameters_are_texts(reg: bw.ExperimentRegistry, key: Any) -> None:
    with pytest.raises(bw.DefinitionError, match="names are texts"):
        reg.add_experiments(algo_designs={"a": [{key: 1}]})
    with pytest.raises(bw.DefinitionError, match="names are texts"):
        reg.add_experiments(algo_designs={"a": {key: [1]}})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_grid_is_a_product_and_known_as_one(data: st.DataObject) -> None:
    values = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)
    x, y = data.draw(values), data.draw(values)
    table = bw.grid(x=x, y=y)
    assert list(zip(table["x"].to_pylist(), table["y"].to_pylist(), strict=True)) == [
        (a, b) for a in x for b in y
    ]


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=6,
)


def _is_same(one: Any, other: Any) -> bool:
    """Whether values are the same parameter, by the rules of the encoding."""
    numbers = (int, float)
    if type(one) in numbers and type(other) in numbers:
        return one == other or (one != one and other != other)
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
    return one == other


@settings(max_examples=500, deadline=None)
@given(_values, _values)
def test_the_encoding_is_equal_for_equal_values_only(one: Any, other: Any) -> None:
    assert (encoded(one) == encoded(other)) == _is_same(one, other)


@settings(max_examples=60, deadline=None)
@given(st.lists(_values, min_size=1, max_size=5))
def test_python_and_the_core_encode_alike(values: list[Any]) -> None:
    reg = bw.make_experiment_registry(None, conf_file=None, make_default=False)
    reg.add_problem("p")
    reg.add_algorithm("a", lambda **pars: pars)
    for value in values:
        reg.add_experiments(algo_designs={"a": [{"v": value}]})
    pickled = [{"v": value} for value in [*values, object]]
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(reg.add_experiments(algo_designs={"a": pickled})) == 1
    reg.remove_registry(wait=0)
