"""Whose files are loaded: a pickle is code, so it must come from somebody the user trusts."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batchwright.errors import BatchwrightError

if TYPE_CHECKING:
    from batchwright.store import Store

_CHECKED: Final = ("registry.json", "objects", "runs", "defs")
"""What is looked at besides the folder: whoever can write there can plant a pickle."""


def ensure_trusted(store: Store) -> None:
    """Refuse a registry that somebody else could have written to.

    Call it before anything of the registry is unpickled. Trusted are the user, root, and whom the
    user's own setting `trusted_owners` names; the group may write if `access` is `"group"`.
    """
    trusted = {os.getuid(), os.geteuid(), 0, *store.settings.get("trusted_owners")}
    folder = store.file_dir
    for item in (folder, *(folder / name for name in _CHECKED)):
        try:
            found = item.stat()
        except FileNotFoundError:
            continue
        _check(item, found, store.core.access, trusted)


def _check(item: Path, found: os.stat_result, access: str, trusted: set[int]) -> None:
    if found.st_uid not in trusted:
        raise BatchwrightError(
            f"{item} belongs to user {found.st_uid}, so its pickles are not loaded: they can run "
            "any code; if you trust that user, put `trusted_owners = "
            f"[{found.st_uid}]` into your configuration file"
        )
    if found.st_mode & stat.S_IWOTH:
        raise BatchwrightError(
            f"{item} can be written by anybody, so its pickles are not loaded: they can run any "
            f"code; take that away with chmod o-w {item}"
        )
    if found.st_mode & stat.S_IWGRP and access != "group":
        raise BatchwrightError(
            f"{item} can be written by its group although the registry's access is {access}, so "
            f"its pickles are not loaded: they can run any code; take that away with "
            f"chmod g-w {item}"
        )
