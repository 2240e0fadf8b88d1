"""Approximates pi by ten jobs on the cores of this machine.

Run it by `bash examples/run.sh`, or with any Python that has batchwright installed.
"""

from __future__ import annotations

import operator
import statistics

import numpy as np

import batchwright as bw


def approximate_pi(n: int) -> float:
    points = np.random.random((n, 2))
    return 4.0 * float(np.mean(np.hypot(points[:, 0], points[:, 1]) <= 1.0))


def main() -> None:
    # A temporary registry: gone when Python ends. `file_dir="pi"` would keep it.
    reg = bw.make_registry(file_dir=None, seed=1)
    jobs = bw.batch_map(approximate_pi, n=[100_000] * 10)
    bw.submit_jobs(resources={"walltime": 3600, "memory": 1024})
    finished = bw.wait_for_jobs()
    print(bw.get_status())
    assert finished, bw.get_error_messages()

    results = [bw.load_result(job) for job in jobs]
    mean = bw.reduce_results(operator.add) / len(jobs)
    assert mean == sum(results) / len(results)
    print(f"mean of load_result     {statistics.fmean(results):.5f}")
    print(f"mean of reduce_results  {mean:.5f}")

    # Job i draws what any process draws after `numpy.random.seed(reg.seed + i)`.
    for job, result in zip(jobs, results, strict=True):
        np.random.seed(reg.seed + job)
        assert approximate_pi(100_000) == result, f"job {job}"
    print("each job draws the numbers of its own seed, here as there")

    # The same in one line, by a temporary registry of its own.
    results = bw.btlapply([100_000] * 10, approximate_pi)
    print(f"mean of btlapply        {statistics.fmean(results):.5f}")


# Jobs get the functions of this file by value: nothing else of it runs on a node.
if __name__ == "__main__":
    main()
