"""What `BATCHWRIGHT_DEBUG=1` turns on; without it the package's logger is silent."""

from __future__ import annotations

import logging
import os
from typing import Final

VARIABLE: Final = "BATCHWRIGHT_DEBUG"
_FORMAT: Final = "%(asctime)s batchwright %(levelname)s: %(message)s"


def is_debugging() -> bool:
    """Whether the user asked for everything to be told and kept."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def set_up_logger() -> None:
    """Give the package's logger somewhere to write to, once."""
    logger = logging.getLogger("batchwright")
    if logger.handlers:
        return
    if not is_debugging():
        # Else Python's handler of last resort would print warnings.
        logger.addHandler(logging.NullHandler())
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
