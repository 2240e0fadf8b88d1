"""Waiting for jobs to end."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from batchwright import ids as job_ids
from batchwright import looking
from batchwright.errors import ConfigError
from batchwright.ids import IdsLike, JobIds
from batchwright.resources import positive, whole

if TYPE_CHECKING:
    from batchwright.registry import Registry

Sleep: TypeAlias = float | Callable[[int], float]
FIRST_PAUSE = 0.05
LONGEST_HERE = 2.0
LONGEST_ON_SCHEDULER = 60.0


def wait_for_jobs(
    reg: Registry,
    ids: IdsLike = None,
    *,
    sleep: Sleep | None = None,
    timeout: float | None = 604800.0,
    expire_after: int | None = None,
    stop_on_error: bool = False,
    stop_on_expire: bool = False,
    progress: bool | None = None,
) -> bool:
    """Wait until jobs have ended, well or not.

    Parameters
    ----------
    ids
        Which jobs; all submitted ones by default.
    sleep
        Seconds between two looks, or a function of the iteration.
    timeout
        Seconds after which to give up waiting, with a warning; None or infinity for never.
    expire_after
        In how many looks in a row a job must be absent to be given up.
    stop_on_error, stop_on_expire
        Whether to return as soon as a job failed or vanished.
    progress
        Whether to show a bar; by default in terminals and notebooks.

    Returns
    -------
    bool
        Whether all of them are done.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> table = reg.submit_jobs()
    >>> reg.wait_for_jobs()
    True
    """
    pause = sleeping(reg, sleep)
    deadline = _deadline(timeout)
    if expire_after is not None:
        expire_after = whole("expire_after", expire_after, low=1)
    reg.store.update()
    waited = _submitted_only(reg, ids)
    if not waited:
        return True
    return _wait(
        reg, waited, pause, deadline, expire_after, stop_on_error, stop_on_expire, progress
    )


def _submitted_only(reg: Registry, ids: IdsLike) -> JobIds:
    def submitted() -> JobIds:
        return JobIds(reg.store.core.where("submitted", None, None))

    chosen = job_ids.selected(reg.store, ids, submitted)
    without = JobIds(reg.store.core.where("not_submitted", chosen.core, None))
    if without:
        warnings.warn(
            f"{len(without)} of the jobs are not submitted and not waited for: submit them first",
            stacklevel=3,
        )
    return chosen - without


def _wait(
    reg: Registry,
    waited: JobIds,
    pause: Callable[[int], float],
    deadline: float,
    expire_after: int | None,
    stop_on_error: bool,
    stop_on_expire: bool,
    progress: bool | None,
) -> bool:
    from batchwright.progress import bar

    core = reg.store.core
    iteration, shown = 0, 0
    with bar("waiting", len(waited), show=progress) as advance:
        while True:
            looking.sync(reg, expire_after=expire_after)
            counts = core.counts(waited.core)
            ended = counts["done"] + counts["error"] + counts["expired"]
            advance(ended - shown)
            shown = ended
            # A job reset meanwhile is nobody's business any more.
            if ended >= counts["submitted"]:
                return counts["done"] == len(waited)
            if stop_on_error and counts["error"]:
                return False
            if stop_on_expire and counts["expired"]:
                warnings.warn(f"{counts['expired']} jobs disappeared", stacklevel=3)
                return False
            left = deadline - time.monotonic()
            if left <= 0:
                warnings.warn(
                    f"{counts['submitted'] - ended} jobs have not ended within the time to wait",
                    stacklevel=3,
                )
                return False
            time.sleep(min(pause(iteration), left))
            iteration += 1


def as_completed(
    reg: Registry, ids: IdsLike = None, *, timeout: float | None = None
) -> Iterator[int]:
    """Give ids as their jobs end, whatever the outcome.

    Parameters
    ----------
    ids
        Which jobs; all submitted ones by default.
    timeout
        Seconds after which a `TimeoutError` is raised; None or infinity for never.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> reg.cluster_functions = bw.Interactive()
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> table = reg.submit_jobs()
    >>> sorted(reg.as_completed())
    [1, 2]
    """
    deadline = _deadline(timeout)
    reg.store.update()
    return _as_completed(reg, _submitted_only(reg, ids), deadline)


def _as_completed(reg: Registry, left: JobIds, deadline: float) -> Iterator[int]:
    pause = sleeping(reg, None)
    iteration = 0
    while left:
        reg.store.update()
        ended = JobIds(reg.store.core.where("ended", left.core, None))
        yield from ended
        left = JobIds(reg.store.core.where("submitted", left.core, None)) - ended
        if not left:
            return
        iteration = 0 if ended else iteration + 1
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"{len(left)} jobs have not ended yet, such as job {left[0]}")
        time.sleep(min(pause(iteration), remaining))


def _deadline(timeout: float | None) -> float:
    if timeout is None or timeout == math.inf:
        return math.inf
    return time.monotonic() + positive("timeout", timeout, zero=True)


def sleeping(reg: Registry, sleep: object) -> Callable[[int], float]:
    """Give the seconds to pause for each iteration: argument, setting, or ours."""
    chosen = reg.sleep if sleep is None else sleep
    if chosen is None:
        here = reg.cluster_functions.is_local
        longest = LONGEST_HERE if here else LONGEST_ON_SCHEDULER
        return lambda iteration: min(FIRST_PAUSE * 2 ** min(iteration, 20), longest)
    if callable(chosen):
        return lambda iteration: _checked(chosen(iteration))
    seconds = _checked(chosen)
    return lambda iteration: seconds


def _checked(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"`sleep` is {value!r}: give seconds or a function of the iteration")
    return float(value)
