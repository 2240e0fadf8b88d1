"""Joins carry all columns of both tables, structs and lists too."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from batchwright import (
    DefinitionError,
    JobIds,
    ajoin,
    ijoin,
    ljoin,
    ojoin,
    rjoin,
    sjoin,
    ujoin,
)

X = pa.table({"job_id": [3, 1, 2], "pars": [{"a": 3}, {"a": 1}, None], "n": [30, 10, 20]})
Y = pa.table({"job_id": [4, 3, 3], "tags": [["d"], ["c"], []]})


@pytest.mark.parametrize(
    ("join", "rows"),
    [
        (ijoin, [(3, {"a": 3}, 30, ["c"]), (3, {"a": 3}, 30, [])]),
        (
            ljoin,
            [
                (1, {"a": 1}, 10, None),
                (2, None, 20, None),
                (3, {"a": 3}, 30, ["c"]),
                (3, {"a": 3}, 30, []),
            ],
        ),
        (rjoin, [(3, {"a": 3}, 30, ["c"]), (3, {"a": 3}, 30, []), (4, None, None, ["d"])]),
        (
            ojoin,
            [
                (1, {"a": 1}, 10, None),
                (2, None, 20, None),
                (3, {"a": 3}, 30, ["c"]),
                (3, {"a": 3}, 30, []),
                (4, None, None, ["d"]),
            ],
        ),
    ],
)
def test_joins_are_sorted_by_id(join: Any, rows: list[Any]) -> None:
    table = join(X, Y)
    assert table.column_names == ["job_id", "pars", "n", "tags"]
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


def test_filtering_joins_keep_the_columns_of_x() -> None:
    assert sjoin(X, Y).to_pylist() == [{"job_id": 3, "pars": {"a": 3}, "n": 30}]
    assert ajoin(X, Y)["job_id"].to_pylist() == [1, 2]


def test_an_update_join_replaces_values_that_match() -> None:
    update = pa.table({"job_id": [2, 9], "pars": [{"a": 0}, {"a": 9}], "n": [0.5, 9], "z": [1, 1]})
    assert ujoin(X, update).to_pylist() == [
        {"job_id": 1, "pars": {"a": 1}, "n": 10},
        {"job_id": 2, "pars": {"a": 0}, "n": 0.5},
        {"job_id": 3, "pars": {"a": 3}, "n": 30},
    ]


@pytest.mark.parametrize("ids", [[1, 3], 3, JobIds([1, 3]), range(1, 2), pa.table({"job_id": [1]})])
def test_ids_join_tables(ids: Any) -> None:
    wanted = {ids} if isinstance(ids, int) else set(sjoin(X, ids)["job_id"].to_pylist())
    assert set(ijoin(ids, X)["job_id"].to_pylist()) == wanted
    assert set(ajoin(X, ids)["job_id"].to_pylist()) == {1, 2, 3} - wanted


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"job_id": [1], "q": ["a"]}),
        pd.DataFrame({"q": ["a"]}, index=pd.Index([1], name="job_id")),
        pl.DataFrame({"job_id": [1], "q": ["a"]}),
        {"job_id": [1], "q": ["a"]},
    ],
)
def test_tables_of_any_library_join(table: Any) -> None:
    assert ijoin(X, table).select(["job_id", "q"]).to_pylist() == [{"job_id": 1, "q": "a"}]


def test_lazy_tables_join() -> None:
    assert ijoin(pl.LazyFrame({"job_id": [2]}), [1, 2]).to_pylist() == [{"job_id": 2}]


def test_columns_to_join_on_can_be_named() -> None:
    other = pa.table({"id": [1], "w": ["v"]})
    assert ijoin(X, other, by={"job_id": "id"})["w"].to_pylist() == ["v"]
    both = ijoin(pa.table({"a": [1, 1], "b": ["x", "y"]}), pa.table({"a": [1], "b": ["y"]}))
    assert both.to_pylist() == [{"a": 1, "b": "y"}]


def test_other_columns_of_one_name_are_told_apart() -> None:
    assert ijoin(X, pa.table({"job_id": [1], "n": ["y"]})).column_names == [
        "job_id",
        "pars",
        "n",
        "n_y",
    ]


@pytest.mark.parametrize(
    ("other", "by", "shown"),
    [
        (pa.table({"z": [1]}), None, "in common"),
        (Y, "q", "'q'"),
        (Y, [], "empty"),
        (pa.table({"job_id": ["a"]}), None, "int64 and string"),
    ],
)
def test_what_cannot_be_joined_is_refused(other: Any, by: Any, shown: str) -> None:
    with pytest.raises(DefinitionError, match=shown):
        ijoin(X, other, by=by)


def test_null_ids_match_nothing() -> None:
    one = pa.table({"job_id": pa.array([None, 1], pa.int64())})
    assert ijoin(one, one)["job_id"].to_pylist() == [1]
