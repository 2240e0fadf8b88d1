"""Every line of the porting guide runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import add
from pathlib import Path

import numpy as np
import pytest

import batchwright as bw

GUIDE = Path(__file__).parents[1] / "docs" / "porting.md"
# The left column of the table in batchtools' guide.
NAMES = (
    "addRegistryPackages",
    "addRegistrySourceDirs",
    "addRegistrySourceFiles",
    "batchExpandGrid",
    "batchMapQuick",
    "batchReduceResults",
    "batchUnexport",
    "filterResults",
    "getJobIds",
    "getJobInfo",
    "getJob",
    "getJobParamDf",
    "loadResults",
    "reduceResultsDataFrame",
    "reduceResultsMatrix",
    "reduceResultsVector",
    "setJobFunction",
    "setJobNames",
    "showStatus",
)


def rows() -> dict[str, str]:
    found = re.findall(r"^\| (\w+) \|[^|]+\| `(.+)` \|$", GUIDE.read_text(), re.MULTILINE)
    return dict(found)


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    monkeypatch.chdir(tmp_path)
    Path("definitions.py").write_text("limit = 3\n")
    with (
        bw.make_registry("reg", conf_file=None, make_default=False) as reg,
        bw.make_registry("other", conf_file=None, make_default=False) as other,
    ):
        reg.cluster_functions = bw.Interactive()
        reg.batch_export({"limit": 3})
        reg.batch_map(lambda x: x, x=[1, 2, 3])
        reg.submit_jobs()
        yield {
            "reg": reg,
            "other": other,
            "bw": bw,
            "np": np,
            "Path": Path,
            "add": add,
            "f": lambda x: x + 1,
            "g": lambda x, y: x * y,
        }


def test_the_guide_has_every_name() -> None:
    assert tuple(rows()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_line_runs(name: str, scope: dict[str, object]) -> None:
    exec(rows()[name], scope)


def test_the_lines_of_the_guide_are_short() -> None:
    assert not [line for line in GUIDE.read_text().splitlines() if len(line) > 100]
