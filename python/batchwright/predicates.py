"""Jobs whose parameters meet a predicate: a text, an expression or a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from batchwright.columns import cast as cast_column
from batchwright.columns import common_type
from batchwright.conditions import Condition
from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.segments import (
    Parameter,
    Segment,
    group_names,
    layouts,
    segments,
    values,
)
from batchwright.signature import parameters

if TYPE_CHECKING:
    import numpy as np
    import pyarrow.compute as pc
    from numpy.typing import NDArray

    from batchwright.registry import Registry
    from batchwright.store import Store

Predicate: TypeAlias = "str | pc.Expression | Callable[..., object]"
"""What parameters are matched with."""


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
    if isinstance(predicate, str):
        return _by_text(store, ids, Condition.parse(predicate), groups)
    if _is_expression(predicate):
        return _by_expression(store, ids, cast("pc.Expression", predicate), groups)
    if callable(predicate):
        return _by_function(store, ids, predicate, groups)
    raise TypeError(
        "a condition is a text, a pyarrow.compute expression or a function, "
        f"not {type(predicate).__name__} {predicate!r:.60}"
    )


def _is_expression(predicate: object) -> bool:
    return type(predicate).__module__.startswith("pyarrow") and type(predicate).__name__ == (
        "Expression"
    )


def _by_text(store: Store, ids: JobIds, condition: Condition, groups: Sequence[str]) -> JobIds:
    import numpy as np

    known = _known(store, groups, condition.names)
    found: list[NDArray[np.int64]] = []
    for segment in segments(store, ids):
        length = len(segment.job_ids)
        given = _parameters(segment, groups)
        columns = {name: _column(given.get(name), type, length) for name, type in known.items()}
        for name in condition.names & given.keys():
            if given[name].is_text:
                raise DefinitionError(
                    f"parameter {name!r} holds pickled values, which a text cannot compare: "
                    f"pass a function such as lambda {name}: …"
                )
        held = condition.mask(columns, length).fill_null(False)
        found.append(np.asarray(segment.job_ids)[np.asarray(held)])
    return _joined(found)


def _by_expression(
    store: Store, ids: JobIds, expression: pc.Expression, groups: Sequence[str]
) -> JobIds:
    import pyarrow as pa

    known = _known(store, groups, ())
    found: list[NDArray[np.int64]] = []
    for segment in segments(store, ids):
        length = len(segment.job_ids)
        given = _parameters(segment, groups)
        columns = {name: _column(given.get(name), type, length) for name, type in known.items()}
        # Any name may be a parameter's, so the ids get one that none has.
        table = pa.table({**columns, "\x00job_id": segment.job_ids})
        try:
            kept = table.filter(expression)
        except (pa.ArrowException, KeyError, TypeError) as error:
            raise DefinitionError(
                f"{expression} cannot be worked out on the parameters "
                f"{', '.join(known) or '(none)'}: {error}"
            ) from error
        found.append(kept["\x00job_id"].to_numpy())
    return _joined(found)


def _by_function(
    store: Store, ids: JobIds, fun: Callable[..., Any], groups: Sequence[str]
) -> JobIds:
    import numpy as np

    needed, optional = _named_by(fun)
    _refuse_ambiguous(store, groups, {*needed, *optional})
    found: list[NDArray[np.int64]] = []
    for segment in segments(store, ids):
        given = _parameters(segment, groups)
        if not given.keys() >= set(needed):
            continue
        names = [*needed, *(name for name in optional if name in given)]
        columns = [values(store, given[name]) for name in names]
        rows = zip(*columns, strict=True) if names else [()] * len(segment.job_ids)
        held = [_is_true(fun(**dict(zip(names, row, strict=True)))) for row in rows]
        found.append(np.asarray(segment.job_ids)[np.array(held, dtype=bool)])
    return _joined(found)


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


def _parameters(segment: Segment, groups: Sequence[str]) -> dict[str, Parameter]:
    return {name: found for group in groups for name, found in segment.groups[group].items()}


def _known(store: Store, groups: Sequence[str], names: Iterable[str]) -> dict[str, Any]:
    """Give the type of each parameter of the registry; text is None's, where types disagree.

    Raises
    ------
    DefinitionError
        If one of `names` is ambiguous, or no job has such a parameter.
    """
    import pyarrow as pa

    _refuse_ambiguous(store, groups, names)
    types: dict[str, list[Any]] = {}
    for segment in layouts(store):
        for name, parameter in _parameters(segment, groups).items():
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
    if len(groups) < 2:
        return
    per_group: list[set[str]] = [set() for _ in groups]
    for segment in layouts(store):
        for group, known in zip(groups, per_group, strict=True):
            known.update(segment.groups[group])
    common = per_group[0].intersection(*per_group[1:])
    twice = sorted(common.intersection(names))
    if twice:
        raise DefinitionError(
            f"problems and algorithms both have a parameter {', '.join(map(repr, twice))}: "
            "use find_experiments with prob_pars= or algo_pars="
        )


def _column(parameter: Parameter | None, type: Any, length: int) -> Any:
    """Give a column as a condition sees it: a parameter the jobs lack is null."""
    import pyarrow as pa

    if parameter is None:
        return pa.nulls(length, type)
    return parameter.shown if pa.types.is_null(type) else cast_column(parameter.shown, type)


def _joined(found: Sequence[NDArray[np.int64]]) -> JobIds:
    import numpy as np

    return JobIds(np.concatenate(found)) if found else JobIds()


def _chosen(reg: Registry, ids: IdsLike) -> JobIds:
    reg.store.update()
    return selected(reg.store, ids, lambda: all_jobs(reg.store))
