"""Experiments by problem, algorithm, their parameters and replication."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.predicates import Predicate, matching
from batchwright.segments import Segment, is_experiments, segments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchwright.registry import Registry


def find_experiments(
    reg: Registry,
    ids: IdsLike = None,
    *,
    prob_name: str | None = None,
    prob_pattern: str | re.Pattern[str] | None = None,
    algo_name: str | None = None,
    algo_pattern: str | re.Pattern[str] | None = None,
    prob_pars: Predicate | None = None,
    algo_pars: Predicate | None = None,
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
    reg.store.update()
    chosen = selected(reg.store, ids, lambda: all_jobs(reg.store))
    tests = [
        _name_test("problem", "prob_name", prob_name),
        _pattern_test("problem", "prob_pattern", prob_pattern),
        _name_test("algorithm", "algo_name", algo_name),
        _pattern_test("algorithm", "algo_pattern", algo_pattern),
        _repl_test(repls),
    ]
    wanted = [test for test in tests if test is not None]
    if wanted:
        chosen = _passing(segments(reg.store, chosen), wanted)
    for condition, group in ((prob_pars, "prob_pars"), (algo_pars, "algo_pars")):
        if condition is not None:
            chosen = matching(reg.store, chosen, condition, (group,))
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


def _passing(found: Iterable[Segment], tests: Sequence[_Test]) -> JobIds:
    import numpy as np

    held = [_held(segment, tests) for segment in found]
    return JobIds(np.concatenate(held)) if held else JobIds()


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
