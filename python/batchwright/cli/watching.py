"""`status` and `watch`: where jobs stand, once or until they have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from batchwright import errors
from batchwright.cli.endings import NOT_ALL, fail
from batchwright.cli.opening import common_options, reading, writing
from batchwright.cli.output import is_terminal, write_json
from batchwright.cli.selection import Selection, with_selection

if TYPE_CHECKING:
    from batchwright.status import Status

_STILL: Final = 5.0
"""Seconds without a change after which absent jobs are looked for, first; then twice as long."""
_STILL_LONGEST: Final = 60.0
_LOOK: Final = 1.05
"""Seconds between two looks at the system: verbs share one for a second."""


@click.command()
@with_selection
@common_options
def status(registry: Path, as_json: bool, selection: Selection) -> None:
    """Count jobs by state.

    \b
    Examples:
      batchwright status
      batchwright status --where 'n > 100' --json
    """  # noqa: D301 - click's mark of text that keeps its lines
    reg = reading(registry)
    counts = reg.get_status(selection.jobs(reg))
    if as_json:
        write_json(_described(counts))
    else:
        click.echo(str(counts))


@click.command()
@click.option("--interval", type=float, metavar="SECONDS", help="Between two looks; grows if left.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up after so long.")
@click.option("--stop-on-error", is_flag=True, help="End as soon as a job failed or vanished.")
@with_selection
@common_options
def watch(
    registry: Path,
    as_json: bool,
    interval: float | None,
    timeout: float | None,
    stop_on_error: bool,
    selection: Selection,
) -> None:
    """Wait until jobs have ended; all submitted ones by default.

    Shows counts as they change, with --json as one object a line. Ends with 0 if all of them are
    done, else with 1. The registry stays free for others; Ctrl-C ends the watch, not the jobs.

    \b
    Examples:
      batchwright watch
      batchwright watch --timeout 3600 && batchwright results -o results.csv
    """  # noqa: D301 - click's mark of text that keeps its lines
    wait(
        registry,
        selection,
        as_json=as_json,
        interval=interval,
        timeout=timeout,
        stop_on_error=stop_on_error,
    )


def wait(
    registry: Path,
    selection: Selection,
    *,
    as_json: bool,
    interval: float | None = None,
    timeout: float | None = None,
    stop_on_error: bool = False,
) -> None:
    """Show counts until the jobs have ended; ends the program unless all of them are done."""
    from batchwright.waiting import sleeping

    reg = reading(registry)
    chosen = selection.jobs(reg)
    jobs = reg.find_submitted(chosen)
    if not jobs:
        fail("no job is submitted, so there is nothing to wait for", hint="`batchwright submit`")
    pause = sleeping(reg, interval)
    now = time.monotonic()
    deadline = None if timeout is None else now + timeout
    changed, still, iteration = now, _STILL, 0
    before: Status | None = None
    with _shown(as_json=as_json) as show:
        while True:
            counts = reg.get_status(jobs)
            if counts != before:
                show(counts)
                before, changed, still, iteration = counts, time.monotonic(), _STILL, 0
            if _have_ended(counts) or (stop_on_error and counts.error + counts.expired):
                break
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                break
            if now - changed >= still:
                _find_vanished(registry, reg.expire_after)
                changed, still = time.monotonic(), min(2 * still, _STILL_LONGEST)
                continue
            seconds = min(pause(iteration), still)
            time.sleep(seconds if deadline is None else min(seconds, max(deadline - now, 0)))
            iteration += 1
    if counts.done < counts.defined:
        raise click.exceptions.Exit(NOT_ALL)


def _have_ended(counts: Status) -> bool:
    return counts.done + counts.error + counts.expired >= counts.submitted


def _find_vanished(registry: Path, looks: int) -> None:
    """Own the registry for some looks, for only its owner can give up jobs that vanished."""
    try:
        with writing(registry, patience=0) as reg:
            for _ in range(looks):
                if _have_ended(reg.get_status()):
                    return
                time.sleep(_LOOK)
                reg.sync_registry()
    except (errors.RegistryLockedError, errors.ReadOnlyRegistryError, PermissionError):
        # Whoever owns it does that, or whoever may.
        return


def _described(counts: Status) -> dict[str, int]:
    return asdict(counts)


@contextmanager
def _shown(*, as_json: bool) -> Generator[Callable[[Status], None]]:
    """Give what shows counts: in place on a terminal, else a line a change."""
    if as_json:
        yield lambda counts: write_json(_described(counts))
    elif is_terminal():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        with Live(console=Console(), auto_refresh=False) as live:
            yield lambda counts: live.update(Text(str(counts)), refresh=True)
    else:
        yield lambda counts: click.echo(_line(counts))


def _line(counts: Status) -> str:
    names = ("done", "error", "expired", "running")
    told = [f"{getattr(counts, name)} {name}" for name in names if getattr(counts, name)]
    left = counts.submitted - counts.done - counts.error - counts.expired - counts.running
    told += [f"{left} waiting"] if left else []
    jobs = "1 job" if counts.defined == 1 else f"{counts.defined} jobs"
    return f"{jobs}: {', '.join(told)}"
