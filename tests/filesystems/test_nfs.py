"""Registries on a real NFS, the owner on one machine and the nodes on another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.nfs, pytest.mark.slow]
SCENARIOS = str(Path(__file__).with_name("two_clients.py"))


@pytest.mark.parametrize("version", ["4.2", "3"])
def test_kills_and_failures_between_two_clients_lose_nothing(
    lab: Callable[..., None], version: str
) -> None:
    lab("nfs-lab", "--vers", version, "--timeout", "1500", "--", sys.executable, SCENARIOS)
