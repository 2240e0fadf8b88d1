"""Jobs whose parameters meet a predicate: a text, an expression or a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from batchwright.columns import cast as cast_column
from batchwright.columns import common_type
from batchwright.conditions import Condition
from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.segments import Parameter, Rows, group_names, layouts, rows, values
from batchwright.signature import parameters

if TYPE_CHECKING:
    import numpy as np
    import pyarrow.compute as pc
    from numpy.typing import NDArray

    from batchwright.registry import Registry
    from batchwright.store import Store

Predicate: TypeAlias = "str | pc.Expression | Callable[..., object]"
"""What parameters are matched with."""
_LACKS: Final = object()
"""Stands for a parameter that a row lacks and a function needs."""
_DEFAULT: Final = object()
"""Stands for one that the function has a default for."""


def find_jobs(reg: Registry, expr: Predicate | None = None, ids: IdsLike = None) -> JobIds:
    """Find jobs by their parameters.

    Parameters
    ----------
    reg
        The registry.
    expr
        A condition on parameters: a text such as `"n > 10 and kernel == 'radial'"`, a
        `pyarrow.compute` expression, or a function of the parameters it names. Texts and
        expressions are worked out in columns; a null matches nothing but `is None`. A function is
        called once a job and loads pickled values, and a job that lacks one of its parameters does
        not match. All jobs match None.
    ids
        Among which jobs; all by default.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> ids = reg.batch_map(lambda n, kernel: n, n=[5, 20, 30], kernel=["a", "a", "b"])
    >>> reg.find_jobs("n > 10 and kernel == 'a'")
    JobIds(1 job: 2)
    >>> reg.find_jobs(lambda n: n % 2 == 0)
    JobIds(2 jobs: 2–3)
    """
    chosen = _chosen(reg, ids)
    if expr is None:
        return chosen
    return matching(reg.store, chosen, expr, group_names(reg.store))


def matching(store: Store, ids: JobIds, predicate: object, groups: Sequence[str]) -> JobIds:
    """Find the jobs whose parameters in these groups meet a predicate."""
    matcher = matcher_of(store, predicate, groups)
    found = JobIds()
    for given in rows(store, ids, groups, matcher.names):
        found |= given.select(matcher(given))
    return found


class Matcher(Protocol):
    """Tells for rows of parameters whether they meet a predicate."""

    @property
    def names(self) -> Collection[str] | None:
        """The parameters it speaks of; None if that is not known."""
        ...

    def __call__(self, rows: Rows, /) -> NDArray[np.bool_]:
        """Give a truth a row."""
        ...


def matcher_of(store: Store, predicate: object, groups: Sequence[str]) -> Matcher:
    """Make what tells whether rows meet a predicate; parameters are looked for in these groups."""
    if isinstance(predicate, str):
        return _Remembering(_ByText(store, Condition.parse(predicate), groups))
    if _is_expression(predicate):
        return _Remembering(_ByExpression(store, cast("pc.Expression", predicate), groups))
    if callable(predicate):
        return _Remembering(_ByFunction(store, predicate, groups))
    raise TypeError(
        "a condition is a text, a pyarrow.compute expression or a function, "
        f"not {type(predicate).__name__} {predicate!r:.60}"
    )


def _is_expression(predicate: object) -> bool:
    return type(predicate).__module__.startswith("pyarrow") and type(predicate).__name__ == (
        "Expression"
    )


class _Remembering:
    """Asks once about rows that several blocks of experiments share."""

    def __init__(self, matcher: Matcher) -> None:
        self.names = matcher.names
        self._matcher = matcher
        self._known: dict[object, NDArray[np.bool_]] = {}

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        if rows.key is None:
            return self._matcher(rows)
        if rows.key not in self._known:
            self._known[rows.key] = self._matcher(rows)
        return self._known[rows.key]


class _ByText:
    """A condition written as text, worked out in columns."""

    def __init__(self, store: Store, condition: Condition, groups: Sequence[str]) -> None:
        self.names = condition.names
        self._condition = condition
        self._groups = groups
        _refuse_ambiguous(store, groups, condition.names)
        self._known = _known(store, groups, condition.names)

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        import numpy as np

        given = _parameters(rows, self._groups)
        columns = {
            name: _column(given.get(name), type, rows.length) for name, type in self._known.items()
        }
        for name in self.names & given.keys():
            if given[name].is_text:
                raise DefinitionError(
                    f"parameter {name!r} holds pickled values, which a text cannot compare: "
                    f"pass a function such as lambda {name}: …"
                )
        held = self._condition.mask(columns, rows.length).fill_null(False)
        return np.asarray(held)


class _ByExpression:
    """An expression of pyarrow; it does not tell its names."""

    names = None

    def __init__(self, store: Store, expression: pc.Expression, groups: Sequence[str]) -> None:
        self._expression = expression
        self._groups = groups
        self._ambiguous = _ambiguous(store, groups)
        known = _known(store, groups, ())
        self._known = {name: known[name] for name in known if name not in self._ambiguous}

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        import numpy as np
        import pyarrow as pa

        given = _parameters(rows, self._groups)
        columns = {
            name: _column(given.get(name), type, rows.length) for name, type in self._known.items()
        }
        # Any name may be a parameter's, so the places get one that none has.
        table = pa.table({**columns, "\x00row": pa.array(np.arange(rows.length))})
        try:
            kept = table.filter(self._expression)
        except (pa.ArrowException, KeyError, TypeError) as error:
            unclear = "; ".join(map(_why_ambiguous, sorted(self._ambiguous)))
            raise DefinitionError(
                f"{self._expression} cannot be worked out on the parameters "
                f"{', '.join(self._known) or '(none)'}: {error}" + (unclear and f"; {unclear}")
            ) from error
        held = np.zeros(rows.length, dtype=bool)
        held[kept["\x00row"].to_numpy()] = True
        return held


class _ByFunction:
    """A function of parameters, called once a row."""

    def __init__(self, store: Store, fun: Callable[..., Any], groups: Sequence[str]) -> None:
        self._fun = fun
        self._store = store
        self._groups = groups
        self._needed, self._optional = _named_by(fun)
        self.names = {*self._needed, *self._optional}
        _refuse_ambiguous(store, groups, self.names)

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        import numpy as np

        given = _parameters(rows, self._groups)
        if not given.keys() >= set(self._needed):
            return np.zeros(rows.length, dtype=bool)
        names = [*self._needed, *(name for name in self._optional if name in given)]
        columns = [self._values(given[name], name in self._needed) for name in names]
        held = np.ones(rows.length, dtype=bool)
        for row, pars in enumerate(zip(*columns, strict=True) if names else ()):
            held[row] = all(par is not _LACKS for par in pars) and self._fits(names, pars)
        return held if names else held & self._fits((), ())

    def _values(self, parameter: Parameter, is_needed: bool) -> list[Any]:
        found = values(self._store, parameter)
        if parameter.given is None:
            return found
        absent = _LACKS if is_needed else _DEFAULT
        has_it = parameter.given.to_pylist()
        return [value if has else absent for value, has in zip(found, has_it, strict=True)]

    def _fits(self, names: Iterable[str], pars: Iterable[Any]) -> bool:
        given = {n: par for n, par in zip(names, pars, strict=True) if par is not _DEFAULT}
        return _is_true(self._fun(**given))


def _is_true(answer: object) -> bool:
    # pandas' NA has no truth; like R's, it is no match.
    return type(answer).__name__ != "NAType" and bool(answer)


def _named_by(fun: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Give the parameters a function needs, and those it has a default for."""
    known = parameters(fun)
    if known is None:
        raise DefinitionError(f"{fun!r} does not tell its parameters: wrap it in a lambda")
    named = [p for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p.name for p in named if p.default is inspect.Parameter.empty]
    return needed, [p.name for p in named if p.name not in needed]


def _parameters(rows: Rows, groups: Sequence[str]) -> dict[str, Parameter]:
    return {name: found for group in groups for name, found in rows.groups[group].items()}


def _known(store: Store, groups: Sequence[str], names: Iterable[str]) -> dict[str, Any]:
    """Give the type of each parameter of the registry; text is None's, where types disagree.

    Raises
    ------
    DefinitionError
        If no job has a parameter of one of `names`.
    """
    import pyarrow as pa

    types: dict[str, list[Any]] = {}
    for layout in layouts(store):
        for group in groups:
            for name, parameter in layout[group].items():
                types.setdefault(name, []).append(parameter.shown.type)
    unknown = sorted(set(names) - types.keys())
    if unknown and store.core.n_jobs:
        raise DefinitionError(
            f"no job has a parameter {', '.join(map(repr, unknown))}; "
            f"there are {', '.join(types) or 'none'}"
        )
    joint = {name: common_type(found) for name, found in types.items()}
    return {name: pa.null() if type is None else type for name, type in joint.items()}


def _refuse_ambiguous(store: Store, groups: Sequence[str], names: Iterable[str]) -> None:
    twice = sorted(_ambiguous(store, groups).intersection(names))
    if twice:
        raise DefinitionError("; ".join(map(_why_ambiguous, twice)))


def _ambiguous(store: Store, groups: Sequence[str]) -> set[str]:
    """Give the names that are parameters of more than one group."""
    held: list[set[str]] = [set() for _ in groups]
    for layout in layouts(store):
        for group, known in zip(groups, held, strict=True):
            known.update(layout[group])
    return held[0].intersection(*held[1:]) if len(held) > 1 else set()


def _why_ambiguous(name: str) -> str:
    return (
        f"problems and algorithms both have a parameter {name!r}: use find_experiments with "
        "prob_pars= or algo_pars="
    )


def _column(parameter: Parameter | None, type: Any, length: int) -> Any:
    """Give a column as a condition sees it: a parameter the jobs lack is null."""
    import pyarrow as pa

    if parameter is None:
        return pa.nulls(length, type)
    return parameter.shown if pa.types.is_null(type) else cast_column(parameter.shown, type)


def _chosen(reg: Registry, ids: IdsLike) -> JobIds:
    reg.store.update()
    return selected(reg.store, ids, lambda: all_jobs(reg.store))
