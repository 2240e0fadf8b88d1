"""Pickles of other users are loaded only where the user trusts them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import batchwright as bw

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
OTHER = 54321


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A registry with a result, of another user."""
    folder = tmp_path / "foreign"
    with bw.make_registry(folder, conf_file=None, make_default=False) as reg:
        reg.cluster_functions = bw.Interactive()
        reg.batch_map(abs, [-1])
        reg.submit_jobs()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OTHER, -1)
    return folder


def test_tables_of_others_are_read_and_their_pickles_refused(foreign: Path) -> None:
    reg = bw.load_registry(foreign, conf_file=None)
    assert reg.get_job_table()["state"].to_pylist() == ["done"]
    target = bw.make_registry(None, conf_file=None, make_default=False)
    for unpickle in (
        lambda: reg.load_result(1),
        lambda: reg.test_job(1),
        lambda: target.batch_map_results(abs, source=reg),
    ):
        with pytest.raises(bw.BatchwrightError, match=rf"trusted_owners = \[{OTHER}\]"):
            unpickle()


def test_the_users_configuration_says_whom_to_trust(foreign: Path, tmp_path: Path) -> None:
    conf = tmp_path / "own.toml"
    conf.write_text(f"trusted_owners = [{OTHER}]\n")
    assert bw.load_registry(foreign, conf_file=conf).load_result(1) == 1


def test_trust_holds_for_the_session_and_is_not_stored(foreign: Path) -> None:
    reg = bw.load_registry(foreign, conf_file=None, writeable=True)
    reg.trusted_owners = [OTHER, "root"]
    assert reg.trusted_owners == (OTHER, 0)
    assert reg.load_result(1) == 1
    assert bw.load_registry(foreign, conf_file=None).trusted_owners == ()


@pytest.mark.parametrize("wrong", ["no such user", [-1], [1.5], [None]])
def test_owners_are_users(tmp_path: Path, wrong: object) -> None:
    reg = bw.make_registry(None, conf_file=None, make_default=False)
    with pytest.raises(bw.ConfigError, match="trusted_owners"):
        reg.trusted_owners = wrong  # type: ignore
