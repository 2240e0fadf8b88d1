"""What all workloads share: how one is described, and the registries they start from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import Figure

CHUNKS = 100
CORES = 2


@dataclass(frozen=True)
class Workload:
    """Something to measure; each run of it is a process of its own."""

    name: str
    measure: Callable[[int, Path], Iterator[Figure]]
    """Given the number of jobs and a folder: a registry, or an empty one for its own use."""
    needs: str = ""
    """The registry it starts from, a key of `FIXTURES`."""
    changes: bool = False
    """Whether it changes that registry, so that each run gets a copy."""
    is_large: bool = False
    """Whether it is also run at the size of `--large`."""
    most: int = 0
    """The largest size at which it is run; 0 for none."""
    once: bool = False
    """Whether the number of jobs makes no difference to it."""


def job() -> Callable[..., Any]:
    """Give the function of all jobs; a lambda, as it would stand in a script or notebook."""
    return lambda x, k: {"x": 2 * x}


def warm() -> None:
    """Import what a user's session has imported anyway; `starting` measures that apart."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute

    import batchwright as bw

    # The first array makes pyarrow import pandas where that is installed.
    pa.array(np.arange(2))
    # Names of the package import their modules when first used.
    assert all((pyarrow.compute, bw.load_registry, bw.find_jobs, bw.reduce_results_list))


def columns(n: int) -> dict[str, Any]:
    """Give the parameters of all jobs."""
    import numpy as np

    return {"x": np.arange(n), "k": np.zeros(n)}


def made(folder: Path) -> Any:
    """Make a registry."""
    import batchwright as bw

    reg = bw.make_registry(folder / "reg", conf_file=None, seed=1)
    reg.cluster_functions = bw.Multicore(ncpus=CORES)
    return reg


def loaded(folder: Path, *, writeable: bool = False) -> Any:
    """Load the registry of a fixture."""
    import batchwright as bw

    return bw.load_registry(folder / "reg", conf_file=None, writeable=writeable)


def nowhere() -> Any:
    """Give a backend that accepts everything at once and says that it all waits."""
    import batchwright as bw

    accepted: list[str] = []

    def submit(reg: object, jc: Any) -> Any:
        accepted.append(jc.job_hash)
        return bw.SubmitResult(0, (jc.job_hash,))

    def listed(reg: object) -> dict[str, Any]:
        return {batch: bw.BatchState("queued") for batch in accepted}

    return bw.make_cluster_functions("nowhere", submit, list_jobs=listed)


def defined(n: int, folder: Path) -> Any:
    """Make a registry whose jobs are defined."""
    reg = made(folder)
    reg.batch_map(job(), **columns(n))
    reg.save_registry()
    return reg


def ended(n: int, folder: Path) -> Any:
    """Make a registry whose jobs have all run, which the registry does not know yet."""
    from batchwright import store

    reg = defined(n, folder)
    reg.submit_jobs(n_chunks=CHUNKS)
    while any(one["state"] != "exited" for one in store.listed_on_host(reg.file_dir)):
        time.sleep(0.1)
    return reg


def finished(n: int, folder: Path) -> Any:
    """Make a registry whose jobs are done, and save it."""
    reg = ended(n, folder)
    reg.wait_for_jobs()
    reg.save_registry()
    return reg


FIXTURES: dict[str, Callable[[int, Path], Any]] = {
    "defined": defined,
    "ended": ended,
    "finished": finished,
}


def prepare(name: str, n: int, folder: Path) -> None:
    """Make a fixture anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    FIXTURES[name](n, folder).store.close()
