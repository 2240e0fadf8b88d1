"""Tags group jobs; names tell them apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import batchwright as bw


@pytest.fixture
def jobs(registry: bw.Registry) -> bw.Registry:
    registry.batch_map(abs, range(1, 5))
    return registry


def test_tags_are_added_found_and_taken_away(jobs: bw.Registry) -> None:
    assert jobs.add_job_tags([1, 2], "pilot") == {1, 2}
    assert jobs.add_job_tags([2, 3], ["big", "pilot"]) == {2, 3}
    assert jobs.find_tagged("pilot") == {1, 2, 3}
    assert jobs.find_tagged(["big"]) == {2, 3}
    assert jobs.find_tagged(["big", "pilot"], [1, 4]) == {1}
    assert jobs.find_tagged("none") == set()
    assert jobs.remove_job_tags([1, 4], ["pilot", "big"]) == {1}
    assert jobs.find_tagged("pilot") == {2, 3}
    assert jobs.get_job_tags()["tags"].to_pylist() == [[], ["big", "pilot"], ["big", "pilot"], []]


def test_none_means_all_jobs(jobs: bw.Registry) -> None:
    assert jobs.add_job_tags(None, "t") == {1, 2, 3, 4}
    assert jobs.remove_job_tags(None, "t") == {1, 2, 3, 4}


def test_used_tags_are_sorted(jobs: bw.Registry) -> None:
    jobs.add_job_tags([1], ["b", "a"])
    jobs.add_job_tags([2], ["c"])
    assert jobs.get_used_job_tags() == ["a", "b", "c"]
    assert jobs.get_used_job_tags([2, 3]) == ["c"]


@pytest.mark.parametrize("tag", ["", "a b", "ü", "a/b", "a\n", 3])
def test_other_tags_are_refused(jobs: bw.Registry, tag: Any) -> None:
    with pytest.raises(ValueError, match="tag"):
        jobs.add_job_tags([1], [tag])
    assert jobs.get_used_job_tags() == []


def test_a_tag_is_needed(jobs: bw.Registry) -> None:
    with pytest.raises(ValueError, match="at least one"):
        jobs.find_tagged([])


def names(reg: bw.Registry) -> list[Any]:
    return reg.get_job_names()["job_name"].to_pylist()


def test_names_pair_with_ids_as_passed(jobs: bw.Registry) -> None:
    jobs.set_job_names([3, 1], ["three", "one"])
    assert names(jobs) == ["one", None, "three", None]
    assert jobs.get_job_names([3]).to_pylist() == [{"job_id": 3, "job_name": "three"}]


def test_none_takes_a_name_away(jobs: bw.Registry) -> None:
    jobs.set_job_names(None, ["a", "b", "c", "d"])
    jobs.set_job_names([1, 2], [None, "B"])
    assert names(jobs) == [None, "B", "c", "d"]
    jobs.set_job_names(None, None)
    assert names(jobs) == [None] * 4


def test_one_name_holds_for_all(jobs: bw.Registry) -> None:
    jobs.set_job_names([1, 2], "same")
    assert names(jobs) == ["same", "same", None, None]


@pytest.mark.parametrize("name", ["", "a\nb", "\x00", "x" * 201, 3])
def test_other_names_are_refused(jobs: bw.Registry, name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        jobs.set_job_names([1], [name])


def test_names_and_ids_are_of_one_number(jobs: bw.Registry) -> None:
    with pytest.raises(ValueError, match="2 jobs need as many names, not 1"):
        jobs.set_job_names([1, 2], ["a"])


TEXTS = [["x", "y"], np.array(["x", "y"]), pd.Series(["x", "y"]), pl.Series(["x", "y"])]


@pytest.mark.parametrize("texts", [*TEXTS, pa.array(["x", "y"]), iter(["x", "y"])])
def test_tags_come_in_any_column(jobs: bw.Registry, texts: Any) -> None:
    jobs.add_job_tags([1], texts)
    assert jobs.get_used_job_tags() == ["x", "y"]


@pytest.mark.parametrize("texts", [*TEXTS, pa.array(["x", "y"]), iter(["x", "y"])])
def test_names_come_in_any_column(jobs: bw.Registry, texts: Any) -> None:
    jobs.set_job_names((job for job in (2, 1)), texts)
    assert names(jobs)[:2] == ["y", "x"]


@pytest.mark.parametrize(
    "missing", [pd.Series(["x", None]), pa.array(["x", None]), pd.array(["x", pd.NA])]
)
def test_a_missing_name_is_none(jobs: bw.Registry, missing: Any) -> None:
    jobs.set_job_names([1, 2], missing)
    assert names(jobs)[:2] == ["x", None]


def test_a_number_is_no_tag_and_no_name(jobs: bw.Registry) -> None:
    with pytest.raises(ValueError, match="3 cannot be a tag"):
        jobs.add_job_tags([1], 3)  # type: ignore
    with pytest.raises(ValueError, match="3 cannot be a job's name"):
        jobs.set_job_names([1], 3)  # type: ignore
