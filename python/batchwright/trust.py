"""Whose files are loaded: a pickle is code, so it must come from somebody the user trusts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from batchwright.errors import BatchwrightError

_CHECKED: Final = ("registry.json", "objects", "runs", "defs")
"""What is looked at besides the folder: whoever can write there can plant a pickle."""


def ensure_trusted(path: str | Path, access: str, *, owners: Iterable[int] = ()) -> None:
    """Refuse a registry folder that somebody else could have written to.

    Call it before anything of the registry is unpickled.

    Parameters
    ----------
    path
        The registry's folder.
    access
        The registry's `access`; only `"group"` lets the group write.
    owners
        User ids trusted besides the user and root, from the user's own settings.

    Examples
    --------
    >>> import tempfile
    >>> ensure_trusted(tempfile.mkdtemp(), "private")
    """
    trusted = {os.getuid(), os.geteuid(), 0, *owners}
    folder = Path(path)
    for item in (folder, *(folder / name for name in _CHECKED)):
        try:
            found = item.stat()
        except FileNotFoundError:
            continue
        _check(item, found, access, trusted)


def _check(item: Path, found: os.stat_result, access: str, trusted: set[int]) -> None:
    if found.st_uid not in trusted:
        raise BatchwrightError(
            f"{item} belongs to user {found.st_uid}, so its pickles are not loaded: they can run "
            "any code; name that user in your setting trusted_owners if you trust them"
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
