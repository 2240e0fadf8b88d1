"""Figures as a table: medians, growth, ratios to batchtools and to the machine, and the aims."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "batchwright"
REFERENCE = "batchtools"
LARGE = 10_000_000
MILLION = 1_000_000


@dataclass(frozen=True)
class Group:
    """All runs of one figure at one size."""

    tool: str
    what: str
    n: int
    samples: tuple[dict[str, Any], ...]

    def values(self, name: str) -> list[float]:
        """Give a measure of all runs."""
        return [float(sample[name]) for sample in self.samples]

    def median(self, name: str) -> float:
        """Give the median of a measure."""
        return statistics.median(self.values(name))

    @property
    def limit(self) -> str | None:
        """Which physical limit belongs to it."""
        limits = [sample["limit"] for sample in self.samples if sample.get("limit")]
        return limit_key(*limits[-1]) if limits else None


@dataclass(frozen=True)
class Unit:
    """How a figure is shown and judged."""

    name: str
    of: Callable[[float, int], float]
    """From seconds and the number of jobs."""
    is_rate: bool = False


SECONDS = Unit("s", lambda wall, n: wall)
MILLISECONDS = Unit("ms", lambda wall, n: wall * 1e3)
PER_SECOND = Unit("jobs/s", lambda wall, n: n / wall, is_rate=True)
MICROSECONDS_EACH = Unit("µs/job", lambda wall, n: wall / n * 1e6)
MILLISECONDS_EACH = Unit("ms/chunk", lambda wall, n: wall / n * 1e3)

UNITS = {
    "run": PER_SECOND,
    "run, results kept": PER_SECOND,
    "sync": MICROSECONDS_EACH,
    "sync, as a reader": MICROSECONDS_EACH,
    "submit, chunks of one job": MILLISECONDS_EACH,
}


@dataclass(frozen=True)
class Aim:
    """What we want to reach; at most, or of a rate at least."""

    what: str
    n: int
    value: float


AIMS = (
    Aim("define", MILLION, 0.3),
    Aim("reopen", MILLION, 0.1),
    Aim("string predicate", MILLION, 0.05),
    Aim("whole job table", MILLION, 0.2),
    Aim("run", MILLION, 30_000),
    Aim("sync", MILLION, 0.3),
    Aim("collect list", MILLION, 3.0),
    Aim("collect table", MILLION, 1.0),
    Aim("grep logs", MILLION, 3.0),
    Aim("define", LARGE, 4.0),
    Aim("reopen, defined", LARGE, 1.0),
    Aim("submit, chunks of one job", 100_000, 0.2),
    Aim("idle poll, all wait", MILLION, 5.0),
    Aim("idle poll, all ended", MILLION, 5.0),
)


@dataclass(frozen=True)
class Footprint:
    """What all figures of a size together may take."""

    name: str
    n: int
    value: float
    of: Callable[[Sequence[Group]], float]


FOOTPRINTS = (
    Footprint("files of a finished registry", MILLION, 400, lambda found: _of_run(found, "files")),
    Footprint("MB of a finished registry", MILLION, 250, lambda found: _of_run(found, "disk_mb")),
    Footprint("MB of memory, the most of all", MILLION, 700, lambda found: _peak(found)),
    Footprint("MB of memory, the most of all", LARGE, 2000, lambda found: _peak(found)),
)


def unit(what: str) -> Unit:
    """Give the unit in which a figure is shown."""
    if what.startswith(("start:", "idle poll")):
        return MILLISECONDS
    return UNITS.get(what, SECONDS)


def limit_key(kind: str, amount: float) -> str:
    """Name a limit in the JSON."""
    return f"{kind}:{int(amount)}"


def grouped(samples: Iterable[dict[str, Any]]) -> list[Group]:
    """Bring the runs of each figure together, in the order in which they were taken."""
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for sample in samples:
        found.setdefault((sample["tool"], sample["what"], sample["n"]), []).append(sample)
    return [Group(*key, tuple(values)) for key, values in found.items()]


# -- the parts of a row


def number(value: float) -> str:
    """Show three digits."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "—"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{digits}f}"


def growth(group: Group, before: Group | None) -> str:
    """Give p of time ~ N^p since the next smaller size."""
    if before is None or before.median("wall") <= 0 or group.median("wall") <= 0:
        return "—"
    ratio = group.median("wall") / before.median("wall")
    return f"{math.log(ratio) / math.log(group.n / before.n):.2f}"


def against(group: Group, theirs: Sequence[Group]) -> str:
    """Give how many times longer the reference takes; ~ if scaled from its largest size."""
    smaller = [one for one in theirs if one.what == group.what and one.n <= group.n]
    if not smaller or group.median("wall") <= 0:
        return "—"
    nearest = max(smaller, key=lambda one: one.n)
    scale = group.n / nearest.n if _grows(group.what) else 1.0
    ratio = nearest.median("wall") * scale / group.median("wall")
    return f"{'' if nearest.n == group.n else '~'}{number(ratio)} ×"


def _grows(what: str) -> bool:
    return not what.startswith(("idle poll", "start:"))


def above(group: Group, limits: dict[str, list[float]]) -> str:
    """Give how many times longer than the machine's own limit it takes."""
    values = limits.get(group.limit or "")
    if not values or statistics.median(values) <= 0:
        return "—"
    return f"{number(group.median('wall') / statistics.median(values))} ×"


def judged(value: float, aim: float, unit: str, *, is_rate: bool = False) -> str:
    """Say whether an aim is reached, and by how much it is missed."""
    sign = "≥" if is_rate else "≤"
    factor = aim / value if is_rate else value / aim
    verdict = "reached" if factor <= 1 else f"**missed, {number(factor)} ×**"
    return f"{sign} {number(aim) if aim < 1000 else f'{aim:,.0f}'} {unit}: {verdict}"


def _aim(group: Group) -> str:
    shown = unit(group.what)
    for aim in AIMS:
        if (aim.what, aim.n) == (group.what, group.n):
            value = shown.of(group.median("wall"), group.n)
            return judged(value, aim.value, shown.name, is_rate=shown.is_rate)
    return ""


def _range(group: Group, shown: Unit) -> str:
    values = sorted(shown.of(wall, group.n) for wall in group.values("wall") if wall > 0)
    return f"{number(values[0])}–{number(values[-1])}" if len(values) > 1 else "one run"


def _of_run(found: Sequence[Group], name: str) -> float:
    return max((group.median(name) for group in found if group.what == "run"), default=math.nan)


def _peak(found: Sequence[Group]) -> float:
    return max((group.median("peak_mb") for group in found), default=math.nan)


# -- tables


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    right = ["---"] + ["--:"] * (len(head) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (head, right, *rows)]


def _main_rows(
    ours: Sequence[Group], theirs: Sequence[Group], limits: dict[str, list[float]]
) -> Iterable[list[str]]:
    for what in dict.fromkeys(group.what for group in ours):
        sizes = sorted((group for group in ours if group.what == what), key=lambda one: one.n)
        shown = unit(what)
        for before, group in zip([None, *sizes], sizes, strict=False):
            yield [
                what,
                f"{group.n:,}",
                f"{number(shown.of(group.median('wall'), group.n))} {shown.name}",
                _range(group, shown),
                f"{number(group.median('cpu'))} s",
                growth(group, before),
                number(group.median("peak_mb")),
                against(group, theirs),
                above(group, limits),
                _aim(group),
            ]


def _footprint_rows(ours: Sequence[Group]) -> Iterable[list[str]]:
    for footprint in FOOTPRINTS:
        value = footprint.of([group for group in ours if group.n == footprint.n])
        if math.isfinite(value):
            verdict = judged(value, footprint.value, "")
            yield [footprint.name, f"{footprint.n:,}", number(value), verdict.replace(" :", ":")]


def _disk_rows(groups: Sequence[Group]) -> Iterable[list[str]]:
    for group in groups:
        if group.median("files"):
            yield [
                f"{group.tool}: {group.what}",
                f"{group.n:,}",
                f"{group.median('files'):,.0f}",
                number(group.median("disk_mb")),
            ]


def _peer_rows(theirs: Sequence[Group]) -> Iterable[list[str]]:
    for group in theirs:
        shown = unit(group.what)
        yield [
            f"{group.tool}: {group.what}",
            f"{group.n:,}",
            f"{number(shown.of(group.median('wall'), group.n))} {shown.name}",
            _range(group, shown),
            f"{number(group.median('cpu'))} s",
            number(group.median("peak_mb")),
        ]


def _limit_rows(limits: dict[str, list[float]]) -> Iterable[list[str]]:
    for key, values in limits.items():
        kind, _, amount = key.partition(":")
        yield [kind, f"{int(amount):,}", f"{number(statistics.median(values) * 1e3)} ms"]


def markdown(found: dict[str, Any]) -> str:
    """Write the report."""
    groups = grouped(found["samples"])
    ours = [group for group in groups if group.tool == OURS]
    peers = [group for group in groups if group.tool != OURS]
    reference = [group for group in peers if group.tool == REFERENCE]
    limits = found["limits"]
    machine = found["machine"]
    head = (
        "what",
        "N",
        "median",
        "min–max",
        "CPU",
        "growth",
        "peak MB",
        "batchtools takes",
        "above the limit",
        "aim",
    )
    lines = [
        "# Measured",
        "",
        f"{machine['began']} UTC, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_mb']:,} MB, {machine['system']}, Python {machine['python']}, "
        f"batchwright {machine['batchwright']}; load {number(machine['load_before'])} before, "
        f"{number(machine['load_after'])} after.",
        "",
        *_table(head, _main_rows(ours, reference, limits)),
        "",
        "## Footprint",
        "",
        *_table(("what", "N", "measured", "aim"), _footprint_rows(ours)),
        "",
        "## Files and disk",
        "",
        *_table(("what", "N", "files", "MB on disk"), _disk_rows(groups)),
        "",
        "## Peers",
        "",
        *_table(("what", "N", "median", "min–max", "CPU", "peak MB"), _peer_rows(peers)),
        "",
        "## The machine",
        "",
        *_table(("what", "amount", "median"), _limit_rows(limits)),
        "",
    ]
    if found["failures"]:
        lines += ["## Failures", "", *(f"- {failure}" for failure in found["failures"]), ""]
    return "\n".join(lines)
