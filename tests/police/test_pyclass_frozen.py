"""Every class of the extension is frozen: its state changes behind a lock in Rust, or not at all.

A class that is not frozen borrows at run time, and a second thread gets "already borrowed".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "rust" / "py" / "src"
CLASS = re.compile(r"#\[(?:pyo3::)?pyclass(?:\((?P<options>(?:[^()]|\([^()]*\))*)\))?\]")


def classes(text: str) -> Iterator[tuple[int, str]]:
    for found in CLASS.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found["options"] or ""


@pytest.mark.parametrize("source", sorted(SOURCES.rglob("*.rs")), ids=lambda path: path.name)
def test_every_pyclass_is_frozen(source: Path) -> None:
    loose = [
        f"{source.name}:{line}"
        for line, options in classes(source.read_text())
        if "frozen" not in re.split(r"[\s,]+", options)
    ]
    assert not loose, f"`#[pyclass]` without `frozen`: {', '.join(loose)}"


def test_the_search_sees_classes() -> None:
    text = '#[pyclass]\nstruct A;\n#[pyclass(frozen, name = "B")]\nstruct B;\n'
    assert list(classes(text)) == [(1, ""), (3, 'frozen, name = "B"')]
    assert any(list(classes(path.read_text())) for path in SOURCES.rglob("*.rs"))
