"""Designs: the tables of parameters that experiments are made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from batchwright import parameters
from batchwright.errors import DefinitionError
from batchwright.segments import GIVEN_SUFFIX

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.store import Store


@dataclass(frozen=True, slots=True)
class Design:
    """The rows of one problem, or of one algorithm."""

    name: str
    columns: Mapping[str, Any]
    """Empty for one row without parameters."""
    count: int
    given: Mapping[str, Sequence[bool]]
    """Which rows have a parameter, where some lack it."""

    def patterns(self) -> Iterable[list[str]]:
        """Give the names of the parameters of each row, those that rows share once."""
        always = [name for name in self.columns if name not in self.given]
        if not self.given:
            return [always]
        held = dict.fromkeys(zip(*self.given.values(), strict=True))
        names = list(self.given)
        return [[*always, *itertools.compress(names, has)] for has in held]

    def to_arrow(self, store: Store) -> pa.Table | None:
        """Give the rows as the core takes them; None for one row without parameters."""
        import pyarrow as pa

        if not self.columns:
            return None
        try:
            table = parameters.as_arrow(store, self.columns, self.count, keyed=True)
        except DefinitionError as error:
            raise DefinitionError(f"the design of `{self.name}`: {error}") from None
        for name, has in self.given.items():
            table = table.append_column(name + GIVEN_SUFFIX, pa.array(has, pa.bool_()))
        return table


def read(designs: object, what: str, known: Sequence[str]) -> list[Design]:
    """Read designs by name; None stands for all that is known, without parameters.

    Parameters
    ----------
    what
        How the argument is called.
    known
        The names of all problems, or of all algorithms.
    """
    if designs is None:
        return [Design(name, {}, 1, {}) for name in known]
    if not isinstance(designs, Mapping):
        raise DefinitionError(
            f"`{what}` is {designs!r:.200}: give a mapping of name to table, such as "
            "`{'name': {'x': [1, 2]}}`"
        )
    found = cast("Mapping[object, object]", designs)
    return [_read(name, table, what) for name, table in found.items()]


def _read(name: object, table: object, what: str) -> Design:
    if not isinstance(name, str):
        raise DefinitionError(f"`{what}` has a design for {name!r}: names are texts")
    where = f"`{what}[{name!r}]`"
    if table is None:
        return Design(name, {}, 1, {})
    if _is_rows(table):
        return _from_rows(name, cast("Sequence[Mapping[Any, Any]]", table), where)
    columns, count = parameters.aligned(parameters.from_table(table, where))
    _refuse_empty(columns, where)
    return Design(name, columns, count, {}) if count else Design(name, {}, 1, {})


def _refuse_empty(columns: Mapping[str, Any], where: str) -> None:
    """Refuse a name that marks columns of the core's own."""
    for name in columns:
        if "\x1f" in name:
            raise DefinitionError(f"{where} has a column {name!r}: rename it")


def _is_rows(table: object) -> bool:
    return (
        isinstance(table, Sequence)
        and not isinstance(table, str | bytes)
        and all(isinstance(row, Mapping) for row in cast("Sequence[object]", table))
    )


def _from_rows(name: str, rows: Sequence[Mapping[Any, Any]], where: str) -> Design:
    """Read a list of dicts; a row that lacks a key lacks that parameter."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    for column in names:
        if not isinstance(column, str) or not column:
            raise DefinitionError(f"{where} has a key {column!r}: names are texts")
    columns = {column: [row.get(column) for row in rows] for column in names}
    _refuse_empty(columns, where)
    if not columns and len(rows) > 1:
        # Rows without parameters are all equal.
        return Design(name, {}, 1, {})
    has: dict[str, list[bool]] = {c: [c in row for row in rows] for c in columns}
    given = {column: held for column, held in has.items() if not all(held)}
    return Design(name, columns, len(rows), given) if columns else Design(name, {}, 1, {})


def check(
    designs: Iterable[Design],
    known: Mapping[str, Mapping[str, Any]],
    unknown: Callable[[str], Exception],
    fits: Callable[[Mapping[str, Any], Iterable[str], str], None],
) -> None:
    """Raise unless all names are known and each function can take its design."""
    for design in designs:
        if design.name not in known:
            raise unknown(design.name)
        for names in design.patterns():
            fits(known[design.name], names, f"the design of `{design.name}`")
