"""Job ids behave like a frozenset that knows its order, and are read from whatever has them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchwright import JobIds, UnknownJobError

some_ids = st.frozensets(st.one_of(st.integers(1, 40), st.integers(1, 2**32 - 1)), max_size=30)


@given(some_ids, some_ids)
def test_algebra_is_that_of_sets(one: frozenset[int], other: frozenset[int]) -> None:
    a, b = JobIds(one), JobIds(other)
    assert a == one
    assert one == a
    assert hash(a) == hash(one)
    for right in (b, other, set(other)):
        assert a | right == one | other
        assert a & right == one & other
        assert a - right == one - other
        assert a ^ right == one ^ other
        assert (a <= right) == (one <= other)
        assert (a < right) == (one < other)
        assert (a >= right) == (one >= other)
        assert (a > right) == (one > other)
        assert (a == right) == (one == other)
        assert a.isdisjoint(right) == one.isdisjoint(other)
        assert type(a | right) is type(a & right) is type(a - right) is type(a ^ right) is JobIds
    assert other | a == one | other
    assert other - a == other - one
    assert other ^ a == one ^ other
    assert other & a == one & other


@given(some_ids)
def test_order_is_ascending(ids: frozenset[int]) -> None:
    found = JobIds(ids)
    assert list(found) == sorted(ids)
    assert list(reversed(found)) == sorted(ids, reverse=True)
    assert len(found) == len(ids)
    assert bool(found) == bool(ids)
    assert np.asarray(found).tolist() == sorted(ids)


@given(some_ids, st.integers(-35, 35))
def test_a_position_gives_an_int(ids: frozenset[int], at: int) -> None:
    in_order = sorted(ids)
    if -len(ids) <= at < len(ids):
        found = JobIds(ids)[at]
        assert type(found) is int
        assert found == in_order[at]
    else:
        with pytest.raises(IndexError, match=str(at)):
            JobIds(ids)[at]


@given(some_ids, st.slices(30))
def test_a_slice_gives_ids(ids: frozenset[int], part: slice) -> None:
    assert JobIds(ids)[part] == set(sorted(ids)[part])


@given(some_ids, st.data())
def test_masks_and_positions_select(ids: frozenset[int], data: st.DataObject) -> None:
    in_order = np.array(sorted(ids), dtype=np.int64)
    mask = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), dtype=bool
    )
    assert JobIds(ids)[mask] == set(in_order[mask].tolist())
    assert JobIds(ids)[np.flatnonzero(mask)] == set(in_order[mask].tolist())


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(IndexError):
        JobIds([1, 2, 3])[[True, False]]


def test_numpy_positions_are_positions() -> None:
    assert JobIds([5, 6, 7])[np.int64(1)] == 6
    assert JobIds([5, 6, 7])[[0, -1]] == {5, 7}
    assert JobIds([5, 6, 7])[[]] == set()


@pytest.mark.parametrize("key", ["a", 1.5, [1.5], None])
def test_other_keys_are_refused(key: Any) -> None:
    with pytest.raises(TypeError):
        JobIds([1, 2])[key]


@given(some_ids)
def test_copies_are_equal(ids: frozenset[int]) -> None:
    found = JobIds(ids)
    assert pickle.loads(pickle.dumps(found)) == found
    assert copy.deepcopy(found) == copy.copy(found) == found


def test_membership_is_by_value() -> None:
    ids = JobIds([1, 3])
    assert 3 in ids
    assert np.int32(3) in ids
    assert 3.0 in ids
    for other in (2, 0, -1, 2**40, 3.5, float("nan"), float("inf"), "3", None):
        assert other not in ids


def test_ids_cannot_be_changed() -> None:
    ids = JobIds([1])
    with pytest.raises(AttributeError):
        ids.core = None  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ids.more = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        ids[0] = 2  # type: ignore[index]


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([], "JobIds(0 jobs)"),
        ([7], "JobIds(1 job: 7)"),
        ([*range(1, 501), *range(503, 1001)], "JobIds(998 jobs: 1–500, 503–1000)"),
        (range(1, 40, 2), "JobIds(20 jobs: 1, 3, 5, 7, 9, 11, …)"),
    ],
)
def test_repr_is_short(ids: Any, text: str) -> None:
    assert repr(JobIds(ids)) == text


def test_arrow_takes_ids() -> None:
    ids = JobIds([3, 1])
    assert pa.array(ids).equals(pa.array([1, 3], pa.int64()))
    assert pa.table(ids).to_pydict() == {"job_id": [1, 3]}
    assert pl.Series(ids).to_list() == [1, 3]


def test_as_keys_they_replace_frozensets() -> None:
    assert {frozenset({1, 2}): "x"}[JobIds([2, 1])] == "x"
    many = range(1, 100_000, 3)
    assert hash(JobIds(many)) == hash(frozenset(many))


# -- what verbs take


@pytest.mark.parametrize(
    "ids",
    [
        [3, 1, 3],
        (1, 3),
        {1, 3},
        (i for i in (3, 1)),
        range(1, 4, 2),
        JobIds([1, 3]),
        np.array([3, 1]),
        np.array([1.0, 3.0]),
        np.array([1, 3], dtype=np.uint8),
        np.array([1, 3], dtype=object),
        pd.Series([3, 1]),
        pd.Series([3, 1], dtype="Int64"),
        pd.Index([3, 1], name="job_id"),
        pd.DataFrame({"job_id": [3, 1], "x": [0, 0]}),
        pd.DataFrame({"x": [0, 0]}, index=pd.Index([1, 3], name="job_id")),
        pd.DataFrame(
            {"x": [0, 0]},
            index=pd.MultiIndex.from_tuples([(1, "a"), (3, "b")], names=["job_id", "k"]),
        ),
        pl.Series([3, 1]),
        pl.DataFrame({"x": [0, 0], "job_id": [3, 1]}),
        pa.array([3, 1]),
        pa.chunked_array([[3], [1]]),
        pa.table({"job_id": [3, 1]}),
        pa.record_batch({"job_id": [3, 1]}),
        pa.table({"job_id": [3, 1]}).to_reader(),
        {"job_id": [1, 3]},
    ],
    ids=lambda ids: type(ids).__module__.split(".")[0] + "." + type(ids).__name__,
)
def test_many_things_are_ids(registry: Any, ids: Any) -> None:
    registry.batch_map(abs, range(1, 6))
    assert registry.find_not_submitted(ids) == {1, 3}


def test_one_id_is_ids(registry: Any) -> None:
    registry.batch_map(abs, range(1, 6))
    assert registry.find_not_submitted(3) == {3}
    assert registry.find_not_submitted(np.int64(3)) == {3}


@pytest.mark.parametrize("nothing", [[], (), np.array([]), JobIds(), pa.table({"job_id": []})])
def test_an_empty_selection_means_no_job(registry: Any, nothing: Any) -> None:
    registry.batch_map(abs, range(1, 6))
    assert registry.find_not_submitted(nothing) == set()
    assert registry.get_job_table(nothing).num_rows == 0


@pytest.mark.parametrize(
    ("ids", "error", "shown"),
    [
        ("1", TypeError, "'1'"),
        (["1"], TypeError, "'1'"),
        (True, TypeError, "True"),
        ([True], TypeError, "True"),
        (np.array([True, False]), TypeError, "mask"),
        ([None], TypeError, "None"),
        ([1.5], ValueError, "1.5"),
        (np.array([1.0, 2.5]), ValueError, "2.5"),
        ([float("nan")], ValueError, "nan"),
        (np.array([np.nan]), ValueError, "nan"),
        (pd.Series([1, None]), ValueError, "nan"),
        (np.array([[1]]), TypeError, "dimension"),
        (np.array(["2020-01-01"], dtype="M8[D]"), TypeError, "2020"),
        (pa.table({"id": [1]}), ValueError, "job_id"),
        (pd.DataFrame({"id": [1]}), ValueError, "job_id"),
        ({"id": 1}, ValueError, "job_id"),
    ],
)
def test_what_cannot_be_an_id_is_named(
    registry: Any, ids: Any, error: type[Exception], shown: str
) -> None:
    registry.batch_map(abs, range(1, 6))
    with pytest.raises(error, match=shown.replace("(", r"\(")):
        registry.find_not_submitted(ids)


@pytest.mark.parametrize("unknown", [6, 0, -7, -(2**70), 2**32 - 1, 2**32, 2**62, 2**70])
def test_unknown_ids_are_named(registry: Any, unknown: int) -> None:
    registry.batch_map(abs, range(1, 6))
    with pytest.raises(UnknownJobError, match=str(unknown)) as caught:
        registry.find_not_submitted([1, unknown])
    assert isinstance(caught.value, KeyError)
    assert not str(caught.value).startswith("'")


def test_scalars_of_arrow_and_lazy_tables_are_ids(registry: Any) -> None:
    registry.batch_map(abs, range(1, 6))
    column = registry.get_job_table()["job_id"]
    assert registry.find_not_submitted(column[2]) == {3}
    assert registry.find_not_submitted(list(column)) == set(range(1, 6))
    assert registry.find_not_submitted(pl.LazyFrame({"job_id": [2, 4]})) == {2, 4}


def test_of_many_unknown_ids_the_first_few_are_named(registry: Any) -> None:
    registry.batch_map(abs, range(1, 6))
    with pytest.raises(UnknownJobError, match=r"994 job ids are unknown: 7–1000; .* 1–5"):
        registry.find_not_submitted(range(7, 1001))
