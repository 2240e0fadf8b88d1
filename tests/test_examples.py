"""The examples run in processes of their own and print what they promise."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, folder: Path) -> str:
    # Away from the clone: an example needs the installed package and nothing beside it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(folder.iterdir())
    return done.stdout


def value(output: str, title: str) -> object:
    (line,) = [line for line in output.splitlines() if line.startswith(title)]
    return ast.literal_eval(line.removeprefix(title).strip())


def lines_between(output: str, first: str, last: str) -> list[str]:
    lines = output.splitlines()
    begin = lines.index(first)
    end = next(i for i, line in enumerate(lines) if i > begin and line.startswith(last))
    return lines[begin + 1 : end]


def test_pi(tmp_path: Path) -> None:
    output = run("pi", tmp_path)
    assert "---- Done    : 10 (100.0%)" in output
    means = [value(output, f"mean of {of}") for of in ("load_result", "reduce_results", "btlapply")]
    assert means[0] == means[1]
    assert means == pytest.approx([3.1416] * 3, abs=0.02)
    assert "each job draws the numbers of its own seed, here as there" in output


def test_errors(tmp_path: Path) -> None:
    output = run("errors", tmp_path)
    lines = output.splitlines()
    assert "job 1 gives 100" in lines
    assert "job 2 here: ValueError: oops, 2.txt is missing" in lines
    assert "job 2 outside: ValueError: oops, 2.txt is missing" in lines
    assert [line for line in lines if line.startswith("all done:")] == [
        "all done: False",
        "all done: True",
    ]
    assert "  ---- Done    :  8 ( 80.0%)" in lines
    assert "  ---- Error   :  2 ( 20.0%)" in lines
    assert "failed: JobIds(2 jobs: 2, 9)" in lines
    assert "job 9: ValueError: oops, 9.txt is missing" in lines
    log = lines_between(output, "log of job 9:", "warned:")
    assert log[0] == "  | no input for 9"
    assert log[-1] == "  | ValueError: oops, 9.txt is missing"
    assert "2.txt" not in "".join(log)
    assert value(output, "warned:") == [5]
    assert value(output, "submitted again:") == [2, 9]
    assert value(output, "attempts:") == [1, 2, 1, 1, 1, 1, 1, 1, 2, 1]
    assert value(output, "results:") == [100 * i for i in range(1, 11)]


def test_crashes(tmp_path: Path) -> None:
    output = run("crashes", tmp_path)
    lines = output.splitlines()
    assert "  ---- Done    :  7 ( 70.0%)" in lines
    assert "  ---- Error   :  3 ( 30.0%)" in lines
    assert "job 3: crashed: killed by SIGKILL" in lines
    assert "job 5: crashed: exited with code 7" in lines
    assert "job 8: timeout: it ran longer than its timeout of 2 s" in lines
    assert value(output, "log of job 5:") == ["working on 5"]
    assert value(output, "results:") == [1, 4, None, 16, None, 36, 49, None, 81, 100]


def test_iris(tmp_path: Path) -> None:
    output = run("iris", tmp_path)
    assert value(output, "problems:") == ("iris",)
    assert value(output, "algorithms:") == ("centroids", "neighbours")
    assert value(output, "added:") == 90
    assert value(output, "added again:") == 0
    assert value(output, "by algorithm:") == [
        {"problem": "iris", "algorithm": "neighbours", "count": 60},
        {"problem": "iris", "algorithm": "centroids", "count": 30},
    ]
    counted = value(output, "by ratio:")
    assert isinstance(counted, list)
    assert sorted(counted) == [
        ("iris", "centroids", 0.67, 15),
        ("iris", "centroids", 0.9, 15),
        ("iris", "neighbours", 0.67, 30),
        ("iris", "neighbours", 0.9, 30),
    ]
    assert value(output, "to try:") == [1, 71]
    assert value(output, "same split:") is True
    assert value(output, "all done:") is True
    groups = [line for line in output.splitlines() if line.startswith("group:")]
    rows = [ast.literal_eval(line.removeprefix("group:").strip()) for line in groups]
    assert len(rows) == 9
    assert all(0 <= mce < 0.3 and count == 5 for *_, mce, count in rows)
    assert value(output, "more replications:") == 18
    assert value(output, "pandas:") == value(output, "polars:") == (90, 9)


def test_every_example_has_a_test() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tests
