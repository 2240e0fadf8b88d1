"""Submitting again what failed for reasons that may not come back, with more of what it lacked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright import ids as job_ids
from batchwright import resources
from batchwright.errors import ConfigError
from batchwright.ids import IdsLike, JobIds
from batchwright.status import CAUSES
from batchwright.submission import submit_jobs

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry

RETRYABLE: Final = ("oom", "walltime", "node", "preempted", "lost", "not_started")
"""Causes that are worth another attempt by default."""
GROW: Final[Mapping[str, Mapping[str, float]]] = {
    "oom": {"memory": 1.5},
    "walltime": {"walltime": 1.5},
}
"""By what factor to ask for more, by cause and resource."""
_FRACTIONS: Final = ("walltime", "memory", "timeout", "log_limit")
"""Resources that need not be whole numbers."""


def retry_jobs(
    reg: Registry,
    ids: IdsLike = None,
    *,
    causes: Iterable[str] = RETRYABLE,
    limit: int = 3,
    grow: Mapping[str, Mapping[str, float]] | None = GROW,
    caps: Mapping[str, float] | None = None,
    chunk_size: int | None = None,
    n_chunks: int | None = None,
) -> pa.Table:
    """Submit jobs again that ended without a result, for reasons that may not come back.

    Parameters
    ----------
    ids
        Among which jobs; all by default.
    causes
        For which reasons they ended.
    limit
        Jobs with so many attempts are left alone.
    grow
        By what factor to ask for more, by cause and resource; None for the same again. What was
        not asked for is not grown.
    caps
        The most to ask for, by resource.
    chunk_size, n_chunks
        As for `submit_jobs`, for jobs of equal resources.

    Returns
    -------
    pyarrow.Table
        `job_id` and `chunk`.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> reg.retry_jobs().num_rows
    0
    """
    import pyarrow as pa

    causes = _causes(causes)
    grow = _factors(grow)
    caps = _numbers("caps", caps)
    limit = resources.whole("limit", limit, low=1)
    reg.store.require_writeable()
    reg.store.update()
    parts: list[pa.Table] = []
    chunks = 0
    for asked, jobs in _groups(reg, ids, causes, limit, grow, caps):
        # The last resources, and no default that they went without.
        without = dict.fromkeys(reg.default_resources.keys() - asked.keys())
        part = submit_jobs(
            reg,
            jobs,
            resources={**asked, **without},
            chunk_size=chunk_size,
            n_chunks=n_chunks,
            progress=False,
        )
        numbers = part["chunk"].to_numpy() + chunks
        chunks = int(numbers.max())
        parts.append(part.set_column(1, "chunk", pa.array(numbers)))
    if not parts:
        # Arguments are refused whether or not there is a job to retry.
        submit_jobs(reg, (), chunk_size=chunk_size, n_chunks=n_chunks)
        return pa.schema({"job_id": pa.int64(), "chunk": pa.int64()}).empty_table()
    return pa.concat_tables(parts).sort_by("job_id")


def _groups(
    reg: Registry,
    ids: IdsLike,
    causes: Sequence[str],
    limit: int,
    grow: Mapping[str, Mapping[str, float]],
    caps: Mapping[str, float],
) -> list[tuple[dict[str, Any], JobIds]]:
    """Give what to ask for, and for which jobs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = None if ids is None else job_ids.selected(reg.store, ids, JobIds)
    table = pa.table(reg.store.core.status(None if chosen is None else chosen.core))
    ended = pc.is_in(table["state"].cast(pa.string()), pa.array(["error", "expired"]))
    wanted = pc.is_in(table["cause"].cast(pa.string()), pa.array(list(causes), pa.string()))
    few = pc.less(table["attempt"], limit)
    table = table.filter(pc.and_(pc.and_(ended, wanted), few))
    rows = pa.table(
        {
            "job_id": table["job_id"].cast(pa.int64()),
            "cause": table["cause"].cast(pa.string()),
            "resources": table["resources"].cast(pa.string()),
        }
    )
    same = rows.group_by(["resources", "cause"]).aggregate([("job_id", "list")])
    groups: dict[str, tuple[dict[str, Any], JobIds]] = {}
    for row in same.to_pylist():
        asked = grown(json.loads(row["resources"] or "{}"), grow.get(row["cause"], {}), caps)
        key = resources.as_json(asked)
        known = groups.get(key, (asked, JobIds()))
        groups[key] = (asked, known[1] | JobIds(row["job_id_list"]))
    return list(groups.values())


def grown(
    last: Mapping[str, Any], factors: Mapping[str, float], caps: Mapping[str, float]
) -> dict[str, Any]:
    """Give the resources of the next attempt.

    Examples
    --------
    >>> grown({"memory": 1000, "ncpus": 2}, {"memory": 1.5, "walltime": 2}, {"memory": 1200})
    {'memory': 1200, 'ncpus': 2}
    """
    asked = dict(last)
    for name, factor in factors.items():
        if name in asked:
            asked[name] = _more(name, asked[name], factor, caps.get(name, math.inf))
    return asked


def _more(name: str, last: object, factor: float, cap: float) -> float:
    if isinstance(last, bool) or not isinstance(last, int | float):
        raise ConfigError(f"`grow` names `{name}`, which was {last!r}: only numbers grow")
    more = min(last * factor, cap)
    if name not in _FRACTIONS and isinstance(last, int):
        return min(math.ceil(more), cap)
    return int(more) if float(more).is_integer() else more


def _causes(given: object) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"`causes` is {given!r}: give a list of causes")
    return tuple(_cause(cause) for cause in cast("Iterable[object]", given))


def _cause(given: object) -> str:
    if given not in CAUSES:
        raise ConfigError(f"cause {given!r} is unknown; it is one of {', '.join(CAUSES)}")
    return cast("str", given)


def _factors(given: object) -> dict[str, dict[str, float]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"`grow` is {given!r}: give factors such as {dict(GROW)}")
    factors = cast("Mapping[object, object]", given)
    return {_cause(cause): _numbers(f"grow[{cause!r}]", found) for cause, found in factors.items()}


def _numbers(what: str, given: object) -> dict[str, float]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"`{what}` is {given!r}: give numbers by resource")
    numbers = cast("Mapping[str, object]", given)
    return {name: resources.positive(name, number) for name, number in numbers.items()}
