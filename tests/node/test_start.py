"""What a worker imports before its first job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "python" / "batchwright" / "_node"

CODE = """
import sys
package = type(sys)("_batchwright_node")
package.__path__ = [sys.argv[1]]
sys.modules[package.__name__] = package
before = set(sys.modules)
import _batchwright_node.worker
print(" ".join(sorted(set(sys.modules) - before)))
"""


def test_only_what_every_job_needs_is_imported() -> None:
    output = subprocess.run(
        [sys.executable, "-I", "-c", CODE, str(FOLDER)], capture_output=True, text=True, check=True
    )
    imported = {name.partition(".")[0] for name in output.stdout.split()}
    slow = {"numpy", "pyarrow", "jinja2", "pandas", "cloudpickle", "dataclasses", "inspect"}
    assert not imported & (slow | {"pathlib", "traceback", "logging", "batchwright"})


def test_processes_that_a_job_spawns_do_not_start_a_worker() -> None:
    environment = {**os.environ, "PYTHONPATH": ""}
    code = f"import runpy; runpy.run_path({str(FOLDER)!r} + '/__main__.py', run_name='__mp_main__')"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
