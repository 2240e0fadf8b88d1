"""Experiments: problems, algorithms, their designs and replications, combined."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright import designs
from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, selected
from batchwright.lifecycle import require_idle
from batchwright.problems import (
    OF_ALGORITHM,
    OF_PROBLEM,
    check_call,
    require_experiments,
    specs,
    unknown,
)
from batchwright.progress import tell

if TYPE_CHECKING:
    from batchwright.registry import Registry

_COMBINE: Final = ("crossprod", "bind")
_MOST_REPLS: Final = 2**32 - 1


def add_experiments(
    reg: Registry,
    prob_designs: Mapping[str, Any] | None = None,
    algo_designs: Mapping[str, Any] | None = None,
    *,
    repls: int | Sequence[int] = 1,
    combine: str = "crossprod",
) -> JobIds:
    """Define a job for each combination of parameters and each replication that is new.

    What is known already is skipped and counted, so that a call may be repeated with more rows or
    more replications. Equal rows of one call are one. Numbers are compared by value, so that 1 and
    1.0 are the same parameter; True is another.

    Parameters
    ----------
    prob_designs, algo_designs
        By name of problem, or of algorithm, a table of parameters (pandas, polars, pyarrow, a
        mapping of columns, a list of dicts) or None for one row without any. A dict that lacks a
        key lacks that parameter; a table without rows is one row without parameters. By default
        all problems, or algorithms, without parameters.
    repls
        How many replications, or one number for each problem design.
    combine
        `"crossprod"` combines each row of a problem with each row of an algorithm, `"bind"` row
        by row, the shorter one again from its start.

    Returns
    -------
    JobIds
        Of the new jobs only. For each problem design and each algorithm design, they ascend by
        problem row, algorithm row and replication.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_problem("numbers", data=[1, 2, 3])
    >>> reg.add_algorithm("power", lambda instance, k: sum(x**k for x in instance))
    >>> reg.add_experiments(algo_designs={"power": {"k": [1, 2]}}, repls=2)
    JobIds(4 jobs: 1–4)
    >>> reg.add_experiments(algo_designs={"power": {"k": [1, 2]}}, repls=3)
    JobIds(2 jobs: 5–6)
    """
    require_experiments(reg)
    reg.store.require_writeable()
    problems, algorithms = specs(reg, "problem"), specs(reg, "algorithm")
    of_problems = _known_designs("prob_designs", prob_designs, "problem", problems, OF_PROBLEM)
    of_algorithms = _known_designs(
        "algo_designs", algo_designs, "algorithm", algorithms, OF_ALGORITHM
    )
    counts = _repls(repls, len(of_problems))
    if combine not in _COMBINE:
        raise DefinitionError(f"`combine` is {combine!r}: give one of {', '.join(_COMBINE)}")
    store = reg.store
    try:
        first, added = store.core.add_experiments(
            [
                (design.name, design.to_arrow(store), count)
                for design, count in zip(of_problems, counts, strict=True)
            ],
            [(design.name, design.to_arrow(store)) for design in of_algorithms],
            combine == "bind",
        )
    except ValueError as error:
        raise DefinitionError(str(error)) from error
    new = sum(count for _, _, count, _, _ in added)
    _tell(new, added)
    return JobIds(range(first, first + new))


def _known_designs(
    what: str,
    given: object,
    kind: str,
    known: Mapping[str, Mapping[str, Any]],
    reserved: Sequence[str],
) -> list[designs.Design]:
    """Read designs, and check all that can be checked of them."""
    if given is None and not known:
        raise DefinitionError(f"there is no {kind} yet: add one by `add_{kind}`")
    found = designs.read(given, what, list(known))
    designs.check(
        found,
        known,
        lambda name: unknown(kind, name, known),
        lambda spec, names, where: check_call(spec, names, reserved, where),
    )
    return found


def _repls(repls: object, count: int) -> list[int]:
    """Give the replications of each problem design."""
    if isinstance(repls, Iterable) and not isinstance(repls, str | bytes):
        given = list(cast("Iterable[object]", repls))
        if len(given) != count:
            raise DefinitionError(
                f"`repls` has {len(given)} numbers, but there are {count} problem designs: give "
                "one number, or one for each"
            )
        return [_whole(repl) for repl in given]
    return [_whole(repls)] * count


def _whole(repl: Any) -> int:
    if isinstance(repl, bool) or not hasattr(repl, "__index__"):
        raise DefinitionError(f"`repls` is {repl!r:.60}: give whole numbers from 1")
    if not 1 <= int(repl) <= _MOST_REPLS:
        raise DefinitionError(f"`repls` is {int(repl)}: give whole numbers from 1")
    return int(repl)


def _tell(new: int, added: Sequence[tuple[str, str, int, int, int]]) -> None:
    """Say aloud what became of a call."""
    known = sum(each for _, _, _, each, _ in added)
    equal = sum(each for _, _, _, _, each in added)
    skipped = f", {known} known ones skipped" if known else ""
    tell(f"{new} experiments added{skipped}")
    if equal:
        where = next((p, a) for p, a, _, _, each in added if each)
        warnings.warn(
            f"{equal} experiments equal others of the same call, such as of problem "
            f"`{where[0]}` and algorithm `{where[1]}`; each is there once",
            stacklevel=3,
        )


def remove_experiments(reg: Registry, ids: IdsLike) -> JobIds:
    """Remove experiments; none of them may be on the system, others may.

    Their ids are never given again. Problems and algorithms stay.

    Parameters
    ----------
    ids
        Which ones; None for none.

    Returns
    -------
    JobIds
        Of what was removed.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_problem("dice", data=6)
    >>> reg.add_algorithm("twice", lambda instance: 2 * instance)
    >>> ids = reg.add_experiments(repls=3)
    >>> reg.remove_experiments([1, 2])
    JobIds(2 jobs: 1–2)
    >>> reg.find_jobs()
    JobIds(1 job: 3)
    """
    require_experiments(reg)
    reg.store.require_writeable()
    chosen = selected(reg.store, ids, JobIds)
    if chosen:
        require_idle(reg, chosen)
        reg.store.core.remove_experiments(chosen.core)
    return chosen
