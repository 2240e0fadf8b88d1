from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchwright as bw


@pytest.fixture(autouse=True)
def _away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the configuration of whoever runs it, or leaves a default registry behind."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "home" / "site"))
    monkeypatch.delenv("BATCHWRIGHT_CONF", raising=False)
    yield
    bw.set_default_registry(None)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[bw.Registry]:
    """An empty registry on the cores of this machine; what it still runs is killed."""
    reg = bw.make_registry(tmp_path / "registry", conf_file=None, seed=1)
    yield reg
    if reg.writeable:
        reg.kill_jobs()


@pytest.fixture(autouse=True)
def _undisturbed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests that stop parts of Slurm run while no other test of any process uses it."""
    configuration = os.environ.get("SLURM_CONF")
    if configuration is None or request.node.get_closest_marker("slurm") is None:
        yield
        return
    alone = request.node.get_closest_marker("disruptive") is not None
    with Path(configuration).with_name("tests.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
