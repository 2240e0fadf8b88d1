"""Real sshd; `tests/clusters/ssh-up` starts several that pose as hosts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import batchwright as bw
from batchwright.testing import Conformance

CONFIG = os.environ.get("SSH_CLUSTER_CONFIG", "")
HOSTS = os.environ.get("SSH_CLUSTER_HOSTS", "").split()
pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(not HOSTS, reason="no sshd here: run tests/clusters/ssh-up"),
]


@pytest.fixture(autouse=True)
def _ssh_knows_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{CONFIG}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


class TestSSH(Conformance):
    @classmethod
    def system(cls) -> str:
        told = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)
        return f"real {told.stderr.split()[0].replace('_', ' ')}, {len(HOSTS)} hosts"

    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.SSH([bw.Worker(host, ncpus=2) for host in HOSTS], fs_latency=2)

    def test_chunks_go_to_the_host_with_the_least_to_do(self, registry: bw.Registry) -> None:
        registry.batch_map(_host, range(2 * len(HOSTS)))
        registry.submit_jobs()
        assert registry.wait_for_jobs(timeout=self.patience)
        assert set(registry.reduce_results_list()) == set(HOSTS)

    def test_a_host_that_does_not_answer_is_left_out(self, registry: bw.Registry) -> None:
        registry.cluster_functions = bw.SSH([bw.Worker(HOSTS[0]), bw.Worker("127.0.0.250")])
        registry.batch_map(_host, range(2))
        registry.submit_jobs()
        assert registry.wait_for_jobs(timeout=self.patience)
        assert set(registry.reduce_results_list()) == {HOSTS[0]}

    def test_no_host_answers(self, registry: bw.Registry) -> None:
        registry.cluster_functions = bw.SSH([bw.Worker("127.0.0.250")])
        registry.batch_map(_host, range(2))
        with pytest.raises(bw.SubmitError, match="no worker answers"):
            registry.submit_jobs()
        assert registry.find_not_submitted() == {1, 2}


def _host(x: int) -> str:
    return os.uname().nodename


def test_commands_on_another_host_say_how_they_ended() -> None:
    done = bw.run_command(["sh", "-c", "cat; echo err >&2; exit 3"], stdin="a'b$c\n", nodename="h1")
    assert (done.exit_code, done.stdout, done.stderr) == (3, "a'b$c\n", "err\n")
    assert bw.run_command(["no-such-program"], nodename="h1").exit_code == 127
    with pytest.raises(bw.SchedulerError, match="gave no answer by ssh"):
        bw.run_command(["true"], nodename="127.0.0.250")
