"""Jobs as tables: columns, their order and types, and what happens where calls disagree."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import batchwright as bw

STATUS = {
    "job_id": pa.int64(),
    "submitted": pa.timestamp("us", "UTC"),
    "started": pa.timestamp("us", "UTC"),
    "done": pa.timestamp("us", "UTC"),
    "error": pa.string(),
    "mem_used": pa.float64(),
    "batch_id": pa.string(),
    "log_file": pa.string(),
    "job_hash": pa.string(),
    "job_name": pa.string(),
    "time_queued": pa.duration("us"),
    "time_running": pa.duration("us"),
    "state": pa.string(),
    "attempt": pa.int32(),
    "cause": pa.string(),
    "host": pa.string(),
}


def plain(type: pa.DataType) -> pa.DataType:
    """Large or encoded text is text to whoever reads it."""
    if pa.types.is_dictionary(type):
        type = type.value_type
    return pa.string() if pa.types.is_large_string(type) else type


def anything(**pars: Any) -> Any:
    return pars


def test_columns_of_the_job_table(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[1, 2])
    table = registry.get_job_table()
    assert table.column_names == [*STATUS, "job_pars", "resources", "tags"]
    found = {name: plain(table.schema.field(name).type) for name in STATUS}
    integers = {"attempt"}
    assert {k: v for k, v in found.items() if k not in integers} == {
        k: v for k, v in STATUS.items() if k not in integers
    }
    assert pa.types.is_integer(found["attempt"])
    assert pa.types.is_struct(table.schema.field("job_pars").type)
    assert pa.types.is_struct(table.schema.field("resources").type)
    assert pa.types.is_list(table.schema.field("tags").type)


def test_a_job_that_was_never_submitted(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[1])
    (row,) = registry.get_job_table().to_pylist()
    assert row["state"] == "defined"
    assert row["attempt"] == 0
    assert row["tags"] == []
    assert row["submitted"] is row["resources"] is row["cause"] is row["batch_id"] is None


def test_a_job_that_ran(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(print, ["hello"])
    registry.submit_jobs(resources={"walltime": 60, "note": "a"})
    (row,) = registry.get_job_table().to_pylist()
    assert (row["state"], row["attempt"], row["cause"]) == ("done", 1, None)
    assert row["submitted"] <= row["started"] <= row["done"]
    assert row["time_running"] == row["done"] - row["started"]
    assert row["resources"]["walltime"] == 60
    assert row["resources"]["note"] == "a"
    assert not Path(row["log_file"]).is_absolute()
    assert (registry.file_dir / row["log_file"]).exists()


def test_no_jobs_make_an_empty_table(registry: bw.Registry) -> None:
    assert registry.get_job_table().num_rows == 0
    registry.batch_map(anything, x=[1])
    assert registry.get_job_table([]).num_rows == 0
    assert registry.get_job_pars([]).column_names == ["job_id", "job_pars"]


def test_without_jobs_the_columns_stay(registry: bw.Registry) -> None:
    registry.batch_map(lambda n: n, n=[1])
    registry.batch_map(lambda s: s, s=["a"], append=True)
    nothing = bw.unwrap(registry.get_job_table(registry.find_errors()))
    assert nothing.num_rows == 0
    assert nothing.schema == bw.unwrap(registry.get_job_table()).schema


def test_without_experiments_the_columns_stay(tmp_path: Path) -> None:
    experiments = bw.make_experiment_registry(tmp_path / "e", conf_file=None)
    experiments.add_problem("p")
    experiments.add_algorithm("a")
    experiments.add_experiments({"p": {"x": [1]}}, {"a": {"y": [0.5]}})
    assert experiments.get_job_pars([]).schema == experiments.get_job_pars().schema


def test_tables_are_sorted_by_id(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[10, 20, 30])
    for verb in (
        registry.get_job_table,
        registry.get_job_status,
        registry.get_job_pars,
        registry.get_job_resources,
        registry.get_job_tags,
    ):
        assert verb([3, 1])["job_id"].to_pylist() == [1, 3]
        assert verb()["job_id"].to_pylist() == [1, 2, 3]


def test_the_job_table_is_all_tables_side_by_side(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[10, 20, 30])
    registry.add_job_tags([2], "t")
    whole = registry.get_job_table()
    for part in (
        registry.get_job_status(),
        registry.get_job_pars(),
        registry.get_job_resources(),
        registry.get_job_tags(),
    ):
        assert part.to_pylist() == whole.select(part.column_names).to_pylist()


# -- parameters


def pars(registry: bw.Registry) -> list[Any]:
    return registry.get_job_pars()["job_pars"].to_pylist()


def test_parameters_keep_their_types(registry: bw.Registry) -> None:
    day = datetime.date(2024, 2, 29)
    moment = datetime.datetime(2024, 2, 29, 12)
    row = {
        "i": 2**62,
        "f": 0.5,
        "b": True,
        "s": "ü",
        "y": b"\x00",
        "d": day,
        "t": moment,
        "n": None,
        "l": [1, 2],
    }
    registry.batch_map(anything, args=pa.Table.from_pylist([row]))
    assert pars(registry) == [row]


def test_times_keep_their_zone(registry: bw.Registry) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    registry.batch_map(anything, x=[moment])
    assert pars(registry) == [{"x": moment}]


def test_integers_and_floats_of_several_calls_meet_in_float64(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[1, 2])
    registry.batch_map(anything, x=[0.5], append=True)
    table = registry.get_job_pars()
    assert table.schema.field("job_pars").type.field("x").type == pa.float64()
    assert pars(registry) == [{"x": 1.0}, {"x": 2.0}, {"x": 0.5}]


def test_a_parameter_that_a_call_lacks_is_null(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[1])
    registry.batch_map(anything, y=["a"], append=True)
    assert pars(registry) == [{"x": 1, "y": None}, {"x": None, "y": "a"}]


def test_where_calls_disagree_the_column_shows_text(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[1, None])
    registry.batch_map(anything, x=["a"], append=True)
    assert pars(registry) == [{"x": "1"}, {"x": None}, {"x": "'a'"}]


class Loud:
    """Tells when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_explode, ())

    def __repr__(self) -> str:
        return "Loud()"


def _explode() -> None:
    raise AssertionError("unpickled")


def test_pickled_values_show_text_and_are_not_loaded(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[(1, 2), {"a": 1}, Loud(), None])
    shown = [row["x"] for row in pars(registry)]
    assert shown[:3] == ["(1, 2)", "{'a': 1}", "Loud()"]


def test_texts_of_values_are_short(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[tuple(range(1000))])
    (text,) = (row["x"] for row in pars(registry))
    assert len(text) <= 200
    assert text.startswith("(0, 1, 2")


def test_tables_cross_to_pandas_and_polars(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=[1, 2])
    table = registry.get_job_table()
    assert pl.DataFrame(table)["job_id"].to_list() == [1, 2]
    assert table.to_pandas()["job_id"].tolist() == [1, 2]


# -- unwrap


def test_unwrap_puts_new_columns_last() -> None:
    table = pa.table({"s": [{"a": 1, "b": "x"}, None], "job_id": [1, 2]})
    assert bw.unwrap(table).to_pylist() == [
        {"job_id": 1, "a": 1, "b": "x"},
        {"job_id": 2, "a": None, "b": None},
    ]


def test_unwrap_opens_one_level() -> None:
    table = pa.table({"s": [{"a": {"b": 1}}]})
    assert bw.unwrap(table).to_pylist() == [{"a": {"b": 1}}]


def test_unwrap_of_chosen_columns() -> None:
    table = pa.table({"s": [{"a": 1}], "t": [{"b": 1}]})
    assert bw.unwrap(table, "t").column_names == ["s", "b"]
    assert bw.unwrap(table, ["s"]).column_names == ["t", "a"]


def test_a_clash_of_names_suggests_sep() -> None:
    table = pa.table({"a": [0], "s": [{"a": 1}]})
    with pytest.raises(bw.DefinitionError, match="sep"):
        bw.unwrap(table)
    assert bw.unwrap(table, sep=".").column_names == ["a", "s.a"]


@pytest.mark.parametrize(("column", "shown"), [("z", "'z'"), ("a", "int64")])
def test_what_does_not_unwrap_is_named(column: str, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        bw.unwrap(pa.table({"a": [0]}), [column])


def test_unwrap_takes_tables_of_any_library() -> None:
    assert bw.unwrap(pd.DataFrame({"s": [{"a": 1}]})).to_pylist() == [{"a": 1}]
    assert bw.unwrap(pl.DataFrame({"s": [{"a": "x"}]})).to_pylist() == [{"a": "x"}]


def test_an_index_without_a_name_is_no_column() -> None:
    frame = pd.DataFrame({"d": [{"x": 1}, {"x": 2}]}, index=[5, 7])
    assert bw.unwrap(frame).to_pylist() == [{"x": 1}, {"x": 2}]
    named = frame.rename_axis("job_id")
    assert bw.unwrap(named).to_pylist() == [{"job_id": 5, "x": 1}, {"job_id": 7, "x": 2}]


def test_unwrap_collects_what_is_lazy_and_refuses_what_is_no_table() -> None:
    assert bw.unwrap(pl.LazyFrame({"d": [{"x": 1}]})).to_pylist() == [{"x": 1}]
    with pytest.raises(TypeError, match="a table is needed, not list"):
        bw.unwrap([{"d": {"x": 1}}])


def test_a_jobs_own_object(registry: bw.Registry) -> None:
    registry.batch_map(anything, x=["a", (1, 2)])
    job = registry.make_job(2)
    assert (job.id, job.job_id, job.pars) == (2, 2, {"x": (1, 2)})
    assert job.seed == registry.seed + 2


def test_a_job_knows_its_function_and_what_all_share(registry: bw.Registry) -> None:
    registry.batch_map(lambda x, by: x * by, [1, 2], more_args={"by": 10})
    job = registry.make_job(2)
    assert job.pars == {"x": 2, "by": 10}
    assert job.fun(**job.pars) == 20
    copy = pickle.loads(pickle.dumps(registry.make_job(2)))
    assert (copy.id, copy.pars, copy.seed) == (2, {"x": 2, "by": 10}, job.seed)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, **pars: Any) -> None: ...

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["path"].touch()


def test_making_a_job_unpickles_nothing(registry: bw.Registry, tmp_path: Path) -> None:
    traps = {name: tmp_path / name for name in ("fun", "x", "more", "export")}
    registry.batch_export({"export": Trap(traps["export"])})
    registry.batch_map(
        Trap(traps["fun"]), x=[Trap(traps["x"])], more_args={"m": Trap(traps["more"])}
    )
    job = registry.make_job(1)
    assert (job.id, job.seed, dict(job.resources), list(job.exports)) == (1, 2, {}, ["export"])
    assert not any(path.exists() for path in traps.values())
    assert job.fun
    assert job.pars
    assert job.exports["export"]
    assert all(path.exists() for path in traps.values())


def test_making_an_experiments_job_unpickles_nothing(tmp_path: Path) -> None:
    traps = {name: tmp_path / name for name in ("data", "fun", "x", "algorithm")}
    reg = bw.make_experiment_registry(tmp_path / "e", conf_file=None)
    reg.add_problem("p", Trap(traps["data"]), Trap(traps["fun"]))
    reg.add_algorithm("a", Trap(traps["algorithm"]))
    reg.add_experiments({"p": {"x": [Trap(traps["x"])]}})
    for path in traps.values():
        path.unlink(missing_ok=True)
    job: Any = reg.make_job(1)
    assert (job.id, job.prob_name, job.algo_name, job.problem.seed) == (1, "p", "a", None)
    assert not any(path.exists() for path in traps.values())
    assert (job.repl, job.algo_pars) == (1, {})
    assert job.prob_pars and job.problem.data and job.problem.fun and job.algorithm.fun
    assert all(path.exists() for path in traps.values())
