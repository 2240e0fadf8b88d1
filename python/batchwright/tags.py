"""Tags: words that group jobs across everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.parameters import as_values

if TYPE_CHECKING:
    from batchwright.registry import Registry

_TAG: Final = re.compile(r"[A-Za-z0-9_.-]+")


def add_job_tags(reg: Registry, ids: IdsLike, tags: str | Iterable[str]) -> JobIds:
    """Give each of the jobs each of the tags.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; None means all.
    tags
        One or several, of letters, digits, `_`, `.` and `-`.

    Returns
    -------
    JobIds
        The jobs given.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2, -3])
    >>> tagged = reg.add_job_tags(ids[:2], "pilot")
    >>> reg.find_tagged("pilot"), reg.get_used_job_tags()
    (JobIds(2 jobs: 1–2), ['pilot'])
    """
    reg.store.require_writeable()
    words = _checked(tags)
    chosen = _chosen(reg, ids)
    if chosen:
        reg.store.core.tag(chosen.core, words)
    return chosen


def remove_job_tags(reg: Registry, ids: IdsLike, tags: str | Iterable[str]) -> JobIds:
    """Take tags away.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; None means all.
    tags
        One or several.

    Returns
    -------
    JobIds
        The jobs that lost a tag.
    """
    reg.store.require_writeable()
    words = _checked(tags)
    chosen = _chosen(reg, ids)
    return JobIds(reg.store.core.untag(chosen.core, words)) if chosen else chosen


def find_tagged(reg: Registry, tags: str | Iterable[str], ids: IdsLike = None) -> JobIds:
    """Find jobs that have any of the tags.

    Parameters
    ----------
    reg
        The registry.
    tags
        One or several.
    ids
        Among which jobs; all by default.
    """
    words = _checked(tags)
    reg.store.update()
    held = reg.store.core.tags()
    found = JobIds()
    for word in words:
        found |= JobIds(held[word]) if word in held else JobIds()
    return found if ids is None else found & _chosen(reg, ids)


def get_used_job_tags(reg: Registry, ids: IdsLike = None) -> list[str]:
    """Give the tags in use, sorted.

    Parameters
    ----------
    reg
        The registry.
    ids
        By which jobs; all by default.
    """
    reg.store.update()
    held = reg.store.core.tags()
    chosen = _chosen(reg, ids)
    return sorted(tag for tag, jobs in held.items() if not chosen.isdisjoint(JobIds(jobs)))


def _chosen(reg: Registry, ids: IdsLike) -> JobIds:
    return selected(reg.store, ids, lambda: all_jobs(reg.store))


def _checked(tags: str | Iterable[str]) -> list[str]:
    is_one = isinstance(tags, str) or not isinstance(cast("object", tags), Iterable)
    words = list(dict.fromkeys([cast("str", tags)] if is_one else as_values(tags)))
    if not words:
        raise ValueError("at least one tag is needed")
    for word in cast("list[object]", words):
        if not isinstance(word, str) or not _TAG.fullmatch(word):
            raise ValueError(
                f"{word!r} cannot be a tag: use letters, digits, underscores, dots and hyphens"
            )
    return words
