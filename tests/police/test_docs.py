"""The documents match the tree, and the code in them runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("python/batchwright", "rust/core/src", "rust/exec/src", "rust/py/src", "rust/build")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sources() -> set[str]:
    found = {path for name in FOLDERS for path in (ROOT / name).rglob("*.*")}
    return {
        path.relative_to(ROOT).as_posix()
        for path in found
        if path.suffix in (".py", ".rs") and "__pycache__" not in path.parts
    }


def code_map() -> Iterator[str]:
    """Give the files in lines such as "- `fs.rs`: what it is", below a title with the folder."""
    folder = None
    for line in read("ARCHITECTURE.md").splitlines():
        if line.startswith("#"):
            title = re.fullmatch(r"### `(.+)`.*", line)
            folder = title[1] if title else None
        entry = re.match(r"- ((?:`[^`]+`(?:, )?)+): \S", line)
        if folder and entry:
            yield from (f"{folder}/{name}" for name in re.findall(r"`([^`]+)`", entry[1]))


def test_the_code_map_names_every_source_file() -> None:
    missing = sources() - set(code_map())
    assert not missing, "add a line each to the code map of ARCHITECTURE.md"


def test_the_code_map_names_nothing_else() -> None:
    named = [name for name in code_map() if name.endswith((".py", ".rs"))]
    assert len(named) == len(set(named))
    assert set(named) <= sources()


def test_the_code_in_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", read("README.md"), re.DOTALL | re.MULTILINE)
    assert blocks
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mean: double" in done.stdout


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    text = read(name)
    local = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    commands = re.findall(r"bash (\S+\.sh)", text)
    assert not [path for path in [*local, *commands] if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_of_prose_are_short(name: str) -> None:
    long = [line for line in read(name).splitlines() if len(line) > 100]
    assert not long
