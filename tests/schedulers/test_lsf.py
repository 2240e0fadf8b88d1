"""Answers of LSF, from its documents, and of OpenLava, as a real one gave them."""

from __future__ import annotations

import pytest

import batchwright as bw
from batchwright.clusters import lsf, openlava
from batchwright.collection import short_name

CHUNK = "0123456789abcdef0123456789abcdef"
NAME = short_name(CHUNK)


def said(code: int, out: str = "", err: str = "") -> bw.Completed:
    return bw.Completed(("bsub",), code, out, err)


def test_accepted() -> None:
    line = "Job <1> is submitted to default queue <normal>.\n"
    assert list(lsf.parse_submit(said(0, line), 0).batch_ids) == ["1"]
    assert list(lsf.parse_submit(said(0, err=line), 2).batch_ids) == ["1[1]", "1[2]"]


@pytest.mark.parametrize(
    ("err", "temporary"),
    [
        ("User <joe>: Pending job threshold reached. Job not submitted.", True),
        ("Connection refused by server. Job not submitted.", True),
        ("batch system daemon not responding ... still trying", True),
        ("nosuch: No such queue. Job not submitted.", False),
        ("RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", False),
    ],
)
def test_refused(err: str, temporary: bool) -> None:
    assert (lsf.parse_submit(said(255, err=err), 0).status in range(1, 101)) is temporary


def test_in_doubt() -> None:
    for answer in (
        said(0, "hello"),
        said(255, err="Contacting batch daemon: Communication timeout. Job not submitted."),
    ):
        with pytest.raises(bw.SchedulerError):
            lsf.parse_submit(answer, 0)


TABLE = f"""JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME
1       joe     PEND  normal     host           -        {NAME} Nov 25 02:37
5       joe     PSUSP normal     host           -        held and {NAME}x Nov 25 02:37
3       joe     RUN   normal     host        host        {NAME}[7] Nov 25 02:37
4       joe     UNKWN normal     host        host        a b [1] Nov 25 02:37
2       joe     EXIT  normal     host        host        x Nov 25 02:37
"""


def test_a_listing() -> None:
    found = lsf.parse_listing(said(0, TABLE))
    assert {batch: state.state for batch, state in found.items()} == {
        "1": "queued",
        "5": "queued",
        "3[7]": "running",
        "4": "running",
    }
    assert lsf.by_name(lsf.parse_names(said(0, TABLE)), [CHUNK]) == {CHUNK: "1"}


@pytest.mark.parametrize("code", [0, 254, 255])
def test_an_empty_listing(code: int) -> None:
    assert lsf.parse_listing(said(code, err="No unfinished job found")) == {}


@pytest.mark.parametrize(
    "answer",
    [
        said(255, err="batch system daemon not responding ... still trying"),
        said(255, err="lsb_init: Failed in an LSF library call: Unable to open file lsf.conf"),
        said(0, "welcome to the cluster"),
    ],
)
def test_no_listing_is_no_look(answer: bw.Completed) -> None:
    with pytest.raises(bw.SchedulerError):
        lsf.parse_listing(answer)


def test_kill() -> None:
    backend = bw.LSF()
    backend.check_kill(said(0, "Job <8> is being terminated\n"))
    backend.check_kill(
        said(255, err="Job <9999>: No matching job found\nJob <11>: Job has already finished")
    )
    with pytest.raises(bw.SchedulerError, match="User permission denied"):
        backend.check_kill(said(255, err="Job <8>: User permission denied"))


def test_accounting() -> None:
    out = (
        "8|0|EXIT|130|TERM_OWNER: job killed by owner\n9|2|EXIT|140|TERM_RUNLIMIT: job killed\n"
        "7|0|DONE|-|-\n6|0|EXIT|3|-\n5|0|RUN|-|-\n4|0|EXIT|137|TERM_MEMLIMIT: job killed\n"
    )
    gone = dict.fromkeys(["8", "9[2]", "7", "6", "5", "4", "3"], True)
    assert lsf.parse_account(said(0, out), gone) == {
        "8": "killed",
        "9[2]": "walltime",
        "7": "storage",
        "6": "crashed",
        "5": None,
        "4": "oom",
    }


def test_openlava_accounting() -> None:
    out = """
Job <13>, Job Name <wall>, User <joe>, Project <default>, Status <EXIT>, Queue
                     <normal>, Command <./sig.sh>
Wed Nov 25 02:38:23: Submitted from host <host>, CWD <$HOME/w>, Output File <%J
                     .o>, Error File <%J.e>;
Wed Nov 25 02:38:48: Exited with exit code 140. The CPU time used is 0.0 second
                     s.
"""
    assert openlava.parse_account(said(0, out), {"13": True}) == {"13": "walltime"}
