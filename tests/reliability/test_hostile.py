"""Hostile strings anywhere a user can put one: nothing is executed, nothing half-made stays."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import batchwright as bw

WRAPPINGS = (
    "{}",
    "'{}'",
    '"{}"',
    "$({})",
    "`{}`",
    "; {}",
    "& {}",
    "| {}",
    "\n{}\n",
    "\r\n{}",
    "';{};'",
    '";{};"',
    "{{{{ {} }}}}",
    "{{% {} %}}",
    "%s{}%n",
    "../{}",
    "-{}",
    "--{}",
    "#{}",
    "\x00{}",
    "\x1b[0m{}",
    "${{IFS}}{}",
    "a b\t{}",
    "\N{RIGHT-TO-LEFT OVERRIDE}{}",
    "\N{PILE OF POO}{}",
    "$(({}))",
    "<({})",
    ">{}",
    "\\{}",
    "{}" + "x" * 3000,
    "__import__('os').system('''{}''')",
    "=cmd|'{}'!A0",
    "*?[{}]~",
)


def strings(canary: Path) -> list[str]:
    """A thousand of them; each would make the canary, were it executed anywhere."""
    commands = (f"touch {canary}", f"touch${{IFS}}{canary}", f"$(touch {canary})", f":>{canary}")
    endings = ("", "\n", " ", ";", "'", '"', "\\", "\x7f")
    drawn: Iterator[str] = (
        wrapping.format(command) + ending
        for ending, command, wrapping in itertools.product(endings, commands, WRAPPINGS)
    )
    return list(dict.fromkeys(drawn))[:1000]


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def hostile(canary: Path) -> list[str]:
    found = strings(canary)
    assert len(found) == 1000
    return found


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except (bw.BatchwrightError, ValueError, TypeError):
        return True
    return False


def test_as_parameters_they_arrive_as_they_were(
    registry: bw.Registry, hostile: list[str], canary: Path, figures: Callable[..., None]
) -> None:
    registry.cluster_functions = bw.Multicore(2)
    registry.batch_map(lambda text: text, hostile)
    registry.submit_jobs(n_chunks=2)
    assert registry.wait_for_jobs(timeout=60)
    changed = sum(a != b for a, b in zip(registry.reduce_results_list(), hostile, strict=True))
    assert changed == 0
    assert not canary.exists()
    figures(strings=len(hostile), changed=changed, executed=0)


def test_as_names_and_tags_they_are_kept_or_refused(
    registry: bw.Registry, hostile: list[str], canary: Path, figures: Callable[..., None]
) -> None:
    registry.batch_map(abs, [1])
    kept = 0
    for text in hostile:
        if not refused(lambda text=text: registry.set_job_names([1], [text])):
            assert registry.get_job_names()["job_name"].to_pylist() == [text]
            assert text.isprintable()
            kept += 1
        assert refused(lambda text=text: registry.add_job_tags([1], [text]))
    assert registry.get_used_job_tags() == []
    assert not canary.exists()
    figures(strings=len(hostile), names_kept=kept, tags_kept=0, executed=0)


def test_as_resources_no_script_executes_them(
    registry: bw.Registry,
    hostile: list[str],
    canary: Path,
    tmp_path: Path,
    figures: Callable[..., None],
) -> None:
    registry.cluster_functions = bw.Slurm()
    registry.batch_map(abs, [1])
    rendered = 0
    for number, text in enumerate(hostile):
        name = ("partition", "account", "dependency", "wrap")[number % 4]
        value = [text] if name == "wrap" else text
        try:
            # The executor would wait for a collection that is not there.
            resources = {name: value, "executor": "/bin/true"}
            script = registry.plan_submission(resources=resources).script()
        except (bw.BatchwrightError, ValueError):
            continue
        rendered += 1
        # What a node's shell would do.
        if rendered <= 60:
            subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=30
            )
    assert not canary.exists()
    assert registry.find_submitted() == set()
    figures(strings=len(hostile), scripts=rendered, executed=0)


def test_as_folders_they_hold_a_registry_or_nothing(
    tmp_path: Path, hostile: list[str], canary: Path, figures: Callable[..., None]
) -> None:
    made = half_made = 0
    for number, text in enumerate(hostile):
        folder = tmp_path / "folders" / str(number)
        folder.mkdir(parents=True)
        path = f"{folder}/{text.replace('/', '_')}"
        try:
            reg = bw.make_registry(path, conf_file=None, make_default=False)
        except (bw.BatchwrightError, ValueError, OSError):
            half_made += any(folder.iterdir())
            continue
        with reg:
            made += 1
            if made % 40 == 1:
                reg.cluster_functions = bw.Multicore(1)
                reg.batch_map(abs, [-1])
                reg.submit_jobs()
                assert reg.wait_for_jobs(timeout=60)
    assert half_made == 0
    assert made > 0
    assert not canary.exists()
    figures(folders=len(hostile), made=made, half_made=half_made, executed=0)
