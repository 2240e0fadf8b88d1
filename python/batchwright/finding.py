"""Experiments by problem, algorithm, their parameters and replication."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.predicates import Predicate, matcher_of
from batchwright.problems import require_experiments
from batchwright.segments import design_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchwright import _core
    from batchwright.registry import Registry
    from batchwright.store import Store


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

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_problem("numbers", data=[1, 2, 3])
    >>> reg.add_algorithm("power", lambda instance, k: sum(x**k for x in instance))
    >>> ids = reg.add_experiments(algo_designs={"power": {"k": [1, 2, 3]}}, repls=2)
    >>> reg.find_experiments(algo_pars="k > 1", repls=2)
    JobIds(2 jobs: 4, 6)
    """
    require_experiments(reg)
    reg.store.update()
    chosen = selected(reg.store, ids, lambda: all_jobs(reg.store))
    is_problem = _named("prob_name", prob_name, "prob_pattern", prob_pattern)
    is_algorithm = _named("algo_name", algo_name, "algo_pattern", algo_pattern)
    wanted = _repls(repls)
    of_problem = _matcher(reg.store, prob_pars, "prob_pars")
    of_algorithm = _matcher(reg.store, algo_pars, "algo_pars")
    found = JobIds()
    for place, block in enumerate(reg.store.core.blocks()):
        if not (is_problem(block.problem) and is_algorithm(block.algorithm)):
            continue
        masks = (of_problem(place, block), of_algorithm(place, block))
        found |= JobIds(reg.store.core.select_experiments(place, *masks, None, wanted, chosen.core))
    return found


def _named(
    name_is: str,
    name: object,
    pattern_is: str,
    pattern: str | re.Pattern[str] | None,
) -> Callable[[str], bool]:
    """Give what tells whether a name is wanted."""
    if name is not None and not isinstance(name, str):
        raise TypeError(f"{name_is} is one name, not {name!r}; use a pattern for several")
    if pattern is None:
        return lambda found: name is None or found == name
    try:
        search = re.compile(pattern).search
    except (re.error, TypeError) as error:
        raise DefinitionError(
            f"{pattern_is} {pattern!r} is no regular expression: {error}"
        ) from None
    return lambda found: (name is None or found == name) and search(found) is not None


def _repls(repls: int | Iterable[int] | None) -> _core.IdSet | None:
    if repls is None:
        return None
    given = list(repls) if isinstance(repls, Iterable) else [repls]
    for repl in given:
        if isinstance(repl, bool) or not hasattr(repl, "__index__"):
            raise TypeError(f"repls are whole numbers from 1, not {repl!r}")
        if repl < 1:
            raise DefinitionError(f"repls are whole numbers from 1, not {repl!r}")
    return JobIds(given).core


def _matcher(
    store: Store, predicate: Predicate | None, group: str
) -> Callable[[int, _core.Block], NDArray[np.bool_] | None]:
    """Give what tells which rows of a block's design meet a predicate."""
    if predicate is None:
        return lambda place, block: None
    matcher = matcher_of(store, predicate, (group,))
    return lambda place, block: matcher(design_rows(store, place, block, group))
