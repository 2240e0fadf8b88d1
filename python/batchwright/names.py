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

    reg.store.require_writeable()
    # As passed, duplicates and all, since the names were made to fit that.
    jobs = as_passed(reg.store, ids, lambda: all_jobs(reg.store))
    texts = _texts(names, len(jobs))
    if len(texts) != len(jobs):
        raise ValueError(f"{len(jobs)} jobs need as many names, not {len(texts)}")
    for text in set(texts):
        _check(text)
    if len(np.unique(jobs)) != len(jobs):
        jobs, texts = _last_of_each(jobs, texts)
    if len(jobs):
        reg.store.core.set_names(jobs, texts)


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


def _texts(names: str | Iterable[str | None] | None, count: int) -> list[str | None]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        return [names] * count
    # What is missing to pandas is NaN in a column of texts.
    return [None if name != name else name for name in as_values(names)]


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


def _last_of_each(jobs: Any, texts: list[str | None]) -> tuple[Any, list[str | None]]:
    import numpy as np

    newest = dict(zip(jobs.tolist(), texts, strict=True))
    return np.array(list(newest), dtype=np.int64), list(newest.values())
