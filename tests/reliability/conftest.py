"""How long these tests go on, and where their figures are printed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

FIGURES = "figures"


@pytest.fixture
def soak() -> float:
    """Minutes for which loops go on; 0 by default."""
    return float(os.environ.get("BATCHWRIGHT_SOAK") or 0)


@pytest.fixture
def rounds(soak: float) -> Callable[[int, int], int]:
    """Give the number of rounds: few by default, many where there is time."""

    def number(few: int, many: int) -> int:
        chosen = os.environ.get("BATCHWRIGHT_ROUNDS")
        return int(chosen) if chosen else many if soak else few

    return number


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Print counts at the end of the log, whether or not the output of tests is shown."""

    def tell(**counts: object) -> None:
        text = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
        record_property(FIGURES, text)

    return tell


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, text in report.user_properties
        if name == FIGURES and report.when == "call"
    ]
    if lines:
        terminalreporter.section("reliability figures")
        for line in lines:
            terminalreporter.write_line(line)
