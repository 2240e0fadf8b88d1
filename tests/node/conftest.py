"""Puts the worker's modules under the name that they have on a node, without the package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "python" / "batchwright" / "_node"

if "_batchwright_node" not in sys.modules:
    package = ModuleType("_batchwright_node")
    package.__path__ = [str(FOLDER)]
    sys.modules[package.__name__] = package
