"""Jobs are found by conditions on their parameters, worked out in columns."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
import pytest

import batchwright as bw


def anything(**pars: Any) -> Any:
    return pars


@pytest.fixture
def jobs(registry: bw.Registry) -> bw.Registry:
    """Two calls: jobs 1 to 4 have n and kernel, 5 and 6 have n and a flag."""
    registry.batch_map(anything, n=[5, 10, 20, None], kernel=["a", "b", "a", "c"])
    registry.batch_map(anything, n=[0.5, 10.0], flag=[True, False], append=True)
    return registry


@pytest.mark.parametrize("ids", [None, range(1, 5), range(1, 7), [2, 3, 4, 5, 6], [4, 5], [6], []])
def test_calls_are_read_whole_or_in_part_alike(jobs: bw.Registry, ids: Any) -> None:
    wanted = range(1, 7) if ids is None else ids
    assert jobs.find_jobs("n < 15", ids=ids) == {1, 2, 5, 6} & set(wanted)
    given = [5, 10, 20, None, 0.5, 10.0]
    found = jobs.get_job_pars(ids)
    assert found["job_id"].to_pylist() == sorted(wanted)
    # Without any job there is no parameter.
    pars = found["job_pars"].to_pylist()
    assert [row["n"] for row in pars] == [given[job - 1] for job in sorted(wanted)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("n > 5", {2, 3, 6}),
        ("n >= 5 and kernel == 'a'", {1, 3}),
        ("n > 15 or kernel == 'b'", {2, 3}),
        ("not n > 5", {1, 5}),
        ("n != 10", {1, 3, 5}),
        ("5 <= n < 20", {1, 2, 6}),
        ("n == 10.0", {2, 6}),
        ("n in (5, 0.5)", {1, 5}),
        ("n in [10]", {2, 6}),
        ("n not in [10]", {1, 3, 5}),
        ("n in []", set()),
        ("kernel in ['a', 3]", {1, 3}),
        ("n is None", {4}),
        ("n is not None and kernel is None", {5, 6}),
        ("n == None", {4}),
        ("n in [None, 5]", {1, 4}),
        ("n + 1 == 6", {1}),
        ("2 * n - 10 > 0", {2, 3, 6}),
        ("n / 4 == 5", {3}),
        ("n % 10 == 0", {2, 3, 6}),
        ("n % 0 == 0", set()),
        ("n / 0 > 0", set()),
        ("-n < -10", {3}),
        ("flag", {5}),
        ("not flag", {6}),
        ("flag == True", {5}),
        ("kernel == 3", set()),
        ("kernel != 3", {1, 2, 3, 4}),
        ("kernel < 'b'", {1, 3}),
        ("True", {1, 2, 3, 4, 5, 6}),
        ("1 > 2", set()),
    ],
)
def test_texts(jobs: bw.Registry, text: str, ids: set[int]) -> None:
    assert jobs.find_jobs(text) == ids
    assert jobs.find_jobs(text, [1, 5]) == ids & {1, 5}


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("n >", 4),
        ("print(n)", 1),
        ("n > 1 and kernel.upper() == 'A'", 11),
        ("n.real == 1", 1),
        ("n[0] == 1", 1),
        ("__import__('os').system('x')", 1),
        ("(lambda: 1)()", 1),
        ("n if n else n", 1),
        ("n in kernel", 6),
        ("n in [n]", 7),
        ("n is 3", 6),
        ("n ** 2 > 1", 1),
        ("n // 2 == 1", 1),
        ("[n]", 1),
        ("n", 1),
        ("n > 'a'", 1),
        ("kernel - 1 > 0", 1),
        ("kernel and n", 1),
    ],
)
def test_what_is_refused_is_shown_with_its_place(jobs: bw.Registry, text: str, column: int) -> None:
    with pytest.raises(bw.DefinitionError, match=rf"column {column}\b"):
        jobs.find_jobs(text)


def test_unknown_names_are_told_with_the_known(jobs: bw.Registry) -> None:
    with pytest.raises(bw.DefinitionError, match=r"'m'.*n, kernel, flag"):
        jobs.find_jobs("m > 1")


def test_without_a_condition_all_jobs_are_found(jobs: bw.Registry) -> None:
    assert jobs.find_jobs() == set(range(1, 7))
    assert jobs.find_jobs(ids=[2, 3]) == {2, 3}
    assert jobs.find_jobs("n > 1", []) == set()


def test_a_registry_without_jobs_has_none_to_find(registry: bw.Registry) -> None:
    assert registry.find_jobs("n > 1") == set()


def test_expressions(jobs: bw.Registry) -> None:
    assert jobs.find_jobs((pc.field("n") > 5) & (pc.field("kernel") == "a")) == {3}
    assert jobs.find_jobs(pc.field("kernel").is_null()) == {5, 6}
    with pytest.raises(bw.DefinitionError, match="n, kernel, flag"):
        jobs.find_jobs(pc.field("m") > 5)


def test_functions_get_the_parameters_they_name(jobs: bw.Registry) -> None:
    assert jobs.find_jobs(lambda kernel: kernel in "ab") == {1, 2, 3}
    assert jobs.find_jobs(lambda n: n is not None and n > 5) == {2, 3, 6}


def test_a_job_that_lacks_a_parameter_does_not_match(jobs: bw.Registry) -> None:
    assert jobs.find_jobs(lambda n, flag: True) == {5, 6}
    assert jobs.find_jobs(lambda n, flag=None: flag is None) == {1, 2, 3, 4}


def test_functions_get_pickled_values(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[(1, 2), {"a": 1}, (3,)])
    assert registry.find_jobs(lambda x: isinstance(x, tuple)) == {1, 3}
    with pytest.raises(bw.DefinitionError, match="pickled"):
        registry.find_jobs("x == 1")


def test_errors_of_functions_are_raised(jobs: bw.Registry) -> None:
    with pytest.raises(ZeroDivisionError):
        jobs.find_jobs(lambda n: n / 0 > 1 if n else False)


@pytest.mark.parametrize("wrong", [3, ["n > 1"]])
def test_other_conditions_are_refused(jobs: bw.Registry, wrong: Any) -> None:
    with pytest.raises(TypeError, match="condition"):
        jobs.find_jobs(wrong)


def test_status_columns_go_through_the_job_table(jobs: bw.Registry) -> None:
    table = jobs.get_job_table()
    assert jobs.find_jobs("n > 5", table.filter(pc.field("job_id") < 4)) == {2, 3}
