"""Two copies of a registry become one again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import batchwright as bw
from batchwright.executor import executor


def root(x: int) -> float:
    print("root of", x)
    if x < 0:
        raise ValueError(f"{x} has none")
    return x**0.5


def opened(folder: Path) -> bw.Registry:
    reg = bw.load_registry(folder, conf_file=None, make_default=False, writeable=True)
    reg.cluster_functions = bw.Interactive()
    return reg


@pytest.fixture
def copies(tmp_path: Path) -> Callable[[], tuple[bw.Registry, bw.Registry]]:
    def make() -> tuple[bw.Registry, bw.Registry]:
        with bw.make_registry(tmp_path / "a", conf_file=None, make_default=False) as reg:
            reg.batch_map(root, [1, -4, 9, 16])
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        return opened(tmp_path / "b"), opened(tmp_path / "a")

    return make


def test_what_ended_in_one_copy_is_known_in_the_other(
    copies: Callable[[], tuple[bw.Registry, bw.Registry]],
) -> None:
    source, target = copies()
    source.submit_jobs([2, 3, 4])
    target.submit_jobs([1, 4])
    assert bw.merge_registries(source, target) == {2, 3}
    assert target.reduce_results_list() == [1, 3, 4]
    assert target.find_errors() == {2}
    assert "ValueError: -4 has none" in target.get_error_messages()["message"][0].as_py()
    assert target.get_log(3) == ["root of 9"]
    of = ["started", "done"]
    assert target.get_job_table(3).select(of).equals(source.get_job_table(3).select(of))
    assert bw.merge_registries(source, target) == {2}
    with opened(target.file_dir) as again:
        assert again.find_done() == {1, 3, 4}


def ends(reg: bw.Registry) -> list[dict[str, Any]]:
    """Give what nodes recorded of the ends of jobs, in their order."""
    found: list[dict[str, Any]] = []
    for path in reg.file_dir.glob("runs/*/*.bwj"):
        told = bw.run_command([executor(), "inspect", path]).stdout.splitlines()
        found += [one["record"] for one in map(json.loads, told) if one.get("kind") == "end"]
    return sorted(found, key=lambda end: end["job"])


def test_what_the_node_measured_stays_as_it_was(
    copies: Callable[[], tuple[bw.Registry, bw.Registry]],
) -> None:
    source, target = copies()
    source.cluster_functions = bw.Interactive(external=True)
    source.submit_jobs([1, 2])
    bw.merge_registries(source, target)
    measured = ["job", "started", "ended", "peak_kib", "cpu_us"]
    before, after = (
        [[end[name] for name in measured] for end in ends(r)] for r in (source, target)
    )
    assert before == after
    assert len(before) == 2
    assert all(cpu > 0 for *_, cpu in before)


def test_jobs_that_never_began_are_merged(
    copies: Callable[[], tuple[bw.Registry, bw.Registry]],
) -> None:
    source, target = copies()
    source.cluster_functions = bw.Interactive(external=True)
    source.submit_jobs([1], resources={"python": "/no/such/python"})
    ended = source.find_errors(cause="setup")
    assert ended == {1}
    assert bw.merge_registries(source, target) == ended
    columns = ["started", "done", "mem_used", "cause"]
    for name in columns:
        assert target.get_job_table(1)[name].equals(source.get_job_table(1)[name]), name


def test_other_definitions_are_left_alone(
    copies: Callable[[], tuple[bw.Registry, bw.Registry]],
) -> None:
    source, target = copies()
    source.batch_map(root, [25], append=True)
    target.batch_map(root, [36], append=True)
    source.submit_jobs([5])
    assert bw.merge_registries(source, target) == set()
    assert target.find_not_submitted() == {1, 2, 3, 4, 5}


def test_a_registry_is_not_merged_with_itself(
    copies: Callable[[], tuple[bw.Registry, bw.Registry]],
) -> None:
    _, target = copies()
    with pytest.raises(bw.DefinitionError, match="both source and target"):
        bw.merge_registries(target, target)
