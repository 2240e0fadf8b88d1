from __future__ import annotations

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
