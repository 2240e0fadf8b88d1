"""Temporary registries: gone when the process ends, their own local jobs killed first."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from batchwright.errors import ConfigError

if TYPE_CHECKING:
    from batchwright.registry import Registry
    from batchwright.store import Store


def fresh_path(folder: Path) -> Path:
    """Give a path of a registry to be made, in a private folder of its own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="batchwright-", dir=folder)) / "registry"
    except OSError as error:
        raise ConfigError(f"`temp_dir` is `{folder}`, where nothing can be made: {error}") from None


def discard(path: Path) -> None:
    """Remove what `fresh_path` made."""
    shutil.rmtree(path.parent, ignore_errors=True)


def remove_with(reg: Registry) -> None:
    """Remove the registry when nobody holds it any more, at the latest when the process ends."""
    weakref.finalize(reg, _remove, reg.store)


def close_with(reg: Registry) -> None:
    """Let go of the lock when nobody holds the registry any more."""
    weakref.finalize(reg, _close, reg.store)


def _close(store: Store) -> None:
    # At exit nobody is left to tell; the successor replays the journal.
    with contextlib.suppress(Exception):
        if store.pid == os.getpid() and not store.closed:
            store.core.close()
            store.closed = True


def _remove(store: Store) -> None:
    if store.pid != os.getpid():
        return
    with contextlib.suppress(Exception):
        _kill_local(store)
    with contextlib.suppress(Exception):
        store.abandon()
    discard(store.file_dir)


def _kill_local(store: Store) -> None:
    from batchwright.clusters.multicore import Multicore, kill_on_host

    backend = store.settings.get("cluster_functions")
    if not isinstance(backend, Multicore):
        return
    chunks = [chunk for chunk, _, _ in store.core.open_chunks()]
    if chunks:
        store.core.void(chunks)
        kill_on_host(store.file_dir, chunks)
