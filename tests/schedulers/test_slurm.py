"""Slurm's answers, as a real one gave them, and the commands that we give it."""

from __future__ import annotations

from pathlib import Path

import pytest

import batchwright as bw
from batchwright.clusters import slurm
from batchwright.collection import short_name

CHUNK = "0123456789abcdef0123456789abcdef"


def said(code: int, out: str = "", err: str = "") -> bw.Completed:
    return bw.Completed(("sbatch",), code, out, err)


def collection(**fields: object) -> bw.JobCollection:
    given = {
        "job_hash": CHUNK,
        "job_name": CHUNK,
        "n_jobs": 1,
        "uri": Path("/reg/jobs/01") / f"{CHUNK}.bwc",
        "file_dir": Path("/reg"),
        "work_dir": Path("/home/me"),
        "log_file": Path("/reg/logs/01") / f"{CHUNK}.out",
        "command": ("/opt/bw/exec", "run", f"/reg/jobs/01/{CHUNK}.bwc"),
        "array_var": "SLURM_ARRAY_TASK_ID",
    }
    return bw.JobCollection(**(given | fields))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("out", "tasks", "ids"),
    [
        ("3\n", 0, ["3"]),
        ("Submitted batch job 2\n", 0, ["2"]),
        ("5\n", 2, ["5_1", "5_2"]),
        ("17;east\n", 0, ["17;east"]),
        ("a banner of the site 12\n3\n", 0, ["3"]),
    ],
)
def test_accepted(out: str, tasks: int, ids: list[str]) -> None:
    assert list(slurm.parse_submit(said(0, out), tasks).batch_ids) == ids


POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit "
    "limit, user's size and/or time limits)\n"
)


@pytest.mark.parametrize(
    ("err", "temporary"),
    [
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}", True),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}", False),
        (POLICY, True),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
            "(connect failure)\n",
            True,
        ),
        (
            "sbatch: error: invalid partition specified: nosuchpart\nsbatch: error: Batch job "
            "submission failed: Invalid partition name specified\n",
            False,
        ),
        ("sbatch: error: Invalid --time specification\n", False),
    ],
)
def test_refused(err: str, temporary: bool) -> None:
    result = slurm.parse_submit(said(1, err=err), 0)
    assert (result.status in range(1, 101)) is temporary
    assert err.strip() in result.message


@pytest.mark.parametrize(
    ("code", "out", "err"),
    [
        (1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv"),
        (0, "", ""),
        (0, "thank you\n", ""),
        (1, "17\n", "something broke"),
    ],
)
def test_in_doubt(code: int, out: str, err: str) -> None:
    with pytest.raises(bw.SchedulerError):
        slurm.parse_submit(said(code, out, err), 0)


def test_a_listing() -> None:
    out = (
        "5_30|PENDING|Resources\n5_7|RUNNING|None\n"
        "1|PENDING|ReqNodeNotAvail, UnavailableNodes:n3\n9|COMPLETING|None\n8|COMPLETED|None\n"
        "CLUSTER: east\n3|RUNNING|None\n"
    )
    assert slurm.parse_listing(said(0, out)) == {
        "5_30": bw.BatchState("queued", "Resources"),
        "5_7": bw.BatchState("running"),
        "1": bw.BatchState("queued", "ReqNodeNotAvail, UnavailableNodes:n3"),
        "9": bw.BatchState("running"),
        "3;east": bw.BatchState("running"),
    }
    assert slurm.parse_listing(said(0)) == {}


@pytest.mark.parametrize(
    "answer",
    [
        said(1, err="slurm_load_jobs error: Unable to contact slurm controller (connect failure)"),
        said(0, "5_30|PEND"),
        said(0, "<html>"),
        said(127, err="squeue: No such file or directory"),
    ],
)
def test_no_listing_is_no_look(answer: bw.Completed) -> None:
    with pytest.raises(bw.SchedulerError):
        slurm.parse_listing(answer)


def test_accounting() -> None:
    out = (
        "2218|NODE_FAIL|0:0\n2218|PENDING|0:0\n4|FAILED|0:9\n143|CANCELLED by 0|0:0\n"
        "107|TIMEOUT|0:0\n3|COMPLETED|0:0\n7_2|OUT_OF_MEMORY|0:125\n"
    )
    gone = dict.fromkeys(["2218", "4", "143", "107", "3", "7_2", "99"], True)
    assert slurm.parse_account(said(0, out), gone) == {
        "2218": None,
        "4": "crashed",
        "143": "killed",
        "107": "walltime",
        "3": "storage",
        "7_2": "oom",
    }
    unclaimed = dict.fromkeys(["4", "3"], False)
    assert slurm.parse_account(said(0, out), unclaimed) == {"4": "setup", "3": "not_started"}


def test_commands() -> None:
    jc = collection(
        job_name="my job; $(x)", resources={"cluster": "east", "dependency": "afterok:1?afterany:2"}
    )
    assert slurm.submit_command(jc) == [
        "sbatch",
        "--parsable",
        f"--job-name=my_job_x.{short_name(CHUNK)}",
        f"--comment=bw:{CHUNK}",
        "--chdir=/home/me",
        f"--output=/reg/logs/01/{CHUNK}.out",
        "--open-mode=append",
        "--clusters=east",
        "--dependency=afterok:1?afterany:2",
    ]
    array = slurm.submit_command(collection(array_jobs=3, log_file=Path("/r%j/a.out")))
    assert "--output=/r%%j/a.%a.out" in array
    assert slurm.kill_command(["5_7;east", "6;east"]) == ["scancel", "--clusters=east", "5_7", "6"]


def test_names_found_again() -> None:
    rows = slurm.parse_names(said(0, f"5|other|x\n7|my.{short_name(CHUNK)}\n8_3|a\n"))
    assert slurm.by_name(rows, [CHUNK]) == {CHUNK: "7"}


def test_the_largest_array() -> None:
    told = slurm.parse_limits(said(0, "MaxArraySize            = 1001\n"))
    assert told == bw.SiteLimits(array_size=1000)
    assert slurm.parse_limits(said(127)) is None


def test_a_plan_needs_no_slurm(
    registry: bw.Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    registry.cluster_functions = bw.Slurm()
    registry.max_concurrent_jobs = 7
    registry.batch_map(abs, range(10))
    plan = registry.plan_submission(chunk_size=2, resources={"walltime": 60})
    assert (plan.scheduler_calls, plan.table["task"].to_pylist()) == (1, [1, 2, 3, 4, 5])
    assert "#SBATCH --array=1-5%7\n" in plan.script(3)
    assert plan.script().count(".bwc\n") == 5
    assert plan.limits == bw.SiteLimits()
    assert "unknown number of tasks of an array, an unknown number of unfinished jobs" in str(plan)
    single = registry.plan_submission(chunk_size=2, resources={"array": False})
    assert (single.scheduler_calls, single.table["task"].null_count) == (5, 5)
    assert "--array" not in single.script(4)
    with pytest.raises(bw.SubmitError, match="No such file"):
        registry.submit_jobs(chunk_size=2)
    assert len(registry.find_not_submitted()) == 10


def test_a_registry_that_nodes_cannot_see() -> None:
    reg = bw.make_registry(None, conf_file=None, make_default=False)
    reg.cluster_functions = bw.Slurm()
    reg.batch_map(abs, [-1])
    with pytest.raises(bw.SubmitError, match="lies on this machine only"):
        reg.submit_jobs()
    assert reg.find_not_submitted() == {1}
    assert not list(reg.file_dir.glob("jobs/*/*"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"template": ""},
        {"template": 3},
        {"array_jobs": "yes"},
        {"nodename": "-oProxyCommand=touch x"},
        {"nodename": "a b"},
        {"nodename": "h;x"},
        {"scheduler_latency": -1},
        {"fs_latency": "long"},
        {"hooks": {"pre_sbmit": print}},
    ],
)
def test_arguments_that_are_wrong(arguments: dict[str, object]) -> None:
    with pytest.raises(bw.ConfigError):
        bw.Slurm(**arguments)  # pyright: ignore[reportArgumentType]


def test_a_missing_template_is_told_before_anything_is_written(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Slurm("nosuch")
    registry.batch_map(abs, [-1])
    with pytest.raises(bw.TemplateError, match="there is no template `nosuch`"):
        registry.submit_jobs()
    assert not list(registry.file_dir.glob("jobs/*/*"))


def test_it_is_stored_and_configured(tmp_path: Path) -> None:
    conf = tmp_path / "conf.toml"
    conf.write_text('[cluster_functions]\nkind = "slurm"\ntemplate = "slurm-simple"\n')
    reg = bw.make_registry(tmp_path / "r", conf_file=conf, make_default=False)
    assert repr(reg.cluster_functions) == "Slurm(template='slurm-simple')"
    reg.cluster_functions = bw.Slurm(nodename="login1")
    reg.store.close()
    again = bw.load_registry(tmp_path / "r", conf_file=conf, make_default=False)
    assert repr(again.cluster_functions) == "Slurm(nodename='login1')"
