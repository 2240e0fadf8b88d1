"""Where the native executor lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from batchwright.errors import ConfigError

VARIABLE = "BATCHWRIGHT_EXEC"
_INSTALLED = Path(__file__).parent / "_bin" / "batchwright-exec"


def executor() -> Path:
    """Find the program that runs job collections.

    Returns
    -------
    Path
        `$BATCHWRIGHT_EXEC` if set, else the one installed with the package.
    """
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named)
        if not os.access(path, os.X_OK):
            raise ConfigError(
                f"`${VARIABLE}` is `{path}`, which is no program: correct or unset it"
            )
        return path
    if not os.access(_INSTALLED, os.X_OK):
        raise ConfigError(
            f"`{_INSTALLED}` is not there: install the package anew, or set `${VARIABLE}` to the "
            "program"
        )
    return _INSTALLED
