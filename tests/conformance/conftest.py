"""`--conformance-report` puts what became of each case into the table of the documentation.

Results of earlier runs, of other backends too, are kept in `results.jsonl` beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import pytest

from batchwright.testing import Conformance

RESULTS = Path(__file__).with_name("results.jsonl")
TABLE = Path(__file__).parents[2] / "docs" / "schedulers" / "conformance.md"
NOT_APPLICABLE = "not applicable: "
COMMANDS = {
    "test_slurm.py": "slurm-up",
    "test_sge.py": "gridengine-up",
    "test_docker.py": "docker-up",
    "test_ssh.py": "ssh-up",
    "test_fakes.py": None,
    "test_local.py": None,
}


class Outcome(StrEnum):
    PASSED = "passed"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"
    NOT_RUN = "not run"


SIGNS = {
    Outcome.PASSED: "yes",
    Outcome.NOT_APPLICABLE: "n/a",
    Outcome.FAILED: "**FAILED**",
    Outcome.NOT_RUN: "not run",
}


@dataclass(frozen=True, order=True)
class Result:
    """What became of one case on one backend."""

    backend: str
    case: str
    outcome: Outcome
    why: str = ""
    system: str = ""


# -- what pytest calls


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "put what became of each case into docs/schedulers/conformance.md"
    parser.addoption("--conformance-report", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if config.getoption("--conformance-report", default=False) and not is_worker:
        config.pluginmanager.register(Reporter())


class Reporter:
    """Collects results, and writes them at the end."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, str], Result] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        result = result_of(report)
        if result is None:
            return
        place = (result.backend, result.case)
        known = self.results.get(place)
        if known is None or known.outcome is not Outcome.FAILED:
            self.results[place] = result

    def pytest_sessionfinish(self) -> None:
        results = merged(load(), self.results.values())
        lines = [json.dumps(asdict(result)) + "\n" for result in results]
        RESULTS.write_text("".join(lines), encoding="utf-8")
        TABLE.write_text(render(results), encoding="utf-8")


@pytest.fixture(autouse=True)
def _system(request: pytest.FixtureRequest) -> None:
    if request.cls is not None and issubclass(request.cls, Conformance):
        request.node.user_properties.append(("system", system_of(request.cls)))


@cache
def system_of(suite: type[Conformance]) -> str:
    return suite.system()


# -- results


def result_of(report: pytest.TestReport) -> Result | None:
    """Give the result that a phase of a test settles; none for a phase that went as it should."""
    _, *suite, case = report.nodeid.split("::")
    if not suite or (report.passed and report.when != "call"):
        return None
    backend, why = suite[0].removeprefix("Test"), ""
    outcome = Outcome.PASSED if report.passed else Outcome.FAILED
    if report.skipped:
        why = str(report.longrepr[2]).removeprefix("Skipped: ")  # type: ignore
        outcome = Outcome.NOT_APPLICABLE if why.startswith(NOT_APPLICABLE) else Outcome.NOT_RUN
    if outcome is Outcome.NOT_RUN:
        why = ""
    system = dict(report.user_properties).get("system", "")
    return Result(backend, case, outcome, why.removeprefix(NOT_APPLICABLE), str(system))


def load() -> list[Result]:
    if not RESULTS.exists():
        return []
    rows = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    return [Result(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]


def merged(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """Let new results replace old ones; a backend that was not there leaves them as they are."""
    found = {(result.backend, result.case): result for result in old}
    for result in new:
        place = (result.backend, result.case)
        if result.outcome is not Outcome.NOT_RUN or place not in found:
            found[place] = result
    return sorted(found.values())


# -- the table


def render(results: list[Result]) -> str:
    backends = sorted({result.backend for result in results})
    systems = {r.backend: r.system for r in results if r.system}
    shared = [name for name in vars(Conformance) if name.startswith("test_")]
    own = sorted({result.case for result in results} - set(shared))
    notes: list[str] = []
    heads = [f"{b}<br>{systems.get(b, 'not run yet')}" for b in backends]
    by_place = {(result.backend, result.case): result for result in results}
    lines = [
        "# What was run on which system",
        "",
        "Each column is the conformance suite (`batchwright.testing`) on one backend, each row a",
        "case; `yes` means passed. *Real* is the scheduler itself, on one machine. A *fake*",
        "(`tests/schedulers/fakes`) really runs scripts, and answers with texts and exit codes",
        "that were recorded from the program named. The commands below write this page.",
        "",
        row("case", heads),
        row("---", ["---"] * len(backends)),
        *(row(words(c), [cell(by_place.get((b, c)), notes) for b in backends]) for c in shared),
        "",
        "Tests that only some have:",
        "",
        *(f"- {words(case)}: {where(case, backends, by_place)}" for case in own),
        "",
        "Not applicable, because:",
        "",
        *(f"{number}. {note}" for number, note in enumerate(notes, 1)),
        "",
        "To run a column again:",
        "",
        "```",
        *(command(file, up) for file, up in COMMANDS.items()),
        "```",
    ]
    return "\n".join(lines) + "\n"


def row(head: str, cells: list[str]) -> str:
    return f"| {head} | {' | '.join(cells)} |"


def cell(result: Result | None, notes: list[str]) -> str:
    if result is None:
        return "missing"
    if not result.why:
        return SIGNS[result.outcome]
    if result.why not in notes:
        notes.append(result.why)
    return f"{SIGNS[result.outcome]} ({notes.index(result.why) + 1})"


def where(case: str, backends: list[str], results: dict[tuple[str, str], Result]) -> str:
    found = [(b, results[b, case]) for b in backends if (b, case) in results]
    return ", ".join(f"{backend} {SIGNS[result.outcome]}" for backend, result in found)


def words(case: str) -> str:
    return case.removeprefix("test_").replace("_", " ")


def command(file: str, up: str | None) -> str:
    start = f'eval "$(tests/clusters/{up})" && ' if up else ""
    return f"{start}pytest tests/conformance/{file} --conformance-report"
