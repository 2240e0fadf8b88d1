from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import batchwright as bw
from batchwright.runtimes import estimate_runtimes
from batchwright.usage import summarize_usage


@pytest.fixture
def reg(tmp_path: Path) -> Iterator[bw.Registry]:
    def work(n: int, kind: str) -> int:
        import time

        if kind == "bad":
            raise ValueError(n)
        time.sleep(n / 100)
        return n

    with bw.make_registry(tmp_path / "registry", conf_file=None, make_default=False) as reg:
        reg.cluster_functions = bw.Interactive()
        reg.batch_map(work, n=[1, 1, 5, 5, 5], kind=["a", "b", "a", "bad", "a"])
        reg.submit_jobs([1, 2, 3, 4], resources={"memory": 300})
        yield reg


def test_all_jobs_are_one_group(reg: bw.Registry) -> None:
    (row,) = summarize_usage(reg).to_pylist()
    assert row["jobs"] == 3
    assert row["memory_asked"] == 300
    assert 0.01 <= row["runtime_p95"] <= row["runtime_max"] < 1
    assert row["runtime_suggested"] == math.ceil(row["runtime_max"] * 1.25)


def test_groups_by_parameters_and_columns(reg: bw.Registry) -> None:
    table = summarize_usage(reg, reg.find_jobs(), by=("n", "state"))
    assert table.column_names[:3] == ["n", "state", "jobs"]
    assert table.select(["n", "state", "jobs"]).to_pylist() == [
        {"n": 1, "state": "done", "jobs": 2},
        {"n": 5, "state": "done", "jobs": 1},
        {"n": 5, "state": "error", "jobs": 1},
    ]
    assert table["runtime_max"][1].as_py() > table["runtime_max"][0].as_py()


def test_nothing_ran(reg: bw.Registry) -> None:
    table = summarize_usage(reg, [5], by="kind")
    assert table.num_rows == 0
    assert table.schema.field("memory_suggested").type == pa.float64()


def test_the_margin(reg: bw.Registry) -> None:
    (row,) = summarize_usage(reg, margin=1000).to_pylist()
    assert row["runtime_suggested"] >= 50
    with pytest.raises(ValueError, match="margin"):
        summarize_usage(reg, margin=-1)


def test_unknown_columns_are_named(reg: bw.Registry) -> None:
    with pytest.raises(bw.DefinitionError, match=r"'m'.*there are job_id.* n"):
        summarize_usage(reg, by="m")


def test_structs_make_no_groups(reg: bw.Registry) -> None:
    with pytest.raises(bw.DefinitionError, match="job_pars"):
        reg.summarize_usage(by="job_pars")


def test_an_estimate_needs_jobs_that_are_done(reg: bw.Registry) -> None:
    with pytest.raises(bw.JobNotDoneError, match="submit some"):
        estimate_runtimes(reg, reg.get_job_pars([4, 5]))
    with pytest.raises(bw.DefinitionError, match="job_id"):
        estimate_runtimes(reg, pa.table({"n": [1]}))
    with pytest.raises(bw.DefinitionError, match="twice"):
        estimate_runtimes(reg, pa.table({"job_id": [1, 1]}))
    with pytest.raises(bw.UnknownJobError):
        estimate_runtimes(reg, pa.table({"job_id": [9], "n": [1]}))


def test_run_times_of_jobs_that_are_done_are_observed(reg: bw.Registry) -> None:
    found = estimate_runtimes(reg, reg.get_job_pars([3, 1]))
    assert found.table["type"].to_pylist() == ["observed"] * 2
    assert found.model is None
    assert "remaining : 0:00:00" in str(found)


def test_others_are_estimated_from_their_parameters(reg: bw.Registry) -> None:
    pytest.importorskip("sklearn")
    found = estimate_runtimes(reg, reg.get_job_pars(), n_estimators=50)
    types = dict(
        zip(found.table["job_id"].to_pylist(), found.table["type"].to_pylist(), strict=True)
    )
    assert types == {1: "observed", 2: "observed", 3: "observed", 4: "estimated", 5: "estimated"}
    runtime = found.table["runtime"].to_pylist()
    assert min(runtime[:2]) < runtime[4] <= runtime[2]
    assert found.model.n_estimators == 50
    again = estimate_runtimes(reg, reg.get_job_pars(), n_estimators=50)
    assert again.table == found.table
    assert "2 at a time" in found.describe(2)
