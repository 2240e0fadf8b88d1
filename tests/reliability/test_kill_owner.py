"""Owners killed at any moment lose nothing they had acknowledged, and nothing is run twice."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import batchwright as bw

OWNER = Path(__file__).with_name("owner.py")
POINTS = {
    "ledger": ("intended", "submitted", "recorded", "flushed", "looked", "merged"),
    "multicore": (
        *("intended", "unrequested", "requested", "started", "submitted", "recorded"),
        *("flushed", "looked", "merged"),
    ),
}


def owner_module() -> Any:
    spec = importlib.util.spec_from_file_location("reliability_owner", OWNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(*words: object, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(OWNER), *map(str, words)],
        env={**os.environ, **env},
        stderr=subprocess.PIPE,
    )


def lines(path: Path) -> list[list[str]]:
    """What was appended whole."""
    if not path.exists():
        return []
    text = path.read_text()
    return [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]


class Round:
    """One owner's life, and its successor's."""

    def __init__(self, folder: Path, name: str, point: str, delay: float) -> None:
        folder.mkdir()
        self.folder, self.name = folder, name
        owner = start(folder, name, point)
        if not point:
            wait_for(lambda: (folder / "registry").exists() or owner.poll() is not None)
            time.sleep(delay)
            owner.kill()
        _, errors = owner.communicate(timeout=60)
        assert owner.returncode == -signal.SIGKILL, errors.decode()
        self.told = lines(folder / "told")

    @property
    def was_made(self) -> bool:
        return ["made"] in self.told or (self.folder / "registry" / "registry.json").exists()

    def check_acknowledged(self, reg: bw.Registry) -> int:
        """Count what the dead owner was told and the registry does not know."""
        jobs = reg.find_jobs()
        table = reg.get_job_table()
        values = (
            {
                job: pars["x"]
                for job, pars in zip(
                    *(table[name].to_pylist() for name in ("job_id", "job_pars")), strict=True
                )
            }
            if len(jobs)
            else {}
        )
        names = dict(zip(*reg.get_job_names().to_pydict().values(), strict=True))
        done, tried = reg.find_done(), reg.find_submitted()
        lost = 0
        for what, *numbers in self.told:
            ids = [int(number) for number in numbers]
            if what == "defined":
                lost += values.get(ids[0]) != ids[1]
            elif what == "tagged":
                lost += reg.find_tagged(f"call{ids[0]}") != set(ids[1:])
            elif what == "submitted":
                lost += not set(ids) <= tried
            elif what == "named":
                lost += any(names[job] != f"job-{job}" for job in ids)
            elif what == "done":
                lost += ids[0] not in done
        return lost

    def finish(self, module: Any) -> bw.Registry:
        """Take over and run what is left."""
        reg = bw.load_registry(
            self.folder / "registry", conf_file=None, writeable=True, make_default=False
        )
        module.assign(reg, self.name, self.folder)
        reg.sync_registry()
        self.lost = self.check_acknowledged(reg)
        deadline = time.monotonic() + 60
        while reg.find_not_done():
            assert time.monotonic() < deadline, str(reg.get_status())
            with contextlib.suppress(bw.JobsOnSystemError):
                reg.submit_jobs(reg.find_not_submitted(), chunk_size=3)
            if self.name == "ledger":
                reg.cluster_functions.run(reg)
            time.sleep(0.02)
        return reg

    def verify(self, reg: bw.Registry) -> tuple[int, int, int, int]:
        """Count jobs, wrong results, jobs that ran twice, and chunks submitted twice."""
        ids = reg.find_jobs()
        values = [pars["x"] for pars in reg.get_job_pars()["job_pars"].to_pylist()] if ids else []
        wrong = sum(a != x * x for a, x in zip(reg.reduce_results_list(), values, strict=True))
        wrong += values != list(range(len(values)))
        ran = Counter(job for job, *_ in lines(self.folder / "ran"))
        twice = sum(count > 1 for count in ran.values())
        wrong += set(map(int, ran)) != set(ids)
        chunks = Counter(word for line in lines(self.folder / "ledger") for word in line)
        return len(ids), wrong, twice, sum(count > 1 for count in chunks.values())


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_killed_owners_lose_nothing(
    tmp_path: Path, rounds: Callable[[int, int], int], figures: Callable[..., None]
) -> None:
    module = owner_module()
    seed = int(os.environ.get("BATCHWRIGHT_SEED") or random.SystemRandom().randrange(10**6))
    draw = random.Random(seed)
    plans = [(name, point) for name, points in POINTS.items() for point in points]
    total = rounds(len(plans) + 6, 300)
    plans += [(draw.choice(list(POINTS)), "") for _ in range(6)]
    while len(plans) < total:
        name = draw.choice(list(POINTS))
        plans.append((name, draw.choice(("", *POINTS[name]))))
    counts: Counter[str] = Counter()
    for number, (name, point) in enumerate(plans[:total]):
        life = Round(tmp_path / str(number), name, point, draw.uniform(0, 0.5))
        counts["kills"] += 1
        if not life.was_made:
            continue
        with warnings.catch_warnings(action="ignore"), life.finish(module) as reg:
            jobs, wrong, twice, chunks = life.verify(reg)
        counts["jobs"] += jobs
        counts["acknowledged"] += len(life.told)
        counts["lost"] += life.lost
        counts["wrong"] += wrong
        counts["ran_twice"] += twice
        counts["submitted_twice"] += chunks
        faults = life.lost, wrong, twice, chunks
        assert faults == (0, 0, 0, 0), (seed, number, name, point, faults)
    assert counts["jobs"] > total
    assert counts["kills"] == total
    names = ("kills", "jobs", "acknowledged", "lost", "wrong", "ran_twice", "submitted_twice")
    figures(**{name: counts[name] for name in names}, seed=seed)
