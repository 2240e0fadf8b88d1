"""The options by which verbs choose jobs: by id, state, cause, parameters and tag."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import click

import batchwright as bw

if TYPE_CHECKING:
    from batchwright.ids import JobIds
    from batchwright.registry import Registry
    from batchwright.status import Cause

_PART: Final = re.compile(r"(\d+)(?:[-–](\d+))?")
_HIGHEST: Final = 2**32 - 1

_STATES: Final[dict[str, Callable[[Registry, JobIds | None], JobIds]]] = {
    "defined": lambda reg, ids: reg.find_not_submitted(ids),
    "submitted": lambda reg, ids: reg.find_submitted(ids),
    "not-submitted": lambda reg, ids: reg.find_not_submitted(ids),
    "started": lambda reg, ids: reg.find_started(ids),
    "not-started": lambda reg, ids: reg.find_not_started(ids),
    "queued": lambda reg, ids: reg.find_queued(ids),
    "running": lambda reg, ids: reg.find_running(ids),
    "on-system": lambda reg, ids: reg.find_on_system(ids),
    "done": lambda reg, ids: reg.find_done(ids),
    "not-done": lambda reg, ids: reg.find_not_done(ids),
    "error": lambda reg, ids: reg.find_errors(ids),
    "expired": lambda reg, ids: reg.find_expired(ids),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs a user chose; conditions of different kinds must all hold."""

    ids: JobIds | None = None
    states: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    where: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def is_given(self) -> bool:
        """Whether there is any condition."""
        return self.ids is not None or any((self.states, self.causes, self.where, self.tags))

    def jobs(self, reg: Registry) -> JobIds | None:
        """Give the jobs chosen; None without any condition, as verbs have defaults."""
        found = self.ids
        if found is not None:
            # Unknown ids are refused, also where another condition would drop them.
            found = reg.find_jobs(ids=found)
        for condition in self.where:
            found = reg.find_jobs(condition, found)
        if self.tags:
            found = reg.find_tagged(list(self.tags), found)
        if self.states:
            found = _union([_STATES[state](reg, found) for state in self.states])
        if self.causes:
            failed = [reg.find_errors(found, cause=cause) for cause in self.causes]
            gone = [reg.find_expired(found, cause=cause) for cause in self.causes]
            found = _union([*failed, *gone])
        return found


def _union(sets: list[JobIds]) -> JobIds:
    return functools.reduce(lambda one, other: one | other, sets)


def parse_ids(text: str) -> JobIds:
    """Read ids such as `1-5,8`."""
    found: list[JobIds] = []
    for part in re.split(r"[,\s]+", text.strip()):
        match = _PART.fullmatch(part)
        if match is None:
            raise click.BadParameter(f"{part!r} is no job id and no range; write 1-5,8")
        first, last = int(match[1]), int(match[2] or match[1])
        if first < 1 or last > _HIGHEST:
            raise click.BadParameter(f"{part!r} is beyond the ids there can be, from 1 on")
        if last < first:
            raise click.BadParameter(f"the range {part!r} is upside down; write {last}-{first}")
        found.append(bw.JobIds(range(first, last + 1)))
    return _union(found)


def ids_text(ids: JobIds) -> str:
    """Write ids so that `--ids` reads them."""
    runs = ids.core.ranges(len(ids))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _given_ids(text: str) -> JobIds:
    if text != "-":
        return parse_ids(text)
    read = sys.stdin.read()
    return parse_ids(read) if read.strip() else bw.JobIds()


_OPTIONS: Final = (
    click.option(
        "--ids", type=_given_ids, metavar="IDS", help="Jobs such as 1-5,8; - reads them from stdin."
    ),
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice(list(_STATES)),
        metavar="STATE",
        help=f"Jobs in a state; several add up. One of {', '.join(_STATES)}.",
    ),
    click.option("--cause", "causes", multiple=True, help="Jobs that failed so, as oom; add up."),
    click.option("--where", multiple=True, help="A condition on parameters, as 'x > 3'."),
    click.option("--tag", "tags", multiple=True, help="Jobs with this tag; several add up."),
)


def with_selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that choose jobs, as one argument `selection`."""

    @functools.wraps(command)
    def call(
        *,
        ids: JobIds | None,
        states: tuple[str, ...],
        causes: tuple[str, ...],
        where: tuple[str, ...],
        tags: tuple[str, ...],
        **others: Any,
    ) -> Any:
        selection = Selection(ids, states, cast("tuple[Cause, ...]", causes), where, tags)
        return command(selection=selection, **others)

    chosen: Callable[..., Any] = call
    for option in reversed(_OPTIONS):
        chosen = option(chosen)
    return chosen
