"""Labs: virtual machines in which a file system or the power fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CLUSTERS = Path(__file__).parents[1] / "clusters"


@pytest.fixture
def lab() -> Callable[..., None]:
    """Run a lab of `tests/clusters`, which must succeed."""
    if os.environ.get("BATCHWRIGHT_LABS") != "1":
        pytest.skip("a virtual machine of some minutes: set BATCHWRIGHT_LABS=1")

    def run(name: str, *words: str, **environment: str) -> None:
        done = subprocess.run(
            [str(CLUSTERS / name), *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]

    return run
