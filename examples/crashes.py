"""One chunk of ten jobs: one kills itself, one exits, one runs too long. Seven are done."""

from __future__ import annotations

import os
import signal
import time

import batchwright as bw


def treacherous(value: int) -> int:
    print(f"working on {value}")
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if value == 5:
        os._exit(7)
    if value == 8:
        time.sleep(600)
    return value * value


def main() -> None:
    reg = bw.make_registry(file_dir=None, seed=1)
    jobs = reg.batch_map(treacherous, range(1, 11))
    # All in one chunk, as one job of a scheduler would run them; two seconds for each.
    reg.submit_jobs(n_chunks=1, resources={"timeout": 2})
    reg.wait_for_jobs()
    print(reg.get_status())

    # Whoever dies takes no other job along, and each error says how it came about.
    causes = reg.get_job_table(reg.find_errors()).select(["job_id", "cause", "error"])
    for row in causes.to_pylist():
        print(f"job {row['job_id']}: {row['cause']}: {row['error']}")
    print("log of job 5:", reg.get_log(5))
    print("results:", reg.reduce_results_list(jobs, missing_val=None))


if __name__ == "__main__":
    main()
