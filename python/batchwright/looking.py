"""One look at the scheduler, shared by all verbs: ask it, merge what run files say, expire.

A look begins before the merge that follows it, so that a job which ends in between is taken for
done and never for vanished.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from batchwright import settling
from batchwright.clusters.base import ClusterFunctions, as_listing
from batchwright.errors import OwnershipLostError

if TYPE_CHECKING:
    from batchwright.clusters.base import BatchState
    from batchwright.registry import Registry

LEAST_AGE = 1.0
_log = logging.getLogger("batchwright")


def sync(reg: Registry, *, expire_after: int | None = None) -> bool:
    """Bring the registry up to date: one look at most, then what the nodes wrote.

    Returns
    -------
    bool
        Whether anything changed.
    """
    store = reg.store
    store.refresh()
    backend: ClusterFunctions = reg.cluster_functions
    looked = has_open_jobs(reg) and look(reg, backend)
    if looked:
        _account_for_stopped(reg, backend)
    backend.run_hook("pre_sync", reg)
    changed = store.core.sync()
    changed = settling.settle(reg) or changed
    if looked and store.writeable:
        limit = expire_after if expire_after is not None else store.settings.get("expire_after")
        changed = _expire(reg, backend, limit) or changed
    if changed and store.writeable and not has_open_jobs(reg):
        backend.tidy(reg)
    backend.run_hook("post_sync", reg)
    return changed


def _account_for_stopped(reg: Registry, backend: ClusterFunctions) -> None:
    """Learn why executors were told to stop; the signal alone says little."""
    stopped = reg.store.core.stopped()
    if stopped and _has_accounts(backend):
        reg.store.core.account_for(_accounted(reg, backend, dict.fromkeys(stopped, True)))


def _expire(reg: Registry, backend: ClusterFunctions, limit: int) -> bool:
    """Give up what vanished; the system's accounting may know why."""
    core = reg.store.core
    listing = settling.patience(backend)
    if not _has_accounts(backend):
        return bool(core.expire(limit, {}, listing=listing, accounting=0))
    gone = {batch: claimed for _, batch, claimed in core.vanished(limit) if batch}
    if not gone:
        return False
    causes = _accounted(reg, backend, gone)
    expired = core.expire(limit, causes, listing=listing, accounting=backend.accounting_latency)
    return bool(expired)


def _has_accounts(backend: ClusterFunctions) -> bool:
    return type(backend).account is not ClusterFunctions.account


def _accounted(
    reg: Registry, backend: ClusterFunctions, gone: Mapping[str, bool]
) -> dict[str, str | None]:
    """Ask what became of jobs; an accounting that does not answer knows nothing."""
    try:
        return dict(backend.account(reg, gone))
    except OwnershipLostError:
        raise
    except Exception as error:
        _log.warning("asking `%s` what became of jobs failed: %s", backend.name, error)
        return {}


def has_open_jobs(reg: Registry) -> bool:
    """Whether any submitted job has not ended."""
    return reg.store.core.n_open > 0


def look(reg: Registry, backend: ClusterFunctions) -> bool:
    """Ask the scheduler unless that was done just now; True if a new look was taken."""
    last = reg.store.look
    now = time.monotonic()
    wait = max(backend.scheduler_latency, LEAST_AGE)
    if last.identity == backend.identity and now - last.at < wait:
        return False
    last.identity, last.at, last.succeeded = backend.identity, now, False
    reg.store.core.ask(backend.identity, _has_accounts(backend))
    try:
        listing = as_listing(backend.list_jobs(reg))
    except OwnershipLostError:
        raise
    except Exception as error:  # a backend of the user's own may raise anything
        # No look is no evidence: states stay, and the next verb asks again.
        _log.warning("listing the jobs of `%s` failed: %s", backend.name, error)
        if not last.is_told:
            last.is_told = True
            warnings.warn(
                f"`{backend.name}` does not answer: {error}; what it said last stands, and it is "
                "asked again",
                stacklevel=2,
            )
        return False
    reg.store.core.observe(backend.identity, None if listing is None else rows(listing))
    last.succeeded, last.is_told = True, False
    return listing is not None


def rows(listing: Mapping[str, BatchState]) -> list[tuple[str, bool, str]]:
    """Give a listing as the core takes it."""
    return [(batch, state.state == "running", state.reason) for batch, state in listing.items()]


def forget(reg: Registry) -> None:
    """Make the next verb look again, because we changed what is on the system."""
    reg.store.look.at = float("-inf")
