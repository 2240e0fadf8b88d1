"""What jobs printed: the log of one, shown or as lines, and a search over many."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from re import Pattern
from typing import TYPE_CHECKING, Protocol, cast

from batchwright.errors import JobNotDoneError
from batchwright.ids import IdsLike, JobIds, selected, single

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry


class _Finder(Protocol):
    """Finds a pattern in a line; what it gives is true or false."""

    def __call__(self, line: str, /) -> object: ...


def get_log(reg: Registry, id: IdsLike) -> list[str]:
    """Give the lines that one job printed in its newest attempt.

    Parameters
    ----------
    reg
        The registry.
    id
        The job.

    Raises
    ------
    JobNotDoneError
        If there is no log, because the job was not started yet.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(print, ["hello"])
    >>> table = reg.submit_jobs()
    >>> reg.get_log(1)
    ['hello']
    """
    reg.store.update()
    job = single(reg.store, id)
    output = reg.store.core.log(job)
    if output is not None:
        return _lines(output)
    if reg.store.core.where("started", JobIds([job]).core, None):
        # It had nothing to say.
        return []
    raise JobNotDoneError(f"job {job} has no log: it has not been started; see explain({job})")


def show_log(reg: Registry, id: IdsLike) -> None:
    """Show the log of one job in the pager; print it where there is no terminal.

    Parameters
    ----------
    reg
        The registry.
    id
        The job.
    """
    text = "\n".join([*get_log(reg, id), ""])
    if sys.stdout.isatty():
        import pydoc

        pydoc.pager(text)
    else:
        sys.stdout.write(text)


def grep_logs(
    reg: Registry,
    ids: IdsLike = None,
    *,
    pattern: str | Pattern[str],
    ignore_case: bool = False,
    fixed: bool = False,
) -> pa.Table:
    """Search the logs of jobs.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; those started by default. Those without a log count as empty.
    pattern
        A regular expression of Python's `re`, tried on each line.
    ignore_case
        Whether upper and lower case are the same.
    fixed
        Take `pattern` as it stands rather than as an expression.

    Returns
    -------
    pyarrow.Table
        One row for each job that has a match: `job_id`, `line` (the number of the first line that
        matches, from 1) and `matches` (the matching lines, joined by newlines).

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(print, ["hello", "world"])
    >>> table = reg.submit_jobs()
    >>> reg.grep_logs(pattern="^w").to_pylist()
    [{'job_id': 2, 'line': 1, 'matches': 'world'}]
    """
    import pyarrow as pa

    finds = _finder(pattern, ignore_case=ignore_case, fixed=fixed)
    reg.store.update()
    core = reg.store.core
    chosen = selected(reg.store, ids, lambda: JobIds(core.where("started", None, None)))
    found = list(_matches(reg, chosen, finds))
    return pa.table(
        {
            "job_id": pa.array([job for job, _, _ in found], pa.int64()),
            "line": pa.array([line for _, line, _ in found], pa.int64()),
            "matches": pa.array([text for _, _, text in found], pa.string()),
        }
    )


def _matches(reg: Registry, ids: JobIds, finds: _Finder) -> Iterator[tuple[int, int, str]]:
    reader = reg.store.core.logs(ids.core)
    while (batch := reader.next_batch()) is not None:
        for job, output in batch:
            hits = [(at, line) for at, line in enumerate(_lines(output), 1) if finds(line)]
            if hits:
                yield job, hits[0][0], "\n".join(line for _, line in hits)


def _finder(pattern: str | Pattern[str], *, ignore_case: bool, fixed: bool) -> _Finder:
    text = pattern.pattern if isinstance(pattern, re.Pattern) else cast("object", pattern)
    if not isinstance(text, str):
        raise TypeError(f"pattern is {pattern!r}: give a text or an expression for texts")
    if not text:
        raise ValueError("pattern is empty: it would match every line")
    flags = 0 if isinstance(pattern, str) else pattern.flags
    flags |= re.IGNORECASE if ignore_case else 0
    try:
        return re.compile(re.escape(text) if fixed else text, flags).search
    except re.error as error:
        raise ValueError(
            f"pattern {text!r} is no regular expression: {error}; fixed=True takes it as it stands"
        ) from None


def _lines(output: bytes) -> list[str]:
    # Not splitlines: a form feed or a line separator in a text does not end a line of a log.
    lines = output.decode("utf-8", "replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]
