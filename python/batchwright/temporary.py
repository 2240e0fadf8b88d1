"""Temporary registries: gone when the process ends, their own local jobs killed first."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from batchwright.errors import ConfigError
from batchwright.store import listed_on_host

if TYPE_CHECKING:
    from batchwright.registry import Registry
    from batchwright.store import Store

_made: dict[Path, tuple[int, weakref.ref[Store]]] = {}
"""What is to be removed, by which process."""


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


def remove_at_exit(reg: Registry) -> None:
    """Remove the registry when the process ends; until then its path can be loaded again."""
    if not _made:
        atexit.register(_remove_all)
    _made[reg.file_dir] = (os.getpid(), weakref.ref(reg.store))


def remove(reg: Registry) -> None:
    """Remove a registry that nobody will ask for again."""
    _made.pop(reg.file_dir, None)
    _remove(reg.file_dir, reg.store)


def close_with(reg: Registry) -> None:
    """Let go of the lock when nobody holds the registry any more."""
    weakref.finalize(reg, _close, reg.store)


def _close(store: Store) -> None:
    # At exit nobody is left to tell; the successor replays the journal.
    with contextlib.suppress(Exception):
        if store.pid == os.getpid() and not store.closed:
            store.core.close()
            store.closed = True


def _remove_all() -> None:
    for path, (pid, store) in _made.items():
        if pid == os.getpid():
            _remove(path, store())


def _remove(path: Path, store: Store | None) -> None:
    with contextlib.suppress(Exception):
        if store is not None and store.writeable:
            store.core.void([chunk for chunk, _, _ in store.core.open_chunks()])
    with contextlib.suppress(Exception):
        _kill_local(path)
    with contextlib.suppress(Exception):
        if store is not None:
            store.abandon()
    discard(path)


def _kill_local(path: Path) -> None:
    from batchwright.clusters.multicore import kill_on_host

    states = ("queued", "running")
    chunks = [entry["chunk"] for entry in listed_on_host(path) if entry["state"] in states]
    if chunks:
        kill_on_host(path, chunks)
