from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

import batchwright as bw
from batchwright.cli.defining import parse_values
from batchwright.cli.running import megabytes, seconds

Invoke = Callable[..., Result]


def pars() -> list[dict[str, object]]:
    reg = bw.load_registry("registry", make_default=False)
    return [row["job_pars"] for row in reg.get_job_pars().to_pylist()]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,3", [1, 2, 3]),
        ("1,2.5", [1.0, 2.5]),
        ("1,x", ["1", "x"]),
        ("a", ["a"]),
        ("", [""]),
        ("1..4", [1, 2, 3, 4]),
        ("-2..2..2", [-2, 0, 2]),
        ("true,False", [True, False]),
        ('["a,b", 1, null]', ["a,b", 1, None]),
    ],
)
def test_inline_values(text: str, values: list[object]) -> None:
    found = parse_values(text)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_times_and_sizes() -> None:
    assert [seconds(t) for t in ("90", "1.5h", "2d", "1:00:01", "1-00:00:00")] == [
        90,
        5400,
        172800,
        3601,
        86400,
    ]
    assert [megabytes(t) for t in ("500", "4G", "1T", "500K")] == [500, 4000, 1e6, 0.5]


def test_columns(invoke: Invoke, folder: Path) -> None:
    invoke("init", "study.py:simulate", "n=1,2", "rate=0.5")
    assert pars() == [{"n": 1, "rate": 0.5}, {"n": 2, "rate": 0.5}]
    invoke("init", "study.py:simulate", "--append", "n=7..8")
    assert [row["n"] for row in pars()] == [1, 2, 7, 8]


def test_grid(invoke: Invoke, folder: Path) -> None:
    invoke("init", "study.py:simulate", "n=1,2", "rate=0.5,1", "--grid")
    assert [(row["n"], row["rate"]) for row in pars()] == [(1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0)]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.json", "t.jsonl", "c.json"])
def test_tables(invoke: Invoke, folder: Path, name: str) -> None:
    rows = [{"n": 1, "rate": 0.5}, {"n": 2, "rate": 1.5}]
    Path("t.csv").write_text("n,rate\n1,0.5\n2,1.5\n")
    Path("t.tsv").write_text("n\trate\n1\t0.5\n2\t1.5\n")
    Path("t.json").write_text(json.dumps(rows))
    Path("c.json").write_text('{"n": [1, 2], "rate": [0.5, 1.5]}')
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), "t.parquet")
    invoke("init", "study.py:simulate", "-t", name)
    assert pars() == rows


def test_a_table_from_stdin_beside_columns(invoke: Invoke, folder: Path) -> None:
    invoke("init", "study.py:simulate", "-t", "-", "rate=2", input="n\n1\n2\n")
    assert pars() == [{"n": 1, "rate": 2}, {"n": 2, "rate": 2}]


def test_a_function_of_a_module_in_the_working_folder(invoke: Invoke, folder: Path) -> None:
    Path("study_module.py").write_text("def twice(x):\n    return 2 * x\n")
    invoke("init", "study_module:twice", "x=1,2")
    invoke("submit", "--n-chunks", "1", "--wait")
    assert json.loads(invoke("results", "--json").stdout)[1] == {"job_id": 2, "result": 4}


def test_settings(invoke: Invoke, folder: Path) -> None:
    invoke("init", "-r", "other", "--seed", "7", "--access", "group", "--import", "json")
    reg = bw.load_registry("other", make_default=False)
    assert (reg.seed, reg.access, reg.imports) == (7, "group", ("json",))
    invoke("init", "-r", "other", "--append", "--seed", "8", "study.py:simulate", "n=1", code=2)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense", "n=1"], 2),
        ([":simulate", "n=1"], 2),
        (["nowhere.py:simulate", "n=1"], 2),
        (["nowhere:simulate", "n=1"], 9),
        (["../x:simulate", "n=1"], 2),
        (["study.py:simulat", "n=1"], 9),
        (["study.py:__name__", "n=1"], 9),
        (["broken.py:f", "n=1"], 9),
        (["leaves.py:f", "n=1"], 9),
        (["study.py:simulate"], 2),
        (["study.py:simulate", "n"], 2),
        (["study.py:simulate", "n=1", "n=2"], 2),
        (["study.py:simulate", "1=1"], 2),
        (["study.py:simulate", "m=1"], 9),
        (["study.py:simulate", "n=1,2", "rate=1,2,3"], 9),
        (["study.py:simulate", "n=[1"], 2),
        (["study.py:simulate", "n=1..0"], 2),
        (["study.py:simulate", "n=1..9..0"], 2),
        (["study.py:simulate", "n=0..99999999999"], 2),
        (["study.py:simulate", "-t", "nowhere.csv"], 2),
        (["study.py:simulate", "-t", "study.py"], 2),
        (["study.py:simulate", "-t", "empty.csv"], 2),
        (["study.py:simulate", "-t", "bad.json"], 2),
        (["study.py:simulate", "-t", "bad.parquet"], 2),
        (["study.py:simulate", "-t", "twice.csv"], 2),
        (["study.py:simulate", "-t", "good.csv", "n=1"], 2),
        (["study.py:simulate", "-t", "good.csv", "--grid"], 2),
        (["study.py:simulate", "n=1", "--seed", "0"], 8),
        (["study.py:simulate", "n=1", "--work-dir", "nowhere"], 8),
        (["study.py:simulate", "n=1", "--conf", "nowhere"], 8),
        (["study.py:simulate", "n=1", "--access", "all"], 2),
    ],
)
def test_what_is_refused_leaves_nothing(
    invoke: Invoke, folder: Path, arguments: list[str], code: int
) -> None:
    Path("broken.py").write_text("1 / 0\n")
    Path("leaves.py").write_text("raise SystemExit(0)\n")
    Path("empty.csv").write_text("n\n")
    Path("bad.json").write_text("[1, 2")
    Path("bad.parquet").write_text("PAR1")
    Path("twice.csv").write_text("n,n\n1,2\n")
    Path("good.csv").write_text("n\n1\n")
    result = invoke("init", *arguments, code=code)
    assert result.stdout == ""
    first = result.stderr.splitlines()[0]
    assert first.startswith("error: ")
    assert not first.endswith(".")
    assert not Path("registry").exists()


def test_a_folder_that_is_there_is_left_alone(invoke: Invoke, folder: Path) -> None:
    Path("registry").mkdir()
    result = invoke("init", "study.py:simulate", "n=1", code=4)
    assert "hint: name another folder" in result.stderr
    assert list(Path("registry").iterdir()) == []


def test_a_second_definition_needs_append(invoke: Invoke, folder: Path) -> None:
    invoke("init", "study.py:simulate", "n=1")
    invoke("init", "study.py:simulate", "n=1", code=4)
    assert len(pars()) == 1
