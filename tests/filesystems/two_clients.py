"""A registry on NFS, seen by two machines: `nfs-lab -- python two_clients.py SCENARIO...`.

Runs on the server. The owner lives on client 1, executors on client 2; a folder that no NFS knows
tells this process what the owner submitted. Prints a line of JSON a scenario, ends with 1 if any
of its promises was broken.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

OWNER = Path(__file__).with_name("client.py")
SPOOL = Path("/tmp/spool")
LEASE = "6"
JOBS = 24
PATIENCE = 600.0
"""An executor of another machine is silent for 160 s before it is given up."""


def on(client: str, *words: object, **options: Any) -> subprocess.Popen[str]:
    """Run a command on another machine; killing the process kills the command."""
    environment = {**os.environ, "BATCHWRIGHT_LEASE": LEASE}
    command = [client, *map(str, words)]
    return subprocess.Popen(
        command, text=True, env=environment, stdin=subprocess.DEVNULL, **options
    )


class Cluster:
    """Starts on client 2 what owners put into the spool, two at a time."""

    def __init__(self, name: str) -> None:
        self.spool = SPOOL / name
        self.spool.mkdir(parents=True)
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.started: Counter[str] = Counter()

    def step(self) -> None:
        """Start what is new and note what ended."""
        for chunk, executor in list(self.running.items()):
            if executor.poll() is not None:
                (self.spool / f"{chunk}.queued").unlink()
                del self.running[chunk]
        waiting = sorted(self.spool.glob("*.queued"), key=lambda path: path.stat().st_mtime)
        for path in waiting:
            if len(self.running) < 2 and path.stem not in self.running:
                words = json.loads(path.read_text())
                self.started[path.stem] += 1
                self.running[path.stem] = on("c2", *words)

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Run jobs until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, f"waited {PATIENCE} s in vain for {what}"
            self.step()
            time.sleep(0.05)


class Scenario:
    """One registry, its cluster and its owners."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cluster = Cluster(name)
        self.folder = f"/mnt/shared/{name}"
        self.told = self.cluster.spool / "told"
        self.told.touch()

    def owner(self, *words: object, client: str = "c1") -> subprocess.Popen[str]:
        """Start an owner, which says what it did in the file `told`."""
        return on(client, sys.executable, OWNER, self.folder, self.cluster.spool, *words)

    def lines(self, what: str) -> list[Any]:
        """Give what owners told of something."""
        found = [json.loads(line) for line in self.told.read_text().splitlines()]
        return [value for key, value in found if key == what]

    def wait(self, what: str, count: int = 1) -> None:
        """Go on until the owner told something."""
        self.cluster.until(lambda: len(self.lines(what)) >= count, what)

    def wait_for_runs(self, count: int) -> None:
        """Go on until so many jobs began."""
        self.cluster.until(lambda: len(self.ran()) >= count, f"{count} jobs")

    def wait_for(self, owner: subprocess.Popen[str]) -> int:
        """Go on until an owner ended."""
        self.cluster.until(lambda: owner.poll() is not None, "the owner's end")
        return owner.returncode

    def ran(self) -> list[int]:
        """Give the jobs that began, as often as they did."""
        path = self.cluster.spool / "ran"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def check(self, *, twice: int = 0) -> dict[str, Any]:
        """Collect by an owner of a machine that saw nothing so far, and compare."""
        assert self.wait_for(self.owner("collect", client="c2")) == 0
        (results,) = self.lines("results")
        assert results == [x * x for x in range(JOBS)], results
        again = len(self.ran()) - JOBS
        assert again <= twice, f"{again} jobs ran twice"
        chunks = sum(number > 1 for number in self.cluster.started.values())
        assert chunks == 0, f"{chunks} chunks were submitted twice"
        return {"jobs": JOBS, "ran again": again}


def plain(it: Scenario) -> dict[str, Any]:
    """Nothing is killed: how late the owner sees the end."""
    owner = it.owner("define", "submit", "wait")
    it.wait("submitted")
    it.cluster.until(lambda: len(it.ran()) == JOBS and not it.cluster.running, "all jobs")
    ended = time.time()
    assert it.wait_for(owner) == 0
    return {**it.check(), "seen after": round(it.lines("waited")[0] - ended, 2)}


def owner_killed(it: Scenario) -> dict[str, Any]:
    """The owner dies while jobs run; another machine takes over."""
    owner = it.owner("define", "submit", "wait")
    it.wait_for_runs(5)
    owner.kill()
    it.wait_for(owner)
    began = time.monotonic()
    successor = it.owner("tag", "wait", client="c2")
    it.wait("opened", 2)
    taken = time.monotonic() - began
    assert it.wait_for(successor) == 0
    return {**it.check(), "taken over after": round(taken, 1)}


def owner_stopped(it: Scenario) -> dict[str, Any]:
    """An owner that sleeps beyond its lease writes no more, and its successor's work stands."""
    owner = it.owner("define", "submit", "sleep", "tag")
    it.wait("sleeping")
    owner.send_signal(signal.SIGSTOP)
    successor = it.owner("tag", "wait", client="c2")
    it.wait("tagged")
    owner.send_signal(signal.SIGCONT)
    (it.cluster.spool / "wake").touch()
    it.wait_for(owner)
    assert it.lines("lost") == ["OwnershipLostError"], it.lines("lost")
    assert len(it.lines("tagged")) == 1
    assert it.wait_for(successor) == 0
    return it.check()


def executor_killed(it: Scenario) -> dict[str, Any]:
    """An executor dies with -9; only what had not ended runs again."""
    owner = it.owner("define", "submit", "wait", "retry", "wait")
    it.wait_for_runs(6)
    next(iter(it.cluster.running.values())).kill()
    assert it.wait_for(owner) == 0
    return {**it.check(twice=1), "retried": it.lines("retried")}


def server_down(it: Scenario) -> dict[str, Any]:
    """No server for a while, in the middle of all."""
    owner = it.owner("define", "submit", "wait")
    it.wait_for_runs(3)
    down = subprocess.Popen(["down-server", "8"])
    it.cluster.until(lambda: down.poll() is not None, "the server")
    assert it.wait_for(owner) == 0
    return it.check()


def disk_full(it: Scenario) -> dict[str, Any]:
    """No space for a while: what runs waits, what cannot even begin is retried."""
    owner = it.owner("define", "submit", "wait", "sleep", "retry", "wait")
    it.wait_for_runs(3)
    filler = Path("/srv/export/filler")
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], check=False, stderr=-3)
    until = time.monotonic() + 8
    it.cluster.until(lambda: time.monotonic() > until, "some seconds")
    filler.unlink()
    (it.cluster.spool / "wake").touch()
    assert it.wait_for(owner) == 0
    return it.check()


SCENARIOS = (plain, owner_killed, owner_stopped, executor_killed, server_down, disk_full)


def main(names: list[str]) -> int:
    failed = 0
    for scenario in SCENARIOS:
        if names and scenario.__name__ not in names:
            continue
        it = Scenario(scenario.__name__)
        began = time.monotonic()
        try:
            found = scenario(it)
        except Exception:
            traceback.print_exc()
            print(it.told.read_text(), it.ran(), it.cluster.started, file=sys.stderr)
            found, failed = {"failed": True}, 1
        for process in it.cluster.running.values():
            process.kill()
        seconds = round(time.monotonic() - began, 1)
        told = {"scenario": scenario.__name__, "nfs": os.environ.get("LAB_VERS"), **found}
        print(json.dumps({**told, "seconds": seconds}), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
