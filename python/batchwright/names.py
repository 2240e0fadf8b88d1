"""Names of jobs: what people and schedulers see beside the id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from batchwright.ids import IdsLike, JobIds, all_jobs, as_passed, selected
from batchwright.parameters import as_values

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry

_LONGEST: Final = 200


def set_job_names(reg: Registry, ids: IdsLike, names: str | Iterable[str | None] | None) -> None:
    """Name jobs.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs, in the order of the names; None means all.
    names
        One for each id, printable and at most 200 characters; None takes a name away. A single
        text or None holds for all the jobs.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> reg.set_job_names([2, 1], ["second", "first"])
    >>> reg.get_job_names()["job_name"].to_pylist()
    ['first', 'second']
    """
    import numpy as np
    import pyarrow as pa

    reg.store.require_writeable()
    # As passed, duplicates and all, since the names were made to fit that.
    jobs = as_passed(reg.store, ids, lambda: all_jobs(reg.store))
    texts = _texts(names, len(jobs))
    if len(texts) != len(jobs):
        raise ValueError(f"{len(jobs)} jobs need as many names, not {len(texts)}")
    _check_all(texts)
    # Of a job named twice the last name holds.
    unique, from_behind = np.unique(jobs[::-1], return_index=True)
    if len(unique) != len(jobs):
        jobs, texts = unique, texts.take(len(jobs) - 1 - from_behind)
    if len(jobs):
        reg.store.core.set_names(jobs, pa.table({"name": texts}))


def get_job_names(reg: Registry, ids: IdsLike = None) -> pa.Table:
    """Give the names of jobs, null where there is none.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; all by default.
    """
    import pyarrow as pa

    reg.store.update()
    chosen: JobIds = selected(reg.store, ids, lambda: all_jobs(reg.store))
    return pa.table(reg.store.core.status(chosen.core)).select(["job_id", "job_name"])


def _texts(names: str | Iterable[str | None] | None, count: int) -> pa.Array[Any]:
    import pyarrow as pa

    if names is None:
        return pa.nulls(count, pa.string())
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        _check(names)
        return pa.repeat(names, count)
    values = as_values(names)
    try:
        # What is missing to pandas is NaN in a column of texts.
        texts = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        texts = pa.nulls(0)
    if texts.type == pa.string():
        return texts
    for name in values:
        _check(None if name != name else name)
    return pa.array([None if name != name else name for name in values], pa.string())


def _check_all(texts: pa.Array[Any]) -> None:
    """Check each name; those that are plainly fine without Python."""
    import pyarrow.compute as pc

    lengths = pc.utf8_length(texts)
    is_plain = pc.and_(pc.string_is_ascii(texts), pc.utf8_is_printable(texts))
    is_short = pc.and_(pc.greater(lengths, 0), pc.less_equal(lengths, _LONGEST))
    doubtful = pc.invert(pc.and_(is_plain, is_short))
    for name in texts.filter(doubtful).unique().to_pylist():
        _check(name)


def _check(name: Any) -> None:
    if name is None:
        return
    if not isinstance(name, str) or not name:
        raise ValueError(f"{name!r} cannot be a job's name: give a text, or None for no name")
    if not name.isprintable():
        raise ValueError(f"{name!r} cannot be a job's name: all its characters must be printable")
    if len(name) > _LONGEST:
        raise ValueError(
            f"{name[:40]!r}… cannot be a job's name: it has {len(name)} characters, "
            f"{_LONGEST} are allowed"
        )
