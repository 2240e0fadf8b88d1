"""Submissions of unknown fate: after a crash between asking and recording, or a doubtful answer.

Such a chunk is never submitted again. A claim by an executor adopts it, or its mark in the queue;
where neither shows up in time, a void takes its jobs back, and a late executor meets that void.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from batchwright import store
from batchwright.errors import OwnershipLostError

if TYPE_CHECKING:
    from batchwright.clusters.base import ClusterFunctions
    from batchwright.registry import Registry

LEAST_PAUSE = 1.0
_log = logging.getLogger("batchwright")


def doubt(reg: Registry, chunks: Iterable[str]) -> None:
    """Remember chunks whose fate is unknown."""
    now = time.monotonic()
    for chunk in chunks:
        reg.store.doubts.setdefault(chunk, now)


def doubt_unrecorded(reg: Registry) -> None:
    """Remember what an earlier owner had intended and not recorded."""
    doubt(reg, {chunk for chunk, _, batch in reg.store.core.open_chunks() if not batch})


def settle(reg: Registry, *, at_once: bool = False) -> bool:
    """Find out about chunks of unknown fate; True if anything changed.

    Parameters
    ----------
    at_once
        Ask the system although it was asked a moment ago.
    """
    doubts = reg.store.doubts
    if not doubts or not reg.store.writeable:
        return False
    backend: ClusterFunctions = reg.cluster_functions
    now = time.monotonic()
    if not at_once and now - reg.store.settled < max(backend.scheduler_latency, LEAST_PAUSE):
        return False
    reg.store.settled = now
    left = _forget_settled(reg, doubts)
    claims = {c: said for c in left if (said := reg.store.core.claimed_by(c)) is not None}
    names = {chunk: _names(reg, chunk, said) for chunk, said in claims.items()}
    found = _ask(reg, backend, [chunk for chunk in left if not names.get(chunk)])
    known = {**names, **(found or {})}
    for chunk in left:
        ids = known.get(chunk) or (_nameless(reg, chunk) if chunk in claims else ())
        if ids:
            _record(reg, chunk, ids)
    if found is None:
        return bool(claims)
    overdue = [c for c in left if c in doubts and now - doubts[c] >= patience(backend)]
    return _take_back(reg, overdue) or len(doubts) < len(left)


def patience(backend: ClusterFunctions) -> float:
    """Give the seconds within which what was accepted is listed, or its executor's claim seen."""
    return 2 * backend.scheduler_latency + backend.fs_latency


def _forget_settled(reg: Registry, doubts: dict[str, float]) -> list[str]:
    unnamed = {chunk for chunk, _, batch in reg.store.core.open_chunks() if not batch}
    for chunk in [chunk for chunk in doubts if chunk not in unnamed]:
        # It may have run and ended before anybody asked for its name.
        said = reg.store.core.claimed_by(chunk)
        ids = _names(reg, chunk, said) if said is not None else ()
        if ids:
            _record(reg, chunk, ids)
        doubts.pop(chunk, None)
    return list(doubts)


def _names(reg: Registry, chunk: str, said: Mapping[str, str]) -> Sequence[str]:
    """Give the batch ids of a claimed chunk by what its executor was told."""
    tasks = store.tasks_of(reg.store.collection_path(chunk))
    return reg.cluster_functions.claimed_ids(said, tasks)


def _nameless(reg: Registry, chunk: str) -> list[str]:
    """Give ids for what runs under a name we never learned: nobody lists them, so silence tells."""
    tasks = store.tasks_of(reg.store.collection_path(chunk))
    return [f"unknown#{chunk}"] * max(tasks, 1)


def _ask(
    reg: Registry, backend: ClusterFunctions, chunks: Sequence[str]
) -> Mapping[str, Sequence[str]] | None:
    """Ask the system; None if it does not answer, which is no evidence."""
    mine = {c for c, identity, _ in reg.store.core.open_chunks() if identity == backend.identity}
    asked = [chunk for chunk in chunks if chunk in mine]
    if not asked:
        return {}
    try:
        return backend.find_submitted(reg, asked) or {}
    except OwnershipLostError:
        raise
    except Exception as error:
        _log.warning("looking for jobs of unknown fate on `%s` failed: %s", backend.name, error)
        return None


def _record(reg: Registry, chunk: str, batch_ids: Sequence[str]) -> None:
    reg.store.core.submitted(chunk, list(batch_ids), None)
    reg.store.doubts.pop(chunk, None)
    _log.info("chunk %s was found on the system as %s", chunk, ", ".join(batch_ids[:3]))


def _take_back(reg: Registry, chunks: Sequence[str]) -> bool:
    """Void chunks that nobody knows; what an executor has claimed meanwhile is adopted later."""
    if not chunks:
        return False
    claimed = set(reg.store.core.take_back(list(chunks)))
    back = [chunk for chunk in chunks if chunk not in claimed]
    for chunk in back:
        reg.store.doubts.pop(chunk, None)
    if back:
        warnings.warn(
            f"{len(back)} chunks were handed over without an answer and did not arrive: their jobs "
            "are defined again; submit them again",
            stacklevel=2,
        )
    return bool(back)
