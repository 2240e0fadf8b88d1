"""Ten jobs, of which one warns and two raise: how to find out why, repair it, and go on."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import batchwright as bw


def read_input(value: int, folder: str) -> int:
    if value == 5:
        warnings.warn("just a simple warning", stacklevel=1)
    path = Path(folder) / f"{value}.txt"
    if not path.exists():
        print(f"no input for {value}")
        raise ValueError(f"oops, {path.name} is missing")
    return int(path.read_text())


def main(folder: Path) -> None:
    # The inputs 2 and 9 have been forgotten.
    for value in (1, 3, 4, 5, 6, 7, 8, 10):
        (folder / f"{value}.txt").write_text(str(100 * value))
    reg = bw.make_registry(file_dir=None, seed=1)
    jobs = reg.batch_map(read_input, range(1, 11), more_args={"folder": str(folder)})

    # Before submitting: one job here, where a debugger can look at it, and one in a process of
    # its own, as on a node. Neither changes the registry.
    print("job 1 gives", reg.test_job(1))
    try:
        reg.test_job(2)
    except ValueError as error:
        print(f"job 2 here: {type(error).__name__}: {error}")
    try:
        reg.test_job(2, external=True)
    except bw.JobError as error:
        print(f"job 2 outside: {error.type}: {error.message}")
    assert not reg.find_submitted()

    reg.submit_jobs()
    print("all done:", reg.wait_for_jobs())
    print(reg.get_status())

    failed = reg.find_errors()
    print("failed:", failed)
    for row in reg.get_error_messages(failed).to_pylist():
        print(f"job {row['job_id']}: {row['message'].splitlines()[-1]}")

    # A log holds what that one job printed, whichever jobs ran beside it.
    print("log of job 9:", *reg.get_log(9), sep="\n  | ")
    warned = reg.grep_logs(pattern="simple warning", ignore_case=True)
    print("warned:", warned["job_id"].to_pylist())

    # Repair it, and run only what failed. The other results stay where they are.
    for value in (2, 9):
        (folder / f"{value}.txt").write_text(str(100 * value))
    again = reg.submit_jobs(failed)
    print("submitted again:", again["job_id"].to_pylist())
    print("all done:", reg.wait_for_jobs())
    print("attempts:", reg.get_job_table()["attempt"].to_pylist())
    print("results:", reg.reduce_results_list(jobs))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as inputs:
        main(Path(inputs))
