"""Parameters as the definition calls laid them out: one Arrow table, a segment, for each call.

Nothing is unpickled here: beside a pickled column lies one that holds its values' `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batchwright.columns import plain
from batchwright.ids import JobIds

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from batchwright.store import Store

TEXT_SUFFIX: Final = "\x00text"
"""Ends the name of the column that shows a pickled one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A parameter as tables show it."""

    values: pa.Array
    is_text: bool
    """Whether these are the `repr`s of pickled values."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Some jobs of one definition call, with their parameters."""

    job_ids: pa.Array
    columns: dict[str, Shown]


def segments(store: Store, ids: JobIds) -> Iterator[Segment]:
    """Read the segments that have any of these jobs, in ascending order of their ids."""
    import pyarrow as pa

    for place, (first, last, _) in enumerate(store.core.segments()):
        if ids.isdisjoint(JobIds(range(first, last + 1))):
            continue
        table = pa.table(store.core.parameters(place, ids.core))
        yield Segment(plain(table["job_id"]), _shown(table))


def _shown(table: pa.Table) -> dict[str, Shown]:
    names = set(table.column_names)
    shown: dict[str, Shown] = {}
    for name in table.column_names[1:]:
        text = name + TEXT_SUFFIX
        if text in names:
            shown[name] = Shown(plain(table[text]), is_text=True)
        elif not name.endswith(TEXT_SUFFIX):
            shown[name] = Shown(plain(table[name]), is_text=False)
    return shown
