"""What jobs printed, each job's own lines."""

from __future__ import annotations

import re
from typing import Any

import pytest

import batchwright as bw


@pytest.fixture
def printed(registry: bw.Registry) -> bw.Registry:
    """Three jobs that printed, one chunk, and one that was not submitted."""
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(print, ["one\ntwo", "Two\nthree\ntwo.", "ü", "never"])
    registry.submit_jobs([1, 2, 3], chunk_size=3)
    return registry


def test_a_log_is_the_jobs_own(printed: bw.Registry) -> None:
    assert printed.get_log(1) == ["one", "two"]
    assert printed.get_log(2) == ["Two", "three", "two."]
    assert printed.get_log(3) == ["ü"]


def test_a_job_that_was_not_started_has_no_log(printed: bw.Registry) -> None:
    with pytest.raises(bw.JobNotDoneError, match="job 4"):
        printed.get_log(4)


def test_a_job_that_printed_nothing_has_an_empty_log(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(abs, [1])
    registry.submit_jobs()
    assert registry.get_log(1) == []


def test_off_a_terminal_a_log_is_printed(
    printed: bw.Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    printed.show_log(1)
    assert capsys.readouterr().out == "one\ntwo\n"


def grep(reg: bw.Registry, ids: Any = None, **how: Any) -> list[tuple[int, int, str]]:
    rows = reg.grep_logs(ids, **how).to_pylist()
    return [(row["job_id"], row["line"], row["matches"]) for row in rows]


def test_each_job_has_one_row(printed: bw.Registry) -> None:
    assert grep(printed, pattern="two") == [(1, 2, "two"), (2, 3, "two.")]
    assert grep(printed, pattern="t") == [(1, 2, "two"), (2, 2, "three\ntwo.")]


def test_case_can_be_ignored(printed: bw.Registry) -> None:
    assert grep(printed, pattern="TWO", ignore_case=True) == [
        (1, 2, "two"),
        (2, 1, "Two\ntwo."),
    ]


def test_a_pattern_can_be_taken_as_it_stands(printed: bw.Registry) -> None:
    assert grep(printed, pattern=".", fixed=True) == [(2, 3, "two.")]
    assert grep(printed, pattern="TWO.", fixed=True, ignore_case=True) == [(2, 3, "two.")]


def test_a_pattern_sees_single_lines(printed: bw.Registry) -> None:
    assert grep(printed, pattern=r"^two$") == [(1, 2, "two")]
    assert grep(printed, pattern=r"one\stwo") == []
    assert grep(printed, pattern=re.compile(r"THREE", re.IGNORECASE)) == [(2, 2, "three")]


def test_only_some_logs_are_searched(printed: bw.Registry) -> None:
    assert grep(printed, [2, 4], pattern="two") == [(2, 3, "two.")]
    assert grep(printed, [], pattern="two") == []


@pytest.mark.parametrize(("pattern", "shown"), [("", "empty"), ("(", "fixed=True")])
def test_wrong_patterns(printed: bw.Registry, pattern: str, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        printed.grep_logs(pattern=pattern)


@pytest.mark.parametrize("pattern", [None, 1, b"hello", re.compile(b"hello")])
def test_patterns_are_texts(printed: bw.Registry, pattern: Any) -> None:
    with pytest.raises(TypeError, match="pattern is"):
        printed.grep_logs(pattern=pattern)


def test_the_columns_have_types_without_rows(printed: bw.Registry) -> None:
    table = printed.grep_logs(pattern="nothing like this")
    assert [str(field.type) for field in table.schema] == ["int64", "int64", "string"]
