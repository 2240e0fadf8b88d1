"""Spreading jobs over chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from measuring import Figure, measured

from workloads.common import Workload, warm


def packing(n: int, folder: Path) -> Iterator[Figure]:
    import numpy as np

    import batchwright as bw

    warm()
    times = np.random.default_rng(1).exponential(100.0, n)
    ids = bw.JobIds(range(1, n + 1))
    n_chunks = max(n // 1000, 1)
    with measured("chunk", n, limit=("shuffle", n)) as figure:
        bw.chunk(ids, n_chunks=n_chunks)
    yield figure
    with measured("lpt", n, limit=("sort", n)) as figure:
        bw.lpt(times, n_chunks=n_chunks)
    yield figure
    with measured("binpack", n, limit=("sort", n)) as figure:
        bw.binpack(times, chunk_size=max(times.sum() / n_chunks, times.max()))
    yield figure


WORKLOADS = [Workload("packing", packing)]
