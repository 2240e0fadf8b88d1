"""Experiments: problem rows × algorithm rows × 10 replications."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import Figure, measured, put_on_disk, usage

from workloads.common import Workload, warm

REPLS = 10


def rows(n: int) -> tuple[int, int]:
    """Give the rows of both designs for `n` experiments: 1,000 × 1,000 × 10 are 1e7."""
    problems = 10 ** int(math.log10(n // REPLS) // 2)
    return problems, n // REPLS // problems


def _designs(n: int) -> tuple[dict[str, Any], dict[str, Any]]:
    import numpy as np
    import pyarrow as pa

    problems, algorithms = rows(n)
    return (
        {"problem": pa.table({"a": np.arange(problems)})},
        {"algorithm": pa.table({"b": np.arange(algorithms)})},
    )


def add(n: int, folder: Path) -> Iterator[Figure]:
    import batchwright as bw

    warm()
    reg: Any = bw.make_experiment_registry(folder / "reg", conf_file=None, seed=1)
    reg.add_problem("problem", fun=lambda data, a: a)
    reg.add_algorithm("algorithm", fun=lambda instance, b: {"x": instance * b})
    problems, algorithms = _designs(n)
    with measured("add experiments", n) as figure:
        ids = reg.add_experiments(problems, algorithms, repls=REPLS)
    assert len(ids) == n
    put_on_disk(figure, reg.file_dir)
    figure.limit = ("write", usage(reg.file_dir).size)
    yield figure
    with measured("add the same experiments again", n, limit=("compare", n)) as figure:
        assert not reg.add_experiments(problems, algorithms, repls=REPLS)
    yield figure
    reg.save_registry()
    reg.store.close()
    with measured("reopen experiments", n, limit=("read", usage(reg.file_dir).size)) as figure:
        reg = bw.load_registry(reg.file_dir, conf_file=None)
    yield figure
    with measured("find_experiments", n, limit=("compare", n)) as figure:
        found = reg.find_experiments(prob_pars="a == 3", repls=[1])
    assert len(found) == rows(n)[1]
    yield figure
    with measured("summarize_experiments", n, limit=("compare", n)) as figure:
        table = reg.summarize_experiments()
    assert table.num_rows == 1
    yield figure


def is_there() -> bool:
    """Whether this version has experiments."""
    import batchwright as bw

    return hasattr(bw, "make_experiment_registry")


WORKLOADS = [Workload("experiments", add, is_large=True)]
