"""submitit: a process a job, and an array of Slurm whose `sbatch` only answers."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

import submitit
from measuring import measured, put_on_disk


def job(x: int, k: float) -> dict[str, int]:
    return {"x": 2 * x}


def run(n: int, folder: Path) -> None:
    executor = submitit.LocalExecutor(folder=folder / "local")
    waiting: list[submitit.Job] = []
    jobs: list[submitit.Job] = []
    with measured("run", n) as figure:
        for x in range(n):
            jobs.append(executor.submit(job, x, 0.0))
            waiting.append(jobs[-1])
            # Two at a time.
            while len(waiting := [one for one in waiting if not one.done()]) >= 2:
                time.sleep(0.002)
        for one in jobs:
            one.wait()
    put_on_disk(figure, folder / "local")
    figure.emit()


def array(n: int, folder: Path) -> None:
    programs = folder / "bin"
    programs.mkdir()
    answers = {"sbatch": "echo Submitted batch job 12345", "srun": "true", "sacct": "true"}
    for name, body in answers.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    executor = submitit.AutoExecutor(folder=folder / "array", cluster="slurm")
    executor.update_parameters(slurm_array_parallelism=2, timeout_min=5)
    with measured("define and submit", n) as figure:
        jobs = executor.map_array(job, range(n), [0.0] * n)
    put_on_disk(figure, folder / "array")
    figure.emit()
    for x, one in enumerate(jobs):
        one.paths.result_pickle.write_bytes(pickle.dumps(("success", {"x": 2 * x})))
    with measured("collect list", n) as figure:
        found = [one.result() for one in jobs]
    assert found[-1] == {"x": 2 * (n - 1)}
    figure.emit()


if __name__ == "__main__":
    {"run": run, "array": array}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
