"""Answers of TORQUE and OpenPBS, as real ones gave them."""

from __future__ import annotations

import pytest

import batchwright as bw
from batchwright.clusters import torque


def said(code: int, out: str = "", err: str = "") -> bw.Completed:
    return bw.Completed(("qsub",), code, out, err)


def test_accepted() -> None:
    assert list(torque.parse_submit(said(0, "6.host\n"), 0).batch_ids) == ["6"]
    assert list(torque.parse_submit(said(0, "10[].host\n"), 2).batch_ids) == ["10[1]", "10[2]"]
    # OpenPBS knows no array of one: it is a job like others.
    assert list(torque.parse_submit(said(0, "10.host\n"), 1).batch_ids) == ["10"]


@pytest.mark.parametrize(
    ("code", "err", "temporary"),
    [
        (228, "qsub: submit error (Maximum number of jobs already in queue for user MSG=x)", True),
        (200, "qsub: submit error (Maximum number of jobs already in queue MSG=Job 77.h x)", True),
        (38, "qsub: would exceed queue generic's per-user limit", True),
        (38, "qsub: Maximum number of jobs for user joe already in complex", True),
        (38, "qsub: Maximum number of jobs already in complex", True),
        (162, "Connection refused\nqsub: cannot connect to server host (errno=15010)", True),
        (33, "qsub: cannot connect to server (null) (errno=15137) could not connect to trqauthd",
         True),
        (170, "qsub: Unknown queue", False),
        (172, "qsub: submit error (Unknown queue MSG=requested queue not found)", False),
        (188, "qsub: Job violates queue and/or server resource limits", False),
        (1, "qsub can not be run as root", False),
    ],
)  # fmt: skip
def test_refused(code: int, err: str, temporary: bool) -> None:
    assert (torque.parse_submit(said(code, err=err), 0).status in range(1, 101)) is temporary


def test_in_doubt() -> None:
    for answer in (said(0), said(0, "hello"), said(1, "6.host\n", "oops")):
        with pytest.raises(bw.SchedulerError):
            torque.parse_submit(answer, 0)


PBS = """Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
6.host            demo             joe                      0 R workq
10[].host         arr              joe                      0 B workq
10[1].host        arr              joe                      0 R workq
10[2].host        arr              joe                      0 X workq
123456[10000].se* arr              joe                      0 Q workq
"""
TORQUE = """Job ID                    Name             User            Time Use S Queue
------------------------- ---------------- --------------- -------- - -----
2.host                     STDIN            joe             00:00:00 C batch
5[].host                   arr              joe                    0 R batch
5[0].host                  arr-0            joe             00:00:00 C batch
5[4].host                  arr-4            joe                    0 H batch
60.host                    ...characters_xy joe                    0 Q batch
"""


def test_listings() -> None:
    wanted = ["10[1]", "10[2]", "10[3]", "99"]
    found = torque.parse_listing(said(0, PBS), wanted)
    assert {batch: state.state for batch, state in found.items()} == {
        "6": "running",
        "10[]": "running",
        "10[1]": "running",
        "123456[10000]": "queued",
        "10[3]": "queued",
    }
    found = torque.parse_listing(said(0, TORQUE), ["5[0]", "5[9]"])
    assert {batch: state.state for batch, state in found.items()} == {
        "5[]": "running",
        "5[4]": "queued",
        "60": "queued",
        "5[9]": "queued",
    }
    assert torque.parse_listing(said(0), ["5[9]"]) == {}


@pytest.mark.parametrize(
    "answer",
    [
        said(255, err="Connection refused\nqstat: cannot connect to server host (errno=15010)"),
        said(0, "welcome to the cluster\n"),
        said(0, "6.host  demo\n"),
    ],
)
def test_no_listing_is_no_look(answer: bw.Completed) -> None:
    with pytest.raises(bw.SchedulerError):
        torque.parse_listing(answer, [])


def test_kill() -> None:
    backend = bw.TORQUE(dialect="torque")
    for err in (
        "qdel: nonexistent job id: 99",
        "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 14.host",
        "qdel: Unknown Job Id 21.host",
        "qdel: Job has finished 12.host",
    ):
        backend.check_kill(said(153, err=err))
    backend.check_kill(said(0))
    with pytest.raises(bw.SchedulerError, match="could not connect to MOM"):
        backend.check_kill(said(224, err="qdel: Server could not connect to MOM 507.host"))


def test_dialects() -> None:
    assert torque.parse_version(said(0, "pbs_version = 23.06.06\n")) == "pbs"
    assert torque.parse_version(said(0, err="Version: 6.1.3.h5\nCommit: x")) == "torque"
    with pytest.raises(bw.ConfigError, match="dialect"):
        bw.TORQUE(dialect="lsf")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ("    job_state = F\n    Exit_status = -29\n", "walltime"),
        ("    job_state = C\n    exit_status = -11\n", "walltime"),
        ("    job_state = F\n    Exit_status = -27\n", "oom"),
        ("    job_state = F\n    Exit_status = 271\n", "killed"),
        ("    job_state = F\n    Exit_status = 3\n", "crashed"),
        ("    job_state = F\n    Exit_status = 0\n", "storage"),
        ("    job_state = Q\n    Exit_status = -20\n", None),
        ("    job_state = F\n    Exit_status = -20\n", "node"),
        ("    job_state = F\n    substate = 91\n", "killed"),
    ],
)
def test_accounting(lines: str, cause: str | None) -> None:
    out = f"Job Id: 6.host\n    Job_Name = x\n{lines}\n"
    err = "qstat: Unknown Job Id 7.host"
    assert torque.parse_account(said(153, out, err), {"6": True, "7": True}) == {"6": cause}
