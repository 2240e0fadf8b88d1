"""Commands on other hosts, and workers reached by ssh, without any ssh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import batchwright as bw
from batchwright.clusters import kinds, remote, ssh

SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh") if Path("/bin", shell).exists()]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("stdin", [None, "", "a $b `c` 'd'\nEOF\n", "no newline at the end"])
def test_the_answer_is_told_from_other_output(shell: str, stdin: str | None) -> None:
    mark = remote.fresh_mark()
    program = "cat; printf '%s' \"$1|$X\"; exit 7"
    words = ["/bin/sh", "-c", program, "x", "a b'$(c)\\"]
    request = remote.request(words, stdin, {"X": "y 'z'"}, mark)
    done = subprocess.run(
        [shell, "-s"], input=f"echo welcome\n{request}", capture_output=True, text=True, check=True
    )
    expected = "" if stdin is None else stdin.removesuffix("\n") + "\n"
    assert remote.answer(done.stdout, mark) == (7, f"{expected}a b'$(c)\\|y 'z'")


def test_an_answer_that_is_cut_is_none() -> None:
    assert remote.answer("", "bwx") is None
    assert remote.answer("\nbwx\nhello\n", "bwx") is None
    assert remote.answer("\nbwx\nhello\n\nbwx \n", "bwx") is None


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "a;b", "$(x)", "a\nb", "h'", "é"])
def test_hosts_that_are_options_or_commands(name: str) -> None:
    with pytest.raises(bw.ConfigError, match="no name of a host"):
        bw.Worker(name)
    with pytest.raises(bw.ConfigError, match="no name of a host"):
        bw.run_command(["true"], nodename=name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: bw.Worker("h", ncpus=0),
        lambda: bw.Worker("h", ncpus=1.5),  # pyright: ignore[reportArgumentType]
        lambda: bw.Worker("h", max_load=-1),
        lambda: bw.Worker(3),  # pyright: ignore[reportArgumentType]
        lambda: bw.SSH([]),
        lambda: bw.SSH(["h"]),  # pyright: ignore[reportArgumentType]
        lambda: bw.SSH([bw.Worker("h"), bw.Worker("h", ncpus=2)]),
        lambda: kinds.make("ssh", {"workers": [{"nodename": "h", "cores": 3}]}),
        lambda: kinds.make("ssh", {"workers": [7]}),
    ],
)
def test_workers_that_are_wrong(make: object) -> None:
    with pytest.raises(bw.ConfigError):
        make()  # pyright: ignore[reportCallIssue]


def test_workers_are_stored() -> None:
    backend = bw.SSH([bw.Worker("h1"), bw.Worker("h2", ncpus=8, max_load=9.5)], fs_latency=3)
    stored = kinds.dump(backend)
    assert stored is not None
    again = kinds.load(stored)
    assert repr(again) == repr(backend)
    assert repr(kinds.make("ssh", {"workers": ["h1"]})) == "SSH(workers=[Worker('h1')])"


def test_answers_of_hosts() -> None:
    line = '{"alive":true,"pid":7,"cores":4,"occupied":3,"queued":2,"load_average":[1.5,1,1]}'
    done = bw.Completed(("x",), 0, f"node7\n{line}\n", "")
    host = ssh.parse_status(bw.Worker("h", ncpus=2), done, 0.0)
    assert (host.name, host.cores, host.waiting, host.load) == ("node7", 2, 5, 1.5)
    for wrong in ("", "node7\n", "node7\n{}", "node7\nhello"):
        with pytest.raises(bw.SchedulerError, match="cannot be understood"):
            ssh.parse_status(bw.Worker("h"), bw.Completed(("x",), 0, wrong, ""), 0.0)
    with pytest.raises(bw.SchedulerError, match="cannot be understood"):
        ssh.parse_entries(bw.Completed(("x",), 0, "[1]\n", ""))
