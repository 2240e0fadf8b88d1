"""The life of a registry in the terminal alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow.parquet as pq

Run = Callable[..., "CompletedProcess[str]"]


def test_from_a_function_and_a_table_to_nothing(run: Run, folder: Path) -> None:
    (folder / "designs.csv").write_text("n,rate\n1,0.5\n2,0.5\n3,0.25\n")
    (folder / "study.py").write_text(
        "from pathlib import Path\n"
        "def simulate(n, rate):\n"
        "    print('n is', n)\n"
        "    if n == 2 and not Path('repaired').exists():\n"
        "        raise ValueError('two is odd')\n"
        "    return {'y': n * rate, 'name': f'{n},x'}\n"
    )

    made = run("init", "study.py:simulate", "--table", "designs.csv", "--json")
    assert json.loads(made.stdout) == {
        "registry": str(folder / "registry"),
        "jobs": 3,
        "ids": "1-3",
    }
    assert json.loads(run("status", "--json").stdout)["submitted"] == 0
    submitted = run("submit", "--chunk-size", "2", "--json")
    assert json.loads(submitted.stdout) == {"jobs": 3, "chunks": 2, "ids": "1-3"}

    watched = run("watch", "--json", "--timeout", "60", code=1)
    last = json.loads(watched.stdout.splitlines()[-1])
    assert (last["done"], last["error"]) == (2, 1)
    failed = json.loads(run("errors", "--json").stdout)
    assert [row["job_id"] for row in failed] == [2]
    assert "ValueError: two is odd" in failed[0]["message"]
    assert run("errors").stdout.splitlines()[1] == "2\terror\tValueError: two is odd"
    assert run("log", "2").stdout.startswith("n is 2\n")

    (folder / "repaired").touch()
    again = run("submit", "--state", "error", "--wait")
    assert "1 job submitted in 1 chunk" in again.stderr
    assert run("watch").stdout == "3 jobs: 3 done\n"

    as_csv = run("results", "--pars").stdout
    assert list(csv.reader(io.StringIO(as_csv))) == [
        ["job_id", "n", "rate", "y", "name"],
        ["1", "1", "0.5", "0.5", "1,x"],
        ["2", "2", "0.5", "1", "2,x"],
        ["3", "3", "0.25", "0.75", "3,x"],
    ]
    assert json.loads(run("results", "--json").stdout)[1] == {
        "job_id": 2,
        "y": 1.0,
        "name": "2,x",
    }
    run("results", "-o", "results.parquet")
    assert pq.read_table(folder / "results.parquet")["y"].to_pylist() == [0.5, 1.0, 0.75]

    refused = run("remove", input="n\n", code=1)
    assert "3 jobs and 3 results" in refused.stderr
    assert (folder / "registry").is_dir()
    run("remove", input="y\n")
    assert not (folder / "registry").exists()
    assert run("status", code=3).stdout == ""
