"""A real Docker Swarm; `tests/clusters/docker-up` starts one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import batchwright as bw
from batchwright.testing import Conformance

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        "DOCKER_HOST" not in os.environ, reason="no swarm here: run tests/clusters/docker-up"
    ),
]
IMAGE = "batchwright-base:latest"


def _mounts() -> list[str]:
    """Lend the image what it lacks: this Python with packages and libraries, and the tests."""
    folders = {sys.prefix, sys.base_prefix, str(Path(bw.__file__).resolve().parents[1])}
    folders |= {str(Path(__file__).resolve().parents[2])}
    folders |= {str(Path("/usr/lib", f"{os.uname().machine}-linux-gnu"))}
    each = [f"type=bind,src={folder},dst={folder},readonly" for folder in sorted(folders)]
    return [word for mount in each for word in ("--mount", mount)]


class TestDocker(Conformance):
    @classmethod
    def system(cls) -> str:
        command = ["docker", "version", "--format", "{{.Server.Version}}"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        return f"real Docker Swarm {told.stdout.strip()}"

    @pytest.fixture
    def backend(self) -> bw.ClusterFunctions:
        return bw.Docker(IMAGE, image_args=[*_mounts(), "--network", "host"], fs_latency=2)


@pytest.mark.slow  # a claimed run is silent for 160 s before docker is believed
def test_a_container_that_was_killed_is_not_out_of_memory(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Docker(
        IMAGE, image_args=[*_mounts(), "--network", "host"], fs_latency=2
    )
    registry.work_dir = registry.file_dir.parent
    registry.batch_map(time.sleep, [300])
    registry.submit_jobs(resources={"memory": 500})
    deadline = time.monotonic() + 60
    while not registry.find_running() and time.monotonic() < deadline:
        time.sleep(0.3)
    name = registry.get_job_table()["batch_id"][0].as_py()
    found = bw.run_command(["docker", "ps", "-q", "--filter", f"name={name}"])
    assert bw.run_command(["docker", "kill", *found.stdout.split()]).exit_code == 0
    assert not registry.wait_for_jobs(timeout=400, sleep=0.5)
    assert registry.get_job_table()["cause"].to_pylist() == ["killed"]
