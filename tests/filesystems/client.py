"""An owner on one of two machines: `python client.py REGISTRY SPOOL STEP...`."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import batchwright as bw

JOBS, SIZE = 24, 4


class Spool(bw.ClusterFunctions):
    """Leaves words to run where the other machine's scheduler looks."""

    name = "spool"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def submit(self, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        made = self.folder / f"{jc.job_hash}.new"
        made.write_text(json.dumps(jc.command))
        made.rename(self.folder / f"{jc.job_hash}.queued")
        return bw.SubmitResult(0, (jc.job_hash,))

    def list_jobs(self, reg: bw.Registry) -> Mapping[str, bw.BatchState]:
        return {path.stem: bw.BatchState("running") for path in self.folder.glob("*.queued")}


def main(folder: Path, spool: Path, steps: list[str]) -> None:
    def tell(what: str, value: object = None) -> None:
        with (spool / "told").open("a") as file:
            file.write(json.dumps([what, value]) + "\n")

    ran = str(spool / "ran")

    def fun(x: int) -> int:
        with open(ran, "a") as file:  # noqa: PTH123 - it travels to the node
            file.write(f"{x}\n")
        time.sleep(0.2)
        return x * x

    options = {"conf_file": None, "make_default": False}
    if steps[0] == "define":
        reg = bw.make_registry(folder, work_dir="/tmp", seed=1, **options)
    else:
        reg = bw.load_registry(folder, writeable=True, **options)
    tell("opened", os.getpid())
    with warnings.catch_warnings(action="ignore"):
        reg.cluster_functions = Spool(spool)
    for step in steps:
        try:
            if step == "define":
                reg.batch_map(fun, range(JOBS))
            elif step == "submit":
                reg.submit_jobs(chunk_size=SIZE)
                tell("submitted")
            elif step == "wait":
                reg.wait_for_jobs()
                tell("waited", time.time())
            elif step == "retry":
                tell("retried", reg.retry_jobs().num_rows)
            elif step == "sleep":
                tell("sleeping")
                while not (spool / "wake").exists():
                    time.sleep(0.05)
            elif step == "tag":
                reg.add_job_tags([1], f"by-{os.getpid()}")
                tell("tagged", os.getpid())
            elif step == "collect":
                reg.sync_registry()
                tell("status", str(reg.get_status()))
                tell("results", reg.reduce_results_list())
        except bw.OwnershipLostError as error:
            tell("lost", type(error).__name__)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
