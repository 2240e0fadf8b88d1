"""Grid Engine's answers, as a real one gave them."""

from __future__ import annotations

import pytest

import batchwright as bw
from batchwright.clusters import sge


def said(code: int, out: str = "", err: str = "") -> bw.Completed:
    return bw.Completed(("qsub",), code, out, err)


@pytest.mark.parametrize(
    ("out", "tasks", "ids"),
    [
        ("2\n", 0, ["2"]),
        ("5.1-3:1\n", 3, ["5.1", "5.2", "5.3"]),
        ('Your job 1 ("demo") has been submitted\n', 0, ["1"]),
        ('Your job-array 4.1-2:1 ("demo") has been submitted\n', 2, ["4.1", "4.2"]),
    ],
)
def test_accepted(out: str, tasks: int, ids: list[str]) -> None:
    assert list(sge.parse_submit(said(0, out), tasks).batch_ids) == ids


DOWN = (
    "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to "
    'send message to qmaster using port 16444 on host "vm": got send error\nExiting.\n'
)


@pytest.mark.parametrize(
    ("code", "err", "temporary"),
    [
        (
            25,
            "Unable to run job: job rejected: only 3 jobs are allowed per user (current job "
            "count: 3)\nExiting.\n",
            True,
        ),
        (1, DOWN, True),
        (
            1,
            'Unable to run job: Job was rejected because job requests unknown queue "nosuch.q"\n',
            False,
        ),
        (14, "Unable to read script file because of error: error opening nosuch.sh", False),
    ],
)
def test_refused(code: int, err: str, temporary: bool) -> None:
    assert (sge.parse_submit(said(code, err=err), 0).status in range(1, 101)) is temporary


def test_in_doubt() -> None:
    for answer in (said(0), said(0, "thanks"), said(1, err="commlib error: got read timeout")):
        with pytest.raises(bw.SchedulerError):
            sge.parse_submit(answer, 0)


XML = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/x.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>4</JB_job_number><JB_name>demo</JB_name><state>r</state><tasks>1</tasks>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>6</JB_job_number><JB_name>a &lt;b&gt; c</JB_name><state>hqw</state>
    </job_list>
    <job_list state="pending">
      <JB_job_number>7</JB_job_number><JB_name>x</JB_name><state>Eqw</state>
    </job_list>
    <job_list state="running">
      <JB_job_number>8</JB_job_number><JB_name>x</JB_name><state>dr</state>
    </job_list>
  </job_info>
</job_info>
"""


def test_a_listing() -> None:
    listing = sge.parse_listing(said(0, XML))
    assert {batch: state.state for batch, state in listing.items()} == {
        "4.1": "running",
        "6": "queued",
        "7": "queued",
        "8": "running",
    }
    assert "qmod -cj" in listing["7"].reason


@pytest.mark.parametrize("answer", [said(1, err=DOWN), said(0, "<job_info>"), said(0, "hello")])
def test_no_listing_is_no_look(answer: bw.Completed) -> None:
    with pytest.raises(bw.SchedulerError):
        sge.parse_listing(answer)


@pytest.mark.parametrize(
    ("code", "out", "gone"),
    [
        (0, "root has registered the job 6 for deletion\n", True),
        (1, 'denied: job "99999" does not exist\n', True),
        (1, 'root has deleted job 7\ndenied: job "9" does not exist\n', True),
        (1, 'unable to send message to qmaster using port 1 on host "vm": got send error\n', False),
        (1, "", False),
    ],
)
def test_kill(code: int, out: str, gone: bool) -> None:
    if gone:
        sge.check_kill(said(code, out))
        return
    with pytest.raises(bw.SchedulerError):
        sge.check_kill(said(code, out))


def record(**fields: str) -> str:
    given = {"jobnumber": "2", "taskid": "undefined", "failed": "0", "exit_status": "0", **fields}
    rows = "\n".join(f"{name:<13}{value:<20}" for name, value in given.items())
    return f"{'=' * 62}\n{rows}\n"


AFTER = "100 : assumedly after job"
LIMIT = "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit"


@pytest.mark.parametrize(
    ("failed", "exit_status", "wallclock", "cpu", "maxvmem", "category", "cause"),
    [
        # As a real 8.1.9 said, of jobs that met h_rt, s_rt, h_rt with -notify, and h_cpu;
        (LIMIT, "137  (Killed)", "7s", "0.007s", "1.785MB", "-l h_rt=6", "walltime"),
        (AFTER, "138  (User defined signal 1)", "6s", "0.006s", "1.617MB", "-l h_rt=60,s_rt=5",
         "walltime"),
        (LIMIT, "140  (User defined signal 2)", "7s", "0.007s", "1.633MB", "-l h_rt=6", "walltime"),
        (AFTER, "137  (Killed)", "5s", "3.978s", "7.953MB", "-l h_cpu=4", "walltime"),
        # that were deleted, or killed by hand or by themselves, far below any limit;
        (AFTER, "137  (Killed)", "5s", "0.006s", "1.734MB", "NONE", "killed"),
        (AFTER, "137  (Killed)", "5s", "0.006s", "1.734MB", "-l h_rt=60,h_vmem=2G", "killed"),
        (AFTER, "143  (Terminated)", "5s", "0.006s", "1.734MB", "NONE", "killed"),
        ("0", "137  (Killed)", "0s", "0.006s", "0.000B", "NONE", "killed"),
        # that died of their own;
        (AFTER, "139  (Segmentation fault)", "0s", "0.007s", "0.000B", "NONE", "crashed"),
        ("0", "1", "0s", "0.019s", "0.000B", "-l h_vmem=200M", "crashed"),
        ("0", "3", "1s", "0.007s", "0.000B", "NONE", "crashed"),
        ("0", "0", "1s", "0.007s", "0.000B", "NONE", "storage"),
        # and, in the same form, those that a real one could not be brought to say.
        (LIMIT, "137  (Killed)", "70s", "3.1s", "203.1MB", "-l h_rt=600,h_vmem=200M", "oom"),
        (AFTER, "137  (Killed)", "70s", "3.1s", "1.999GB", "-l h_vmem=1G -pe smp 2", "oom"),
        (AFTER, "137  (Killed)", "70s", "3.1s", "1.100GB", "-l h_vmem=1G -pe smp 2", "killed"),
        ("26 : opening input/output file", "0", "0s", "0.0s", "0.000B", "NONE", "node"),
    ],
)  # fmt: skip
def test_accounting(
    failed: str,
    exit_status: str,
    wallclock: str,
    cpu: str,
    maxvmem: str,
    category: str,
    cause: str,
) -> None:
    text = record(
        failed=failed,
        exit_status=exit_status,
        ru_wallclock=wallclock,
        cpu=cpu,
        maxvmem=maxvmem,
        category=category,
        slots="2" if "smp 2" in category else "1",
    )
    rows = sge.parse_account(said(0, text))
    assert sge.causes_of(rows, {"2": True, "3": True}) == {"2": cause}


def test_of_a_job_that_ran_again_the_newest_record_counts() -> None:
    first, second = record(failed="19 : before writing exit_status"), record(exit_status="3")
    rows = sge.parse_account(said(0, first + second))
    assert sge.causes_of(rows, {"2": True}) == {"2": "crashed"}


def test_no_accounting() -> None:
    assert sge.parse_account(said(1, err="error: job id 99999 not found")) == []
