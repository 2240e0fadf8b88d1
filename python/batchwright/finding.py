"""Jobs by what they were defined with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from batchwright.columns import cast as cast_column
from batchwright.columns import common_type
from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.predicates import Predicate
from batchwright.segments import (
    Parameter,
    Segment,
    group_names,
    is_experiments,
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

Condition: TypeAlias = "str | pc.Expression | Callable[..., object]"
"""What parameters are matched with."""


def find_jobs(reg: Registry, expr: Condition | None = None, ids: IdsLike = None) -> JobIds:
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
    return _matching(reg.store, chosen, expr, group_names(reg.store))


def find_experiments(
    reg: Registry,
    ids: IdsLike = None,
    *,
    prob_name: str | None = None,
    prob_pattern: str | re.Pattern[str] | None = None,
    algo_name: str | None = None,
    algo_pattern: str | re.Pattern[str] | None = None,
    prob_pars: Condition | None = None,
    algo_pars: Condition | None = None,
    repls: int | Iterable[int] | None = None,
) -> JobIds:
    """Find experiments that meet all the conditions given.

    Parameters
    ----------
    reg
        The registry.
    ids
        Among which jobs; all by default.
    prob_name, algo_name
        The name of the problem, of the algorithm.
    prob_pattern, algo_pattern
        A regular expression found anywhere in the name.
    prob_pars, algo_pars
        A condition on the parameters of the problem, of the algorithm; see `find_jobs`.
    repls
        Numbers of replications.
    """
    if not is_experiments(reg.store):
        raise DefinitionError("this registry has no experiments; use find_jobs")
    chosen = _chosen(reg, ids)
    tests = [
        _name_test("problem", "prob_name", prob_name),
        _pattern_test("problem", "prob_pattern", prob_pattern),
        _name_test("algorithm", "algo_name", algo_name),
        _pattern_test("algorithm", "algo_pattern", algo_pattern),
        _repl_test(repls),
    ]
    wanted = [test for test in tests if test is not None]
    if wanted:
        found = [_held(segment, wanted) for segment in segments(reg.store, chosen)]
        chosen = _joined(found)
    for condition, group in ((prob_pars, "prob_pars"), (algo_pars, "algo_pars")):
        if condition is not None:
            chosen = _matching(reg.store, chosen, condition, (group,))
    return chosen


_Test: TypeAlias = "tuple[str, Callable[[Any], bool]]"


def _name_test(column: str, what: str, name: object) -> _Test | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"{what} is one name, not {name!r}; use a pattern for several")
    return column, lambda value: value == name


def _pattern_test(column: str, what: str, pattern: str | re.Pattern[str] | None) -> _Test | None:
    if pattern is None:
        return None
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ValueError(f"{what} {pattern!r} is no regular expression: {error}") from None
    return column, lambda value: search(value) is not None


def _repl_test(repls: int | Iterable[int] | None) -> _Test | None:
    if repls is None:
        return None
    wanted = set(repls) if isinstance(repls, Iterable) else {repls}
    return "repl", lambda value: value in wanted


def _held(segment: Segment, tests: Sequence[_Test]) -> NDArray[np.int64]:
    """Give the jobs of a segment that pass tests of their distinct names and numbers."""
    import numpy as np

    held = np.ones(len(segment.job_ids), dtype=bool)
    for column, passes in tests:
        encoded = segment.columns[column].dictionary_encode()
        verdicts = np.array([passes(value) for value in encoded.dictionary.to_pylist()], dtype=bool)
        if not len(verdicts):
            continue
        held &= verdicts[np.asarray(encoded.indices)]
    return np.asarray(segment.job_ids)[held]


# -- conditions


def _matching(store: Store, ids: JobIds, condition: object, groups: Sequence[str]) -> JobIds:
    if isinstance(condition, str):
        return _by_text(store, ids, Predicate.parse(condition), groups)
    if _is_expression(condition):
        return _by_expression(store, ids, cast("pc.Expression", condition), groups)
    if callable(condition):
        return _by_function(store, ids, condition, groups)
    raise TypeError(
        "a condition is a text, a pyarrow.compute expression or a function, "
        f"not {type(condition).__name__} {condition!r:.60}"
    )


def _is_expression(condition: object) -> bool:
    return type(condition).__module__.startswith("pyarrow") and type(condition).__name__ == (
        "Expression"
    )


def _by_text(store: Store, ids: JobIds, predicate: Predicate, groups: Sequence[str]) -> JobIds:
    import numpy as np

    known = _known(store, groups, predicate.names)
    found: list[NDArray[np.int64]] = []
    for segment in segments(store, ids):
        length = len(segment.job_ids)
        given = _parameters(segment, groups)
        columns = {name: _column(given.get(name), type, length) for name, type in known.items()}
        for name in predicate.names & given.keys():
            if given[name].is_text:
                raise DefinitionError(
                    f"parameter {name!r} holds pickled values, which a text cannot compare: "
                    f"pass a function such as lambda {name}: …"
                )
        held = predicate.mask(columns, length).fill_null(False)
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
    twice = sorted(set(names) & set.intersection(*per_group))
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
