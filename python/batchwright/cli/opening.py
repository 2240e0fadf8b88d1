"""Which registry a verb acts on, and how it is opened: to read, or to write and let go at once."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

import batchwright as bw
from batchwright import errors

if TYPE_CHECKING:
    from batchwright.registry import Registry

_PATIENCE: Final = 10.0
"""Seconds to wait for another process that has the registry; verbs hold it for moments only."""
_PAUSE: Final = 0.1

registry_option = click.option(
    "-r",
    "--registry",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="BATCHWRIGHT_REGISTRY",
    default="registry",
    show_default=True,
    show_envvar=True,
    help="The registry's folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for machines.")


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that all verbs have."""
    return registry_option(json_option(command))


def reading(folder: Path) -> Registry:
    """Open a registry to look at it."""
    return bw.load_registry(folder, make_default=False)


@contextlib.contextmanager
def writing(folder: Path, *, patience: float = _PATIENCE) -> Generator[Registry]:
    """Own a registry while the block runs."""
    deadline = time.monotonic() + patience
    while True:
        try:
            reg = bw.load_registry(folder, make_default=False, writeable=True)
            break
        except errors.RegistryLockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
    with reg:
        yield reg


def find_modules(reg: Registry) -> None:
    """Let this process import what jobs import, from the folder they run in.

    Behind all other places: a registry is no reason to run code that has the name of a library's.
    """
    from batchwright.trust import ensure_trusted

    ensure_trusted(reg.store)
    folder = str(reg.work_dir)
    if folder not in sys.path:
        sys.path.append(folder)
