"""Registries on a real NFS, the owner on one machine and the nodes on another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAB = HERE.parent / "clusters" / "nfs-lab"

pytestmark = [
    pytest.mark.nfs,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("BATCHWRIGHT_LABS") != "1",
        reason="a virtual machine of some minutes: set BATCHWRIGHT_LABS=1",
    ),
]


@pytest.mark.parametrize("version", ["4.2", "3"])
def test_kills_and_failures_between_two_clients_lose_nothing(version: str) -> None:
    lab = [str(LAB), "--vers", version, "--timeout", "1500", "--"]
    done = subprocess.run(
        [*lab, sys.executable, str(HERE / "two_clients.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-4000:]
