"""Running a collection that `make_job_collection` wrote, on whatever machine this is."""

from __future__ import annotations

import subprocess
from os import PathLike, fspath
from pathlib import Path

from batchwright.collection import JobCollection
from batchwright.errors import BatchwrightError
from batchwright.executor import executor


def do_job_collection(
    path: str | PathLike[str] | JobCollection, *, log: str | PathLike[str] | None = None
) -> str:
    """Run the jobs of a collection by the executor.

    Parameters
    ----------
    path
        The collection's file, or the `JobCollection`.
    log
        Where what the executor itself says goes.

    Returns
    -------
    str
        The collection's hash.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> jc = reg.make_job_collection()
    >>> bw.do_job_collection(jc.uri) == jc.job_hash
    True
    """
    path = path.uri if isinstance(path, JobCollection) else path
    command = [str(executor()), "run", fspath(path)]
    if log is not None:
        command += ["--log", fspath(log)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BatchwrightError(
            f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}"
        )
    return Path(path).stem
