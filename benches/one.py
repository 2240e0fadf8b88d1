"""One measurement in a process of its own; prints its figures as lines of JSON."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import physical
from workloads import common
from workloads.common import Workload

MODULES = (
    "defining",
    "running",
    "collecting",
    "submitting",
    "packing",
    "experiments",
    "starting",
)


def workloads() -> list[Workload]:
    """Give all workloads in the order of the report."""
    modules = [importlib.import_module(f"workloads.{name}") for name in MODULES]
    return [workload for module in modules for workload in module.WORKLOADS]


def main(kind: str, name: str, amount: str, folder: Path) -> None:
    """Run a workload, prepare a fixture, or measure a physical limit."""
    if kind == "workload":
        workload = next(workload for workload in workloads() if workload.name == name)
        for figure in workload.measure(int(amount), folder):
            figure.emit()
    elif kind == "fixture":
        common.prepare(name, int(amount), folder)
    elif kind == "limit":
        print(json.dumps(physical.seconds(name, float(amount), folder)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
