"""What a verb has returned survives a power cut of a real machine."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.power, pytest.mark.slow]
OWNER = str(Path(__file__).with_name("powered.py"))


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_what_was_acknowledged_survives_power_cuts(
    lab: Callable[..., None], filesystem: str
) -> None:
    cuts = os.environ.get("BATCHWRIGHT_ROUNDS", "3")
    options = ["--cuts", cuts, "--after", "1-12", "--fs", filesystem, "--size", "512"]
    roles = [shlex.join([sys.executable, OWNER, role]) for role in ("write", "check")]
    # A successor may follow a dead owner without waiting for long.
    lab("power-cut", *options, *roles, BATCHWRIGHT_LEASE="3")
