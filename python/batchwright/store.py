"""The opened folder of a registry: the core's handle, its settings, and the newest look.

Verbs get at all three through `Registry.store`; nothing else touches the extension, except `ids`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from batchwright import _core
from batchwright.errors import (
    ConfigError,
    OwnershipLostError,
    ReadOnlyRegistryError,
    RegistryNotFoundError,
)
from batchwright.settings import Settings


@dataclass(slots=True)
class Look:
    """When the scheduler was last asked, and by which backend."""

    identity: str = ""
    at: float = float("-inf")
    """Monotonic seconds."""
    succeeded: bool = False
    is_told: bool = False
    """Whether the user knows that it does not answer."""


class FileSystem(NamedTuple):
    """What a registry's folder lay on when it was made."""

    type: str
    """Such as `ext4`; empty if unknown."""
    options: str
    hard_links: bool


@dataclass(slots=True, eq=False, weakref_slot=True)
class Store:
    """An opened registry folder."""

    core: _core.Store
    file_dir: Path
    settings: Settings
    temporary: bool = False
    pid: int = field(default_factory=os.getpid)
    look: Look = field(default_factory=Look)
    doubts: dict[str, float] = field(default_factory=dict[str, float])
    """Chunks that were handed over without a clear answer, and since when (monotonic)."""
    settled: float = float("-inf")
    """When they were last looked for."""
    closed: bool = False
    removed: bool = False
    """Whether the folder is gone."""
    updater: Callable[[], bool] | None = None
    """How to bring the registry up to date; asking the scheduler lies above this module."""
    definitions: dict[str, Any] = field(default_factory=dict[str, Any])
    """What verbs computed from definitions, which never change; keyed by their own names."""

    @property
    def file_system(self) -> FileSystem | None:
        """What the probe of `make_registry` found; None where there was none yet."""
        found = self.core.file_system
        return None if found is None else FileSystem(*found)

    @property
    def writeable(self) -> bool:
        """Whether changes may be made now."""
        return not self.closed and self.core.writeable and self.pid == os.getpid()

    def require_writeable(self) -> None:
        """Raise unless changes may be made; every verb that writes begins with this."""
        if self.removed:
            raise RegistryNotFoundError(
                f"registry `{self.file_dir}` was removed: make another with `make_registry`"
            )
        if self.pid != os.getpid():
            raise ReadOnlyRegistryError(
                f"registry `{self.file_dir}` belongs to process {self.pid}, and this is its fork "
                f"{os.getpid()}: load it here with `load_registry`"
            )
        if self.closed:
            raise ReadOnlyRegistryError(
                f"registry `{self.file_dir}` is read-only here: load it with `writeable=True`"
            )
        self.core.require_owner()

    def update(self) -> bool:
        """Look at the scheduler, at most once a second, and merge what nodes wrote."""
        return self.updater() if self.updater else False

    def refresh(self) -> None:
        """Take over what the owner has written since, where we are not the owner."""
        if not self.core.writeable and self.core.refresh():
            self.forget_calls()

    def forget_calls(self) -> None:
        """Forget how jobs call their functions; problems and algorithms may be replaced."""
        for key in [key for key in self.definitions if key.startswith("call ")]:
            del self.definitions[key]

    def close(self) -> None:
        """Save, release the ownership, and go on as a reader. Idempotent."""
        if self.closed:
            return
        if self.pid != os.getpid():
            self.closed = True
            return
        # Verbs made durable what they returned; whoever follows us has it.
        with contextlib.suppress(OwnershipLostError):
            self.core.save(False)
        self.core.close()
        self.closed = True
        self.core = opened(self.file_dir, writeable=False, break_lock=False)
        self.settings.core = self.core

    def abandon(self) -> None:
        """Close for good, without a save: the folder is about to go."""
        if not self.closed and self.pid == os.getpid():
            self.core.close()
        self.closed = self.removed = True

    def collection_path(self, chunk: str) -> Path:
        """Where the core publishes the collection of a chunk."""
        return Path(f"{self.file_dir}/jobs/{chunk[:2]}/{chunk}.bwc")

    def output_path(self, chunk: str) -> Path:
        """Where a scheduler may put what the executor itself prints."""
        return Path(f"{self.file_dir}/logs/{chunk[:2]}/{chunk}.out")

    def outputs_of(self, batch_ids: Iterable[str]) -> dict[str, Path]:
        """Where a scheduler put what it and the executor said, by batch id."""
        return {
            batch: self.file_dir / log if log else task_output(self.output_path(chunk), task)
            for batch, chunk, task, log in self.core.outputs_of(set(batch_ids))
        }


def task_output(path: Path, task: int) -> Path:
    """Give the log of an array's task by the array's; as schedulers are told to name it."""
    return path.with_suffix(f".{task}.out") if task else path


def create(path: Path, kind: str, seed: int, access: str) -> _core.Store:
    """Make the folder of a registry and own it."""
    return _core.Store.create(str(path), kind, seed, access, user=_user(), lease_seconds=_lease())


def opened(path: Path, *, writeable: bool, break_lock: bool) -> _core.Store:
    """Open the folder of a registry."""
    return _core.Store.open(str(path), writeable, break_lock, user=_user(), lease_seconds=_lease())


def _user() -> str:
    """Give whom others shall ask about what this process holds."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in many containers
        return f"uid {os.getuid()}"


def _lease() -> float | None:
    """Give how long an owner may be silent before others follow; None for what is usual.

    `BATCHWRIGHT_LEASE` shortens the 90 seconds for tests. All who write to a registry must agree
    on it.
    """
    text = os.environ.get("BATCHWRIGHT_LEASE")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"`BATCHWRIGHT_LEASE` is {text!r}: give seconds, or unset it")
    return seconds


def request_on_host(
    store: Store,
    chunk: str,
    cores: int,
    host_cores: int,
    max_concurrent: int,
    host: str | None = None,
) -> None:
    """Queue a chunk for the cores of a host, by default this one."""
    more = () if host is None else (host,)
    _core.host_request(store.core, chunk, cores, host_cores, max_concurrent, *more)


def listed_on_host(path: Path) -> list[dict[str, Any]]:
    """Give the chunks that this host queues or runs for a registry."""
    return [json.loads(entry) for entry in _core.host_listing(str(path))]


def serves_host(path: Path) -> bool:
    """Whether a process serves the registry's queue on this host."""
    return _core.host_serves(str(path))


def host_name() -> str:
    """Give the name by which this host's queue goes."""
    return _core.host_name()


def open_collection(path: Path) -> _core.Collection:
    """Read a job collection."""
    return _core.Collection.open(str(path))


def tasks_of(path: Path) -> int:
    """Give the number of array tasks of a published collection; 0 if it is no array."""
    return int(json.loads(open_collection(path).header).get("tasks") or 0)


def claim(path: Path) -> _core.Run | None:
    """Claim a collection for this process; None where it was taken back."""
    return _core.Run.claim(str(path))


def key_of(encoded: bytes) -> bytes:
    """Give the key of a value that was encoded."""
    return _core.key_of(encoded)


def is_sealed(data: bytes) -> bool | None:
    """Whether a file fits the checksum inside it; None if there is none."""
    return _core.is_sealed(data)


def version() -> str:
    """Give the version of extension and package."""
    return _core.__version__
