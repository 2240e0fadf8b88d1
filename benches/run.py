"""Measure batchwright, its peers and the machine; write JSON and a table in Markdown.

Each measurement is a process of its own, run several times. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import one
import peers
import physical
import report
from workloads import experiments
from workloads.common import Workload

HERE = Path(__file__).parent
QUICK = 10.0
"""Seconds of the first run above which fewer runs follow."""


class Bench:
    """All figures of one call, and the folder where they are taken."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.samples: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self.environment = {
            **os.environ,
            # As after an installation: modules are compiled once, and not in our tree.
            "PYTHONPYCACHEPREFIX": os.fspath(folder / "compiled"),
            "PYTHONDONTWRITEBYTECODE": "",
        }

    # -- one process

    def _lines(
        self, command: Sequence[str], environment: dict[str, str] | None = None
    ) -> list[Any]:
        """Run a process and give its lines of JSON; what fails is noted, and the rest goes on."""
        try:
            done = subprocess.run(
                command,
                env=environment or self.environment,
                capture_output=True,
                text=True,
                timeout=self.options.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self._failed(command, f"took more than {self.options.timeout} s")
            return []
        if done.returncode:
            self._failed(command, (done.stderr.strip().splitlines() or ["no reason given"])[-1])
        return [json.loads(line) for line in done.stdout.splitlines() if line[:1] in "{["]

    def _failed(self, command: Sequence[str], why: str) -> None:
        name = " ".join([Path(command[1]).name, *command[2:4]])
        why = why.replace(os.fspath(self.folder), "…").replace(os.fspath(HERE.parent), "…")
        self.failures.append(f"{name}: {why}")
        print(f"  failed: {self.failures[-1]}", file=sys.stderr)

    def _one(self, kind: str, name: str, amount: float, folder: Path) -> list[Any]:
        script = os.fspath(HERE / "one.py")
        return self._lines([sys.executable, script, kind, name, str(int(amount)), str(folder)])

    # -- several of one

    def _repeat(self, tool: str, size: int, once: Any) -> None:
        """Take a measurement again and again; what is slow less often."""
        start, runs = time.monotonic(), 0
        wanted = self.options.runs
        while runs < wanted:
            figures = once()
            for figure in figures:
                self.samples.append({"tool": tool, "size": size, **figure})
            if not figures:
                return
            runs += 1
            if (time.monotonic() - start) / runs > QUICK:
                wanted = min(wanted, max(3, runs) if tool == report.OURS else 1)

    def workload(self, workload: Workload, n: int) -> None:
        """Run a workload at one size."""
        _tell(f"{workload.name}, {n:,}")
        source = self._fixture(workload.needs, n) if workload.needs else None

        def once() -> list[Any]:
            with self._scratch() as folder:
                if source is None:
                    return self._one("workload", workload.name, n, folder)
                if not workload.changes:
                    return self._one("workload", workload.name, n, source)
                shutil.copytree(source, folder, dirs_exist_ok=True)
                return self._one("workload", workload.name, n, folder)

        self._repeat(report.OURS, n, once)

    def peer(self, peer: peers.Peer, n: int) -> None:
        """Run the steps of a peer, each at most at its own largest size."""
        folder = self.folder / peer.name
        for step in peer.steps:
            size = min(n, step.most)
            if any(s.get("step") == [peer.name, step.name, size] for s in self.samples):
                continue
            _tell(f"{peer.name} {step.name}, {size:,}")
            at = folder / str(size)
            command = peer.command(step, size, at, self.options.peer_python)

            def once(
                step: peers.Step = step, size: int = size, at: Path = at, command: Any = command
            ) -> list[Any]:
                if peer.module:
                    shutil.rmtree(at, ignore_errors=True)
                at.mkdir(parents=True, exist_ok=True)
                found = self._lines(command, peers.environment())
                return [{**figure, "step": [peer.name, step.name, size]} for figure in found]

            self._repeat(peer.name, size, once)

    def limits(self) -> dict[str, list[float]]:
        """Measure what the machine needs for the amounts that our figures name."""
        wanted = {tuple(sample["limit"]) for sample in self.samples if sample.get("limit")}
        found: dict[str, list[float]] = {}
        for kind, amount in sorted({*wanted, *physical.ALWAYS}):
            with self._scratch() as folder:
                lines = self._one("limit", kind, amount, folder)
            if lines:
                found[report.limit_key(kind, amount)] = lines[0]
        return found

    # -- folders

    def _fixture(self, name: str, n: int) -> Path:
        folder = self.folder / f"{name}-{n}"
        if not folder.exists():
            _tell(f"prepare {name}, {n:,}")
            self._one("fixture", name, n, folder)
        return folder

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self, n: int) -> None:
        """Remove the fixtures of a size."""
        for folder in self.folder.glob(f"*-{n}"):
            shutil.rmtree(folder, ignore_errors=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Say on what the figures were taken; without names or paths."""
    import batchwright

    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "processor": model[0] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": int(memory) * 1024 // 1_000_000,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "batchwright": batchwright.__version__,
        "load_before": os.getloadavg()[0],
        "began": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--sizes", type=_sizes, default=(10**4, 10**5, 10**6), help="jobs, such as 1e4,1e5")
    add("--large", type=_size, default=None, help="one more size, for what only defines and opens")
    add("--runs", type=int, default=5, help="processes for each figure (fewer where slow)")
    add("--only", type=_names, default=(), help="workloads whose name begins so")
    add("--peers", type=_names, default=tuple(peers.PEERS), help="peers, or nothing for none")
    add("--peer-python", default=peers.default_python(), help="interpreter of peers in Python")
    add("--dir", type=Path, default=None, help="where to measure; the system's temporary folder")
    add("--json", type=Path, default=None, help="write everything here")
    add("--markdown", type=Path, default=None, help="write the table here; else it is printed")
    add("--timeout", type=float, default=1800.0, help="seconds for one process")
    return parser.parse_args(arguments)


def _size(text: str) -> int:
    return int(float(text))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(_size(part) for part in text.split(",")))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def measure(bench: Bench, options: argparse.Namespace) -> None:
    """Take all figures: ours, then the peers', size by size."""
    chosen = [
        workload
        for workload in one.workloads()
        if not options.only or workload.name.startswith(options.only)
    ]
    if not experiments.is_there():
        chosen = [workload for workload in chosen if workload.name != "experiments"]
        _tell("this version has no experiments: left out")
    for n in options.sizes:
        for workload in chosen:
            is_due = n == options.sizes[0] if workload.once else n <= (workload.most or n)
            if is_due:
                bench.workload(workload, n)
        bench.forget(n)
    if options.large:
        for workload in chosen:
            if workload.is_large:
                bench.workload(workload, options.large)
        bench.forget(options.large)
    for name in options.peers:
        if missing := peers.PEERS[name].missing(options.peer_python):
            bench.failures.append(f"not measured: {missing}")
            _tell(missing)
            continue
        for n in options.sizes:
            bench.peer(peers.PEERS[name], n)


def main() -> None:
    """Measure, and write what was found."""
    options = parsed()
    if unknown := set(options.peers) - set(peers.PEERS):
        sys.exit(f"unknown peers: {', '.join(sorted(unknown))}")
    about = machine()
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="bench") as folder:
        bench = Bench(options, Path(folder))
        # The first process of all compiles modules; it counts for nothing.
        bench.workload(next(w for w in one.workloads() if w.name == "define"), 10)
        bench.samples.clear()
        measure(bench, options)
        limits = bench.limits()
    about["load_after"] = os.getloadavg()[0]
    found = {
        "machine": about,
        "samples": bench.samples,
        "limits": limits,
        "failures": bench.failures,
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    text = report.markdown(found)
    if options.markdown:
        options.markdown.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
