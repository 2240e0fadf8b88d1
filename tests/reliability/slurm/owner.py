"""An owner that is to be killed while it submits: `python owner.py REGISTRY CHUNKS ARRAY`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import batchwright as bw

PER_CHUNK = 10


def main(path: Path, chunks: int, *, array: bool) -> None:
    ran = f"{path}.ran"

    def appended(x: int, job: bw.JobCollection) -> int:
        file = os.open(ran, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{job.id}\n".encode())
        os.close(file)
        return x * x

    reg = bw.make_registry(path, conf_file=None, work_dir=path.parent, make_default=False)
    reg.cluster_functions = bw.Slurm(fs_latency=2)
    reg.batch_map(appended, range(PER_CHUNK * chunks))
    reg.submit_jobs(chunk_size=PER_CHUNK, resources={"array": array})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), array=sys.argv[3] == "array")
