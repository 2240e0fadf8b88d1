"""Hosts, executors and workers killed at any moment: no job is lost, none runs twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import batchwright as bw

JOBS = 30
KILLS = 10
"""Of each registry."""
CHUNK = 3
BLAMED = {
    "crashed": "worker",
    "setup": "worker",
    "lost": "executor",
    "not_started": "executor",
}
"""What must have been killed before an attempt can end so."""


def make_job(ran: Path) -> Callable[..., int]:
    name = str(ran)

    def fun(x: int, job: bw.Job) -> int:
        line = f"{job.id} {job.attempt} {os.getppid()}\n".encode()
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)
        os.close(file)
        time.sleep(0.02 + 0.04 * (x % 3))
        return x * x

    return fun


# -- the processes of a registry, as the kernel shows them


def words_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def victims(folder: Path) -> dict[str, list[int]]:
    """Give the pids that serve a registry, by what they are."""
    found: dict[str, list[int]] = {"host": [], "executor": [], "worker": []}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        words = words_of(pid)
        if words[1:3] == ["host", "serve"] and str(folder) in words:
            found["host"].append(pid)
        elif words[1:2] == ["run"] and words[2].startswith(f"{folder}/jobs/"):
            found["executor"].append(pid)
    workers = [child for executor in found["executor"] for child in children_of(executor)]
    found["worker"] = [pid for pid in workers if "run" not in words_of(pid)[1:2]]
    # A child shows its parent's words until it has its own.
    found["executor"] = [pid for pid in found["executor"] if pid not in workers]
    return found


class Killer(threading.Thread):
    """Kills at random moments, whatever the owner is doing then."""

    def __init__(self, folder: Path, kills: int, draw: random.Random) -> None:
        super().__init__(daemon=True)
        self.folder, self.left, self.draw = folder, kills, draw
        self.killed: Counter[str] = Counter()
        self.stopped = threading.Event()

    def run(self) -> None:
        while self.left and not self.stopped.wait(self.draw.uniform(0, 0.25)):
            kind = self.draw.choice(("host", "executor", "worker"))
            found = victims(self.folder)[kind]
            if found:
                # Told before: the owner may see the consequence at once.
                self.killed[kind] += 1
                self.left -= 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.draw.choice(found), signal.SIGKILL)


# -- what the owner sees, and what must be true of it


@dataclass
class Seen:
    """Attempts as the registry tells them, and every contradiction."""

    chunk_of: dict[tuple[int, int], str] = field(default_factory=dict)
    ended: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)

    def look(self, reg: bw.Registry, killed: Counter[str]) -> None:
        kills = Counter(killed)
        columns = ("job_id", "attempt", "job_hash", "state", "cause", "error")
        table = reg.get_job_table()
        if table["job_id"].to_pylist() != list(range(1, JOBS + 1)):
            self.faults["lost"] += 1
        for job, attempt, chunk, state, cause, error in zip(
            *(table[name].to_pylist() for name in columns), strict=True
        ):
            if not attempt:
                continue
            held = self.ended.get((job, attempt))
            if held and held[0] == "done" and state != "done":
                self.faults["lost"] += 1
            self.chunk_of.setdefault((job, attempt), chunk)
            if state == "done":
                self.ended[job, attempt] = (state, "")
            elif state in ("error", "expired"):
                self.ended[job, attempt] = (state, cause)
                self.judge(cause, error, state)
        crashed = sum(cause == "crashed" for _, cause in self.ended.values())
        self.faults["charged"] = max(self.faults["charged"], crashed - kills["worker"])

    def judge(self, cause: str, error: str | None, state: str) -> None:
        told = cause in BLAMED and (state == "expired" or bool(error))
        if cause == "crashed":
            told = told and "SIGKILL" in str(error)
        self.faults["untold"] += not told


def finish(reg: bw.Registry, seen: Seen, killer: Killer) -> None:
    """Submit again what was hit, until all jobs are done."""
    deadline = time.monotonic() + 120
    while reg.find_not_done():
        assert time.monotonic() < deadline, f"{reg.get_status()}\n{killer.killed}"
        seen.look(reg, killer.killed)
        hit = reg.find_errors() | reg.find_expired()
        if hit:
            with contextlib.suppress(bw.SchedulerError):
                reg.submit_jobs(hit, chunk_size=CHUNK)
        time.sleep(0.02)
    seen.look(reg, killer.killed)


def verify(reg: bw.Registry, seen: Seen, ran: Path) -> Counter[str]:
    """Count what contradicts the model, by what it is."""
    faults = Counter(seen.faults)
    faults["wrong"] += sum(
        result != x * x for x, result in enumerate(reg.reduce_results_list(), start=0)
    )
    lines = [tuple(map(int, line.split())) for line in ran.read_text().splitlines()]
    times = Counter((job, attempt) for job, attempt, _ in lines)
    faults["ran_twice"] += sum(count > 1 for count in times.values())
    done = [which for which, (state, _) in seen.ended.items() if state == "done"]
    faults["lost"] += len({job for job, _ in done} ^ set(range(1, JOBS + 1)))
    faults["wrong"] += sum(times[which] == 0 for which in done)
    executors: dict[str, set[int]] = {}
    for job, attempt, executor in lines:
        executors.setdefault(seen.chunk_of[job, attempt], set()).add(executor)
    faults["submitted_twice"] += sum(len(pids) > 1 for pids in executors.values())
    return faults


def live(folder: Path, backend: bw.ClusterFunctions, kills: int, draw: random.Random) -> Counter:
    folder.mkdir()
    reg = bw.make_registry(folder / "registry", conf_file=None, work_dir=folder, make_default=False)
    reg.cluster_functions = backend
    ran = folder / "ran"
    reg.batch_map(make_job(ran), range(JOBS))
    killer, seen = Killer(reg.file_dir, kills, draw), Seen()
    killer.start()
    try:
        resources = {"parallel": draw.choice((1, 2))}
        with contextlib.suppress(bw.SchedulerError):
            reg.submit_jobs(chunk_size=CHUNK, resources=resources)
        finish(reg, seen, killer)
    finally:
        killer.stopped.set()
        killer.join()
    counts = verify(reg, seen, ran)
    counts["jobs"], counts["attempts"] = JOBS, len(seen.chunk_of)
    for kind, number in killer.killed.items():
        counts[f"{kind}s_killed"] += number
    reg.kill_jobs()
    reg.store.close()
    return counts


FAULTS = ("lost", "wrong", "ran_twice", "submitted_twice", "charged", "untold")


@pytest.mark.slow
def test_kills_on_the_node_cost_at_most_the_jobs_that_were_hit(
    tmp_path: Path, rounds: Callable[[int, int], int], figures: Callable[..., None]
) -> None:
    seed = int(os.environ.get("BATCHWRIGHT_SEED") or random.SystemRandom().randrange(10**6))
    draw = random.Random(seed)
    wanted, lives = rounds(2 * KILLS, 300), 0
    counts: Counter[str] = Counter()
    kills = 0
    while kills < wanted:
        backend = (bw.Multicore if lives % 2 == 0 else bw.Socket)(2)
        found = live(tmp_path / str(lives), backend, min(KILLS, wanted - kills), draw)
        faults = {name: found[name] for name in FAULTS if found[name]}
        assert not faults, (seed, lives, faults)
        counts += found
        lives += 1
        kills = sum(count for name, count in counts.items() if name.endswith("_killed"))
    kinds = [f"{kind}s_killed" for kind in ("host", "executor", "worker")]
    assert all(counts[kind] for kind in kinds)
    names = ("jobs", "attempts", *FAULTS)
    figures(**{name: counts[name] for name in (*kinds, *names)}, seed=seed)
