"""The default registry, and every verb as a function that acts on it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from batchwright import (
    checking,
    definition,
    experiments,
    explaining,
    finding,
    jobs,
    killing,
    lifecycle,
    logs,
    names,
    predicates,
    preview,
    problems,
    results,
    retrying,
    runtimes,
    status,
    submission,
    summaries,
    tables,
    tags,
    trial,
    usage,
    waiting,
)
from batchwright.errors import NoDefaultRegistryError
from batchwright.store import Store

if TYPE_CHECKING:
    from batchwright.registry import Registry

_P = ParamSpec("_P")
_R = TypeVar("_R")
_default: Registry | None = None


def get_default_registry() -> Registry:
    """Give the registry that verbs of the package act on.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None)
    >>> bw.get_default_registry() is reg
    True
    """
    if _default is None or _default.store.removed:
        raise NoDefaultRegistryError(
            "there is no default registry: make one by `make_registry`, load one by "
            "`load_registry`, or call the verb on a registry, as in `reg.submit_jobs()`"
        )
    return _default


def set_default_registry(reg: Registry | None) -> None:
    """Make a registry the default; None for none.

    Examples
    --------
    >>> import batchwright as bw
    >>> bw.set_default_registry(None)
    """
    global _default
    if reg is not None and not _is_registry(reg):
        raise TypeError(f"the default is a registry or None, not {type(reg).__name__} {reg!r:.60}")
    _default = reg


def _is_registry(value: object) -> bool:
    # By what makes one: its class lies above this module.
    return isinstance(getattr(value, "store", None), Store)


def on_default(verb: Callable[Concatenate[Registry, _P], _R]) -> Callable[_P, _R]:
    """Make the package's function of a verb: the same, on the default registry."""

    @functools.wraps(verb)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if any(map(_is_registry, (*args[:1], kwargs.get("reg")))):
            name = verb.__name__
            raise TypeError(
                f"`bw.{name}` acts on the default registry: call `reg.{name}(...)` for another one"
            )
        return verb(get_default_registry(), *args, **kwargs)

    signature = inspect.signature(verb)
    without = signature.replace(parameters=list(signature.parameters.values())[1:])
    call.__signature__ = without  # pyright: ignore[reportAttributeAccessIssue]
    return call


save_registry = on_default(lifecycle.save_registry)
sync_registry = on_default(lifecycle.sync_registry)
sweep_registry = on_default(lifecycle.sweep_registry)
clear_registry = on_default(lifecycle.clear_registry)
check_registry = on_default(checking.check_registry)
remove_registry = on_default(lifecycle.remove_registry)

batch_map = on_default(definition.batch_map)
batch_reduce = on_default(definition.batch_reduce)
batch_map_results = on_default(definition.batch_map_results)
batch_export = on_default(definition.batch_export)

add_problem = on_default(problems.add_problem)
add_algorithm = on_default(problems.add_algorithm)
remove_problems = on_default(problems.remove_problems)
remove_algorithms = on_default(problems.remove_algorithms)
add_experiments = on_default(experiments.add_experiments)
remove_experiments = on_default(experiments.remove_experiments)
find_experiments = on_default(finding.find_experiments)
summarize_experiments = on_default(summaries.summarize_experiments)

find_jobs = on_default(predicates.find_jobs)
find_submitted = on_default(status.find_submitted)
find_not_submitted = on_default(status.find_not_submitted)
find_started = on_default(status.find_started)
find_not_started = on_default(status.find_not_started)
find_done = on_default(status.find_done)
find_not_done = on_default(status.find_not_done)
find_errors = on_default(status.find_errors)
find_expired = on_default(status.find_expired)
find_on_system = on_default(status.find_on_system)
find_running = on_default(status.find_running)
find_queued = on_default(status.find_queued)
get_status = on_default(status.get_status)

find_tagged = on_default(tags.find_tagged)
add_job_tags = on_default(tags.add_job_tags)
remove_job_tags = on_default(tags.remove_job_tags)
get_used_job_tags = on_default(tags.get_used_job_tags)
set_job_names = on_default(names.set_job_names)
get_job_names = on_default(names.get_job_names)

get_job_table = on_default(tables.get_job_table)
get_job_status = on_default(tables.get_job_status)
get_job_pars = on_default(tables.get_job_pars)
get_job_resources = on_default(tables.get_job_resources)
get_job_tags = on_default(tables.get_job_tags)
make_job = on_default(jobs.make_job)

submit_jobs = on_default(submission.submit_jobs)
plan_submission = on_default(preview.plan_submission)
make_job_collection = on_default(submission.make_job_collection)
wait_for_jobs = on_default(waiting.wait_for_jobs)
as_completed = on_default(waiting.as_completed)
kill_jobs = on_default(killing.kill_jobs)
retry_jobs = on_default(retrying.retry_jobs)
explain = on_default(explaining.explain)
reset_jobs = on_default(killing.reset_jobs)
test_job = on_default(trial.test_job)

load_result = on_default(results.load_result)
reduce_results = on_default(results.reduce_results)
reduce_results_list = on_default(results.reduce_results_list)
reduce_results_table = on_default(results.reduce_results_table)
iter_results = on_default(results.iter_results)
get_error_messages = on_default(results.get_error_messages)
get_log = on_default(logs.get_log)
show_log = on_default(logs.show_log)
grep_logs = on_default(logs.grep_logs)
summarize_usage = on_default(usage.summarize_usage)
estimate_runtimes = on_default(runtimes.estimate_runtimes)
