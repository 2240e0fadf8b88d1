"""Two processes want the same registry: what either was told is there, and never do both write."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import batchwright as bw

RIVAL = Path(__file__).with_name("rival.py")
LEASE = 1.5
"""Seconds."""


def start(folder: Path, name: str, manner: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(RIVAL), str(folder), name, manner], stderr=subprocess.PIPE
    )


def told(folder: Path) -> list[list[str]]:
    """Give what all rivals were told; a line cut by a kill is none."""
    texts = [path.read_text() for path in sorted(folder.glob("told-*"))]
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    return [line.split() for line in lines if line.endswith("\n")]


def make(folder: Path) -> None:
    with bw.make_registry(folder / "registry", conf_file=None, make_default=False):
        pass


def load(folder: Path) -> bw.Registry:
    with warnings.catch_warnings(action="ignore"):
        return bw.load_registry(
            folder / "registry", conf_file=None, writeable=True, make_default=False
        )


def vanished(reg: bw.Registry, lines: list[list[str]]) -> list[list[str]]:
    """Give what somebody was told and the registry does not know."""
    values = {
        job: next(iter(pars.values()))
        for job, pars in zip(*reg.get_job_pars().to_pydict().values(), strict=True)
    }
    names = dict(zip(*reg.get_job_names().to_pydict().values(), strict=True))
    tags = dict(zip(*reg.get_job_tags().to_pydict().values(), strict=True))
    held: dict[str, Callable[[int, str], bool]] = {
        "defined": lambda job, value: values.get(job) == value,
        "named": lambda job, value: names.get(job) == value,
        "tagged": lambda job, value: value in tags.get(job, ()),
    }
    facts = [line for line in lines if line[0] in held]
    return [line for line in facts if not held[line[0]](int(line[1]), line[2])]


@pytest.mark.parametrize("manner", ["waits", "breaks"])
def test_what_either_was_told_stands(
    tmp_path: Path, manner: str, rounds: Callable[[int, int], int], figures: Callable[..., None]
) -> None:
    make(tmp_path)
    kills = rounds(3, 100)
    rivals = {name: start(tmp_path, name, manner) for name in ("ann", "bob")}
    wanted = {"opened": 4, "locked": 1} | ({"lost": 1} if manner == "breaks" else {})
    try:
        for _ in range(kills):
            wait_for_more(tmp_path, {"opened": 4})
            time.sleep(random.uniform(0, 0.1))
            assert not [name for name, rival in rivals.items() if rival.poll() is not None]
            name = random.choice(list(rivals))
            rivals[name].kill()
            rivals[name].communicate()
            rivals[name] = start(tmp_path, name, manner)
        wait_for_more(tmp_path, wanted)
    finally:
        for rival in rivals.values():
            rival.kill()
    errors = [rival.communicate()[1].decode() for rival in rivals.values()]
    assert errors == ["", ""]
    lines = told(tmp_path)
    counts = Counter(line[0] for line in lines)
    with load(tmp_path) as reg:
        assert vanished(reg, lines) == []
    given = Counter(line[1] for line in lines if line[0] == "defined")
    assert max(given.values()) == 1, "no id was given twice"
    assert (counts["lost"] > 0) == (manner == "breaks")
    figures(kills=kills, **counts, vanished=0)


def test_an_owner_that_slept_beyond_its_lease_harms_nobody(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: Callable[[int, int], int],
    figures: Callable[..., None],
) -> None:
    monkeypatch.setenv("BATCHWRIGHT_LEASE", str(LEASE))
    counts: Counter[str] = Counter()
    total = rounds(2, 50)
    for number in range(total):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder)
        sleeper = start(folder, "ann", "holds")
        try:
            wait_for(lambda folder=folder: len(told(folder)) > 3)
            time.sleep(random.uniform(0, 0.3))
            sleeper.send_signal(signal.SIGSTOP)
            reg = follow(folder)
            mine = reg.batch_map(str, ["mine"], append=True)
            reg.add_job_tags(mine, "mine")
            sleeper.send_signal(signal.SIGCONT)
            _, errors = sleeper.communicate(timeout=30)
        finally:
            sleeper.kill()
        assert errors == b""
        lines = told(folder)
        tried = {what: outcome for kind, what, outcome in filter(is_trial, lines)}
        assert ["lost"] in lines
        assert len(tried) == 8
        assert set(tried.values()) == {"OwnershipLostError"}
        with reg:
            reg.batch_map(str, ["more"], append=True)
            assert reg.find_tagged("mine") == mine
            assert vanished(reg, lines) == []
        with load(folder) as again:
            assert len(again.find_jobs()) == len(reg.find_jobs())
            assert vanished(again, lines) == []
        counts["acknowledged"] += sum(line[0] in ("defined", "named", "tagged") for line in lines)
    figures(takeovers=total, **counts, vanished=0, late_writes=0)


def is_trial(line: list[str]) -> bool:
    return line[0] == "tried"


def follow(folder: Path) -> bw.Registry:
    """Take over as soon as the lease of the other is over, and not before."""
    began = time.monotonic()
    while True:
        try:
            reg = load(folder)
        except bw.RegistryLockedError:
            assert time.monotonic() - began < 20 * LEASE
            time.sleep(0.05)
            continue
        assert time.monotonic() - began >= LEASE / 2
        return reg


def wait_for_more(folder: Path, wanted: dict[str, int]) -> None:
    """Wait until rivals were told so much more."""

    def counted() -> Counter[str]:
        return Counter(line[0] for line in told(folder))

    before = counted()
    wait_for(lambda: all(counted()[what] >= before[what] + n for what, n in wanted.items()))


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("lease", ["soon", "0", "-1", "nan", "inf"])
def test_a_lease_that_is_no_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lease: str
) -> None:
    monkeypatch.setenv("BATCHWRIGHT_LEASE", lease)
    with pytest.raises(bw.ConfigError, match=lease):
        make(tmp_path)
    assert not any(tmp_path.iterdir())
