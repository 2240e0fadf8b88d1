"""An owner and its host under power cuts: `power-cut 'python powered.py write' '… check'`.

`write` goes on with the registry that it finds, and prints a line for each thing that a verb has
returned. `check` reads all these lines and looks whether the registry still knows.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import batchwright as bw

FOLDER = Path("/disk/registry")
JOBS = 3
"""Of each call."""


def fun(x: int) -> dict[str, object]:
    return {"x": x, "text": "*" * x}


def opened() -> bw.Registry:
    options = {"conf_file": None, "make_default": False}
    if FOLDER.exists():
        return bw.load_registry(FOLDER, writeable=True, **options)
    return bw.make_registry(FOLDER, work_dir="/tmp", seed=1, **options)


def tell(*words: object) -> None:
    print(*words, flush=True)


def write() -> None:
    reg = opened()
    reg.cluster_functions = bw.Multicore(1)
    # Jobs of a cut that came between defining and its answer are there, or not.
    value = len(reg.find_jobs())
    told: set[int] = set()
    while True:
        ids = reg.batch_map(fun, range(value, value + JOBS), append=True)
        value += JOBS
        tell("defined", *ids)
        reg.add_job_tags(ids, [f"a{ids[0]}", f"b{ids[0]}"])
        tell("tagged", *ids)
        reg.submit_jobs(reg.find_not_submitted(), n_chunks=1)
        tell("submitted", *ids)
        reg.sync_registry()
        done = set(reg.find_done()) - told
        told |= done
        if done:
            tell("done", *sorted(done))
        reg.retry_jobs()


def check() -> None:
    lines = [line.split() for line in sys.stdin]
    reg = opened()
    values = {
        job: pars["x"] for job, pars in zip(*reg.get_job_pars().to_pydict().values(), strict=True)
    }
    done, tried = reg.find_done(), reg.find_submitted()
    results = dict(zip(done, reg.reduce_results_list(done), strict=True))
    for what, *words in lines:
        ids = [int(word) for word in words]
        if what == "defined":
            assert all(values[job] == job - 1 for job in ids), (what, ids)
        elif what == "tagged":
            for tag in (f"a{ids[0]}", f"b{ids[0]}"):
                assert list(reg.find_tagged(tag)) == ids, (what, ids)
        elif what == "submitted":
            assert set(ids) <= tried, (what, ids)
        elif what == "done":
            assert set(ids) <= done, (what, ids)
    assert all(result == fun(job - 1) for job, result in results.items())
    faults = reg.check_registry()
    print(f"{len(lines)} lines hold; {len(done)} of {len(values)} jobs done; {faults}")


if __name__ == "__main__":
    with warnings.catch_warnings(action="ignore"):
        {"write": write, "check": check}[sys.argv[1]]()
