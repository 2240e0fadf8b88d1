"""Bars that show how far submitting and waiting are, where somebody can see them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Generator

_log = logging.getLogger("batchwright")


def is_watched() -> bool:
    """Whether output goes to a terminal or a notebook."""
    if "ipykernel" in sys.modules:
        return True
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def tell(text: str) -> None:
    """Say in one line what a call did, where somebody can see it."""
    _log.info(text)
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


@contextlib.contextmanager
def bar(what: str, total: int, *, show: bool | None) -> Generator[Callable[[int], None]]:
    """Show a bar while the block runs; it gets a function that advances it."""
    if total < 1 or not (is_watched() if show is None else show):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Elapsed())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda count: shown.advance(task, count)
