from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from click.testing import Result

import batchwright as bw
from batchwright.cli.main import program

Invoke = Callable[..., Result]


def rows(result: Result) -> list[dict[str, object]]:
    return json.loads(result.stdout)


# -- choosing jobs


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--ids", "1-2,4"], [1, 2, 4]),
        (["--ids", "2–3"], [2, 3]),
        (["--ids", " 4, 1 "], [1, 4]),
        (["--state", "error"], [3]),
        (["--state", "error", "--state", "defined"], [3, 4]),
        (["--state", "not-done"], [3, 4]),
        (["--state", "submitted"], [1, 2, 3]),
        (["--where", "n > 1", "--where", "n < 4"], [2, 3]),
        (["--where", "n > 1", "--state", "done"], [2]),
        (["--tag", "hard"], [2, 4]),
        (["--tag", "hard", "--ids", "1-3"], [2]),
        (["--cause", "error"], [3]),
        ([], [1, 2, 3, 4]),
    ],
)
def test_selection(
    invoke: Invoke, study: bw.Registry, options: list[str], expected: list[int]
) -> None:
    with bw.load_registry("registry", make_default=False, writeable=True) as reg:
        reg.add_job_tags([2, 4], "hard")
    table = rows(invoke("table", "--json", *options))
    assert [row["job_id"] for row in table] == expected


def test_ids_from_stdin(invoke: Invoke, study: bw.Registry) -> None:
    assert [r["job_id"] for r in rows(invoke("table", "--json", "--ids", "-", input="1\n3\n"))] == [
        1,
        3,
    ]
    invoke("table", "--ids", "-", input="", code=1)


@pytest.mark.parametrize("text", ["", "x", "0", "3-1", "1-", "-3", "1;2", "1.5", "99999999999999"])
def test_malformed_ids(invoke: Invoke, study: bw.Registry, text: str) -> None:
    result = invoke("table", f"--ids={text}", code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "hint: " in result.stderr


def test_unknown_ids(invoke: Invoke, study: bw.Registry) -> None:
    for options in (["--ids", "7"], ["--ids", "4000000000"], ["--ids", "9", "--state", "done"]):
        assert "unknown" in invoke("table", *options, code=7).stderr
    invoke("test", "7", code=7)


@pytest.mark.parametrize("where", ["n >", "__import__('os')", "m > 1", "n.real > 1", ""])
def test_conditions_that_cannot_be(invoke: Invoke, study: bw.Registry, where: str) -> None:
    result = invoke("status", "--where", where, code=9)
    assert result.stdout == ""


# -- looking


def test_status(invoke: Invoke, study: bw.Registry) -> None:
    text = invoke("status").stdout
    assert "---- Done    : 2 ( 50.0%)" in text
    counts = json.loads(invoke("status", "--json", "--where", "n > 1").stdout)
    assert counts == {
        "defined": 3,
        "submitted": 2,
        "queued": 0,
        "started": 2,
        "running": 0,
        "done": 1,
        "error": 1,
        "expired": 0,
        "system": 0,
    }


def test_watch_ends_with_what_became_of_the_jobs(invoke: Invoke, study: bw.Registry) -> None:
    assert invoke("watch", code=1).stdout == "3 jobs: 2 done, 1 error\n"
    assert invoke("watch", "--ids", "1-2").stdout == "2 jobs: 2 done\n"
    assert "nothing to wait for" in invoke("watch", "--ids", "4", code=1).stderr


def test_log_and_grep(invoke: Invoke, study: bw.Registry) -> None:
    assert invoke("log", "1").stdout == "n is 1\n"
    assert json.loads(invoke("log", "1", "--json").stdout) == {"job_id": 1, "lines": ["n is 1"]}
    assert "no log" in invoke("log", "4", code=12).stderr
    assert invoke("grep", "n is [12]").stdout == "1:n is 1\n2:n is 2\n"
    assert rows(invoke("grep", "-i", "N IS 2", "--json")) == [
        {"job_id": 2, "line": 1, "matches": "n is 2"}
    ]
    assert invoke("grep", "nothing", code=1).stdout == ""
    assert "regular expression" in invoke("grep", "(", code=2).stderr
    assert invoke("grep", "-F", "(((", code=1).stdout == ""


def test_errors(invoke: Invoke, study: bw.Registry) -> None:
    assert invoke("errors").stdout == "job_id\tcause\tmessage\n3\terror\tValueError: three is odd\n"
    full = invoke("errors", "--full").stdout
    assert full.startswith("job 3:\n")
    assert "Traceback" in full
    assert invoke("errors", "--ids", "1", code=1).stdout == ""
    missing = rows(invoke("errors", "--missing", "--json"))
    assert [row["job_id"] for row in missing] == [3, 4]
    assert missing[1]["message"] == "[not terminated]"


def test_table_in_every_form(invoke: Invoke, study: bw.Registry, folder: Path) -> None:
    whole = rows(invoke("table", "--json"))
    assert whole[0]["job_pars"] == {"n": 1}
    assert whole[3]["submitted"] is None
    assert isinstance(whole[0]["time_running"], float)
    text = invoke("table", "--columns", "job_id,n,state").stdout
    assert text.splitlines()[1:] == ["1\t1\tdone", "2\t2\tdone", "3\t3\terror", "4\t4\tdefined"]
    invoke("table", "-o", "jobs.csv")
    assert pa_csv.read_csv("jobs.csv")["n"].to_pylist() == [1, 2, 3, 4]
    invoke("table", "-o", "jobs.parquet")
    assert pq.read_table("jobs.parquet")["state"].to_pylist()[3] == "defined"
    assert not list(folder.glob("*.part"))
    lines = invoke("table", "-f", "jsonl").stdout.splitlines()
    assert [json.loads(line)["job_id"] for line in lines] == [1, 2, 3, 4]
    assert "no column 'm'" in invoke("table", "--columns", "m", code=2).stderr
    assert "--format" in invoke("table", "-o", "jobs.xyz", code=2).stderr
    invoke("table", "-o", "nowhere/jobs.csv", code=13)
    invoke("table", "--state", "running", code=1)


def test_results(invoke: Invoke, study: bw.Registry) -> None:
    assert rows(invoke("results", "--json")) == [{"job_id": 1, "y": 1.0}, {"job_id": 2, "y": 2.0}]
    result = invoke("results")
    assert result.stdout == '"job_id","y"\n1,1\n2,2\n'
    assert "not among these: 2" in result.stderr
    assert rows(invoke("results", "--json", "--missing"))[2:] == [
        {"job_id": 3, "y": None},
        {"job_id": 4, "y": None},
    ]
    assert "job 3 failed" in invoke("results", "--ids", "1-3", code=12).stderr
    assert invoke("results", "--fun", "builtins:repr").stdout.splitlines()[1] == "1,\"{'y': 1.0}\""
    result = invoke("results", "--where", "n > 9", code=1)
    assert result.stdout == '"job_id"\n'


def test_results_in_a_file_appear_whole_or_not_at_all(
    invoke: Invoke, study: bw.Registry, folder: Path
) -> None:
    invoke("results", "-o", "results.json")
    assert json.loads((folder / "results.json").read_text())[0] == {"job_id": 1, "y": 1.0}
    invoke("results", "-o", "results.json", "--ids", "3", code=12)
    assert json.loads((folder / "results.json").read_text())[0] == {"job_id": 1, "y": 1.0}


def test_results_into_a_pipe_leave_the_pipe(
    invoke: Invoke, study: bw.Registry, folder: Path
) -> None:
    os.mkfifo("pipe.csv")
    with subprocess.Popen(["cat", "pipe.csv"], stdout=subprocess.PIPE, text=True) as reader:
        invoke("results", "-o", "pipe.csv")
        assert reader.communicate(timeout=20)[0].startswith('"job_id"')
    assert (folder / "pipe.csv").is_fifo()


# -- starting and stopping


def test_a_dry_run_submits_nothing(invoke: Invoke, study: bw.Registry) -> None:
    result = invoke("submit", "--dry-run", "--memory", "1.5G", "--walltime", "1:30:00")
    assert "1 job in 1 chunk" in result.stderr
    planned = json.loads(
        invoke("submit", "--dry-run", "--json", "--memory", "2G", "--walltime", "2h").stdout
    )
    assert planned["chunks"][0]["memory"] == 2000.0
    assert planned["chunks"][0]["walltime"] == 7200.0
    assert "run" in invoke("submit", "--dry-run", "--script").stdout
    assert json.loads(invoke("status", "--json").stdout)["submitted"] == 3
    invoke("submit", "--script", code=2)


def test_submit_what_is_left_then_nothing(invoke: Invoke, study: bw.Registry) -> None:
    assert "1 job submitted in 1 chunk" in invoke("submit", "--wait").stderr
    assert "no job to submit" in invoke("submit", code=1).stderr
    invoke("submit", "--dry-run", code=1)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--memory", "much"], 2),
        (["--walltime", "soon"], 2),
        (["--memory=-5"], 8),
        (["--resource", "memory"], 2),
        (["--resource", "retries=many"], 8),
        (["--chunk-size", "0"], 8),
        (["--chunk-size", "1", "--n-chunks", "1"], 11),
    ],
)
def test_submissions_that_are_refused(
    invoke: Invoke, study: bw.Registry, options: list[str], code: int
) -> None:
    invoke("submit", *options, code=code)
    assert json.loads(invoke("status", "--json").stdout)["submitted"] == 3


def test_reset(invoke: Invoke, study: bw.Registry) -> None:
    assert "which jobs?" in invoke("reset", code=2).stderr
    assert json.loads(invoke("reset", "--state", "error", "--json").stdout) == {
        "jobs": 1,
        "ids": "3",
    }
    invoke("reset", "--state", "error", code=1)


def test_kill_without_jobs_to_kill(invoke: Invoke, study: bw.Registry) -> None:
    result = invoke("kill", "--json", code=1)
    assert json.loads(result.stdout) == []
    assert "queued or running" in result.stderr


def test_trying_out_a_job(invoke: Invoke, study: bw.Registry) -> None:
    result = invoke("test", "2")
    assert result.stdout == "{'y': 2.0}\n"
    assert "n is 2" in result.stderr
    assert json.loads(invoke("test", "2", "--json").stdout) == {"job_id": 2, "result": {"y": 2.0}}
    failed = invoke("test", "3", code=12)
    assert failed.stdout == ""
    assert "Traceback" in failed.stderr
    assert "batchwright/cli" not in failed.stderr
    assert "error: job 3 failed: ValueError: three is odd\n" in failed.stderr
    external = invoke("test", "3", "--external", code=12)
    assert "ValueError: three is odd" in external.stderr
    assert json.loads(invoke("status", "--json").stdout)["submitted"] == 3


# -- the folder


def test_sweep_and_remove(invoke: Invoke, study: bw.Registry, folder: Path) -> None:
    assert isinstance(json.loads(invoke("sweep", "--json").stdout)["removed"], int)
    assert "nobody said yes" in invoke("remove", input="", code=1).stderr
    assert json.loads(invoke("remove", "--yes", "--json").stdout) == {
        "removed": str(folder / "registry")
    }


def test_conf(invoke: Invoke, folder: Path) -> None:
    assert json.loads(invoke("conf", "--json").stdout) == {
        "file": None,
        "file_system": None,
        "registry": None,
        "settings": None,
    }
    (folder / "batchwright.toml").write_text("max_chunks = 7\n")
    invoke("init")
    told = json.loads(invoke("conf", "--json").stdout)
    assert told["file"] == str(folder / "batchwright.toml")
    assert told["settings"]["max_chunks"] == 7
    assert told["file_system"]["hard_links"] is True
    assert told["file_system"]["type"]
    assert "max_chunks: 7" in (shown := invoke("conf").stdout)
    assert "with hard links" in shown
    (folder / "batchwright.toml").write_text("max_chunk = 7\n")
    assert "max_chunks" in invoke("status", code=8).stderr
    (folder / "batchwright.toml").unlink()


def test_usage(invoke: Invoke, study: bw.Registry) -> None:
    (row,) = rows(invoke("usage", "--json"))
    assert row["jobs"] == 2
    table = rows(invoke("usage", "--by", "n,state", "--ids", "1-3", "--json"))
    assert [(row["n"], row["state"]) for row in table] == [(1, "done"), (2, "done"), (3, "error")]
    assert invoke("usage").stdout.startswith("jobs\tmemory_asked\t")
    invoke("usage", "--by", "m", code=9)
    invoke("usage", "--ids", "4", code=1)


def test_templates(invoke: Invoke, folder: Path) -> None:
    (folder / "batchwright.mine.tmpl").write_text("#!/bin/sh\n")
    found = {row["name"]: row["path"] for row in rows(invoke("templates", "--json"))}
    assert found["mine"] == str(folder / "batchwright.mine.tmpl")
    assert "slurm" in found
    assert invoke("templates", "mine").stdout == "#!/bin/sh\n"
    assert "shipped are" in invoke("templates", "nothing", code=8).stderr


def test_retrying_takes_causes_factors_and_caps(invoke: Invoke, study: bw.Registry) -> None:
    assert rows(invoke("retry", "--json", code=1)) == {"jobs": 0, "chunks": 0, "ids": ""}
    with bw.load_registry("registry", make_default=False, writeable=True) as reg:
        reg.submit_jobs([3], resources={"memory": 1000, "walltime": 60})
    growing = ("--grow", "error.memory=10", "--grow", "error.walltime=2", "--cap", "memory=4G")
    told = invoke("retry", "--cause", "error", *growing, "--json")
    assert json.loads(told.stdout) == {"jobs": 1, "chunks": 1, "ids": "3"}
    (row,) = rows(invoke("table", "--ids", "3", "--json"))
    assert row["resources"] == {"memory": 4000, "walltime": 120}
    assert row["attempt"] == 3
    invoke("retry", "--cause", "error", code=1)
    assert invoke("retry", "--cause", "error", "--limit", "9", "--wait", code=1).stderr.startswith(
        "1 job submitted"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--grow", "oom=2"], 2),
        (["--grow", "oom.memory=much"], 2),
        (["--grow", "omm.memory=2"], 8),
        (["--cap", "memory"], 2),
        (["--cap", "memory=much"], 2),
        (["--limit", "0"], 2),
        (["--chunk-size", "1", "--n-chunks", "1"], 11),
        (["--cause", "omm"], 2),
    ],
)
def test_retries_that_are_refused(
    invoke: Invoke, study: bw.Registry, arguments: list[str], code: int
) -> None:
    assert "error: " in invoke("retry", *arguments, code=code).stderr


def test_explaining_a_job(invoke: Invoke, study: bw.Registry) -> None:
    assert invoke("explain", "3").stdout.startswith("Job 3 is error (error)\n  registry")
    told = json.loads(invoke("explain", "4", "--json").stdout)
    assert (told["job_id"], told["state"], told["cause"]) == (4, "defined", None)
    assert told["evidence"][0]["text"] == "it was never submitted"
    invoke("explain", "9", code=7)


def test_a_report_is_a_page(invoke: Invoke, study: bw.Registry) -> None:
    page = invoke("report").stdout
    assert "Submitted    : 3 ( 75.0%)" in page
    assert "1 × error: ValueError: three is odd  (first: job 3)" in page
    assert "Next:\n  batchwright submit\n  batchwright errors\n  batchwright results\n" in page
    told = json.loads(invoke("report", "--json").stdout)
    assert told["status"]["done"] == 2
    assert told["hosts"][0]["failed"] == 1
    assert told["attempts"] == {"total": 3, "repeated": 0}
    defined = json.loads(invoke("report", "--state", "defined", "--json").stdout)
    assert (defined["failures"], defined["hosts"], defined["usage"]) == ([], [], None)


def test_version(invoke: Invoke) -> None:
    assert invoke("--version").stdout == f"batchwright {bw.__version__}\n"
    assert invoke("version", "-r", "nowhere").stdout == f"batchwright {bw.__version__}\n"
    assert invoke("version").stdout == f"batchwright {bw.__version__}\n"
    assert json.loads(invoke("version", "--json").stdout)["batchwright"] == bw.__version__


@pytest.mark.parametrize("verb", list(program.commands))
def test_every_verb_has_help_and_json(invoke: Invoke, verb: str) -> None:
    text = invoke(verb, "--help").stdout
    assert f"batchwright {verb}" in text
    assert "--json" in text
    assert "Example" in text
    assert "--registry" in text


def test_the_help_tells_exit_codes(invoke: Invoke) -> None:
    text = invoke("--help").stdout
    assert "3  no registry there" in text
    assert "130  Ctrl-C" in text


def test_tables_survive_a_round_trip_through_a_pipe(invoke: Invoke, folder: Path) -> None:
    table = pa.table({"n": ["a\tb", 'c"d', "e\nf"], "rate": [1.0, float("nan"), 2.0]})
    pq.write_table(table, "odd.parquet")
    invoke("init", "study.py:simulate", "--table", "odd.parquet")
    text = invoke("table", "--columns", "job_id,n").stdout
    assert text.splitlines()[1:] == ["1\ta\\tb", '2\tc"d', "3\te\\nf"]
    found = rows(invoke("table", "--json"))
    assert found[1]["job_pars"] == {"n": 'c"d', "rate": None}
