"""What a verb has returned survives a power cut of a real machine."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAB = HERE.parent / "clusters" / "power-cut"

pytestmark = [
    pytest.mark.power,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("BATCHWRIGHT_LABS") != "1",
        reason="a virtual machine of some minutes: set BATCHWRIGHT_LABS=1",
    ),
]


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_what_was_acknowledged_survives_power_cuts(filesystem: str) -> None:
    cuts = os.environ.get("BATCHWRIGHT_ROUNDS", "3")
    roles = [
        shlex.join([sys.executable, str(HERE / "powered.py"), role]) for role in ("write", "check")
    ]
    done = subprocess.run(
        [str(LAB), "--cuts", cuts, "--after", "1-12", "--fs", filesystem, "--size", "512", *roles],
        capture_output=True,
        text=True,
        check=False,
        # Its successor may follow a dead owner without waiting for long.
        env={**os.environ, "BATCHWRIGHT_LEASE": "3"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
