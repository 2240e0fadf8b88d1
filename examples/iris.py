"""Two learners on resampled iris data: problems, algorithms, designs and replications.

The learners are a few lines of numpy each, so that nothing else need be installed.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import batchwright as bw

SPECIES = ["setosa", "versicolor", "virginica"]


def read(path: Path) -> dict[str, Any]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "species"]
    return {
        "x": np.array([[float(row[name]) for name in names] for row in rows]),
        "y": np.array([SPECIES.index(row["species"]) for row in rows]),
    }


def subsample(data: dict[str, Any], job: bw.Job, ratio: float) -> dict[str, Any]:
    """Split the rows into some to learn from and some to test with."""
    rows = job.rng.permutation(len(data["y"]))
    train = int(len(rows) * ratio)
    return {"train": rows[:train], "test": rows[train:]}


def distances(one: Any, other: Any, metric: str) -> Any:
    difference = np.abs(one[:, None, :] - other[None, :, :])
    return (difference if metric == "manhattan" else difference**2).sum(axis=2)


def confusion(truth: Any, predicted: Any) -> Any:
    table = np.zeros((3, 3), dtype=int)
    np.add.at(table, (truth, predicted), 1)
    return table


def neighbours(data: dict[str, Any], instance: dict[str, Any], k: int, metric: str) -> Any:
    """Each row is of the species that most of its nearest neighbours are of."""
    x, y, train, test = data["x"], data["y"], instance["train"], instance["test"]
    nearest = np.argsort(distances(x[test], x[train], metric), axis=1, kind="stable")[:, :k]
    votes = np.stack([(y[train][nearest] == species).sum(axis=1) for species in range(3)])
    return confusion(y[test], votes.argmax(axis=0))


def centroids(data: dict[str, Any], instance: dict[str, Any], shrink: float) -> Any:
    """Each row is of the species whose centre is nearest; centres are drawn to the common one."""
    x, y, train, test = data["x"], data["y"], instance["train"], instance["test"]
    middle = x[train].mean(axis=0)
    centres = np.stack([x[train][y[train] == species].mean(axis=0) for species in range(3)])
    centres = middle + (1 - shrink) * (centres - middle)
    return confusion(y[test], distances(x[test], centres, "euclidean").argmin(axis=1))


def misclassified(table: Any) -> dict[str, float]:
    return {"mce": float(1 - np.trace(table) / table.sum())}


def main() -> None:
    reg = bw.make_experiment_registry(file_dir=None, seed=1)

    # The problem's seed gives all algorithms the same splits in each replication.
    reg.add_problem("iris", data=read(Path(__file__).with_name("iris.csv")), fun=subsample, seed=42)
    reg.add_algorithm("neighbours", neighbours)
    reg.add_algorithm("centroids", centroids)
    print("problems:", reg.problems)
    print("algorithms:", reg.algorithms)

    problems = {"iris": {"ratio": [0.67, 0.9]}}
    algorithms = {
        "neighbours": bw.grid(k=[1, 5, 15], metric=["euclidean", "manhattan"]),
        "centroids": {"shrink": [0.0, 0.2, 0.4]},
    }
    print("added:", len(reg.add_experiments(problems, algorithms, repls=5)))
    print("added again:", len(reg.add_experiments(problems, algorithms, repls=5)))
    print("by algorithm:", reg.summarize_experiments().to_pylist())
    counted = reg.summarize_experiments(by=["problem", "algorithm", "ratio"])
    print("by ratio:", [tuple(row.values()) for row in counted.to_pylist()])

    # Try one job of each before all are submitted.
    first = reg.find_experiments(algo_name="neighbours")[0]
    other = reg.find_experiments(algo_name="centroids", algo_pars="shrink == 0.4")[0]
    print("to try:", [first, other])
    for job in (first, other):
        print(reg.test_job(job))
    one, two = reg.make_job(first).instance, reg.make_job(other).instance
    print("same split:", all(np.array_equal(one[part], two[part]) for part in one))

    reg.submit_jobs(chunk_size=15)
    print("all done:", reg.wait_for_jobs())
    results = reg.reduce_results_table(fun=misclassified)
    table = bw.ijoin(bw.unwrap(reg.get_job_pars()), results)
    groups = table.filter(pc.equal(table["ratio"], 0.67)).group_by(
        ["algorithm", "k", "metric", "shrink"]
    )
    for row in groups.aggregate([("mce", "mean"), ("mce", "count")]).to_pylist():
        print("group:", tuple(row.values()))

    print("more replications:", len(reg.add_experiments(problems, algorithms, repls=6)))
    compare(table)


def compare(table: pa.Table) -> None:
    """Hand the same table to whatever the reader works with."""
    try:
        import pandas as pd
        import polars as pl
    except ImportError:
        return
    frame: pd.DataFrame = table.to_pandas()
    print("pandas:", frame.shape)
    print("polars:", pl.DataFrame(table).shape)


if __name__ == "__main__":
    main()
