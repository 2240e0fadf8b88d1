"""The table of backends and cases is what the newest results say, and lacks none."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from batchwright.clusters.kinds import SHIPPED
from batchwright.testing import Conformance

CONFORMANCE = Path(__file__).parents[1] / "conformance"


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance_report", CONFORMANCE / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def suites() -> Iterator[tuple[str, str]]:
    """Give backend and case of each test in a class that runs the suite."""
    shared = {name for name in vars(Conformance) if name.startswith("test_")}
    for path in CONFORMANCE.glob("test_*.py"):
        cases = {"Conformance": shared}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            inherited = {case for base in bases for case in cases.get(base, ())}
            own = {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
            cases[node.name] = inherited | {name for name in own if name.startswith("test_")}
            if node.name.startswith("Test") and inherited:
                yield from ((node.name.removeprefix("Test"), case) for case in cases[node.name])


def test_every_case_of_every_backend_was_run(report: ModuleType) -> None:
    recorded = {(result.backend, result.case) for result in report.load()}
    assert recorded == set(suites()), "run pytest tests/conformance --conformance-report"


def test_nothing_failed(report: ModuleType) -> None:
    assert not [result for result in report.load() if result.outcome is report.Outcome.FAILED]


def test_the_table_shows_the_results(report: ModuleType) -> None:
    assert report.TABLE.read_text(encoding="utf-8") == report.render(report.load())


def test_every_shipped_backend_runs_the_suite() -> None:
    run = {backend.lower() for backend, _ in suites()}
    assert set(SHIPPED) - {"socket"} <= run, "`socket` is another name for `multicore`"


def test_every_way_to_run_it_is_told(report: ModuleType) -> None:
    files = {path.name for path in CONFORMANCE.glob("test_*.py")}
    assert set(report.COMMANDS) == files - {"test_doubt.py"}
