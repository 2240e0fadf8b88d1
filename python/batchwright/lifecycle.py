"""Saving, bringing up to date, tidying, clearing and removing a registry."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from batchwright.errors import JobsOnSystemError, RegistryNotFoundError
from batchwright.ids import JobIds

if TYPE_CHECKING:
    from batchwright.registry import Registry


def save_registry(reg: Registry) -> bool:
    """Write a snapshot, so that loading is quick; nothing is lost without one.

    Returns
    -------
    bool
        False if the registry is read-only.

    Examples
    --------
    >>> import batchwright as bw
    >>> bw.make_registry(None, make_default=False).save_registry()
    True
    """
    return reg.store.writeable and reg.store.core.save(True)


def sync_registry(reg: Registry) -> bool:
    """Take over what the nodes wrote and ask the scheduler.

    Returns
    -------
    bool
        Whether anything changed.

    Examples
    --------
    >>> import batchwright as bw
    >>> bw.make_registry(None, make_default=False).sync_registry()
    False
    """
    return reg.store.update()


def sweep_registry(reg: Registry) -> int:
    """Remove files that belong to no job any more.

    Returns
    -------
    int
        How many were removed.

    Examples
    --------
    >>> import batchwright as bw
    >>> bw.make_registry(None, make_default=False).sweep_registry()
    0
    """
    reg.store.require_writeable()
    reg.store.update()
    return reg.store.core.sweep()


def clear_registry(reg: Registry) -> None:
    """Remove all jobs; ids start at 1 again.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1])
    >>> reg.clear_registry()
    >>> reg.get_status().defined
    0
    """
    reg.store.require_writeable()
    require_idle(reg)
    reg.store.core.clear()
    reg.store.definitions.clear()


def remove_registry(reg: Registry, *, wait: float = 5.0) -> None:
    """Remove the registry with all results.

    Parameters
    ----------
    wait
        Seconds to wait first, in which Ctrl-C still saves it.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.remove_registry(wait=0)
    >>> reg.file_dir.exists()
    False
    """
    reg.store.require_writeable()
    if not (reg.file_dir / "registry.json").is_file():
        raise RegistryNotFoundError(
            f"`{reg.file_dir}` has no `registry.json`, so it is not removed: see what it is"
        )
    require_idle(reg)
    time.sleep(wait)
    reg.store.require_writeable()
    reg.store.abandon()
    shutil.rmtree(reg.file_dir)


def require_idle(reg: Registry, ids: JobIds | None = None) -> None:
    """Raise if jobs are queued or running."""
    reg.store.update()
    busy = JobIds(reg.store.core.where("on_system", None if ids is None else ids.core, None))
    if busy:
        raise JobsOnSystemError(
            f"{len(busy)} jobs are queued or running, such as job {busy[0]}: wait for them with "
            "`wait_for_jobs`, or stop them with `kill_jobs`"
        )
