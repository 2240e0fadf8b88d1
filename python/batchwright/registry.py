"""The registry: a folder of jobs, with every verb that acts on one as a method."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

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
    looking,
    names,
    predicates,
    preview,
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
from batchwright import problems as defining

if TYPE_CHECKING:
    from types import TracebackType

    from batchwright.clusters.base import ClusterFunctions
    from batchwright.store import Store


class Registry:
    """A folder of jobs.

    Made by `make_registry`, opened by `load_registry`. Settings are changed by assigning them; on
    a writeable registry that is durable at once. As a context manager it saves and lets go of
    its lock at the end, and can still be read afterwards.
    """

    __slots__ = ("__weakref__", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        me = weakref.ref(self)
        # The store outlives nobody: a cycle would keep its lock until the collector runs.
        store.updater = lambda: (reg := me()) is not None and looking.sync(reg)

    # -- what it is

    @property
    def store(self) -> Store:
        """The opened folder, for verbs."""
        return self._store

    @property
    def file_dir(self) -> Path:
        """The registry's folder."""
        return self._store.file_dir

    @property
    def writeable(self) -> bool:
        """Whether this process may change it."""
        return self._store.writeable

    @property
    def version(self) -> str:
        """The version of the package that made it."""
        return self._store.core.version

    @property
    def access(self) -> str:
        """Who may read it: `private`, `group` or `public`."""
        return self._store.core.access

    # -- settings

    def _assign(self, name: str, value: object) -> None:
        if not self._store.settings.is_configuring:
            self._store.require_writeable()
        self._store.settings.assign(name, value)

    @property
    def work_dir(self) -> Path:
        """Where jobs run."""
        return self._store.settings.get("work_dir")

    @work_dir.setter
    def work_dir(self, value: str | Path) -> None:
        self._assign("work_dir", value)

    @property
    def seed(self) -> int:
        """The seed from which those of the jobs follow."""
        return self._store.settings.get("seed")

    @seed.setter
    def seed(self, value: int) -> None:
        self._assign("seed", value)

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules imported on the node before the first job."""
        return self._store.settings.get("imports")

    @imports.setter
    def imports(self, value: tuple[str, ...]) -> None:
        self._assign("imports", value)

    @property
    def source(self) -> tuple[str, ...]:
        """Python files run on the node; what they define become globals of job functions."""
        return self._store.settings.get("source")

    @source.setter
    def source(self, value: tuple[str, ...]) -> None:
        self._assign("source", value)

    @property
    def load(self) -> tuple[str, ...]:
        """Pickle files of a dict whose items become globals of job functions."""
        return self._store.settings.get("load")

    @load.setter
    def load(self, value: tuple[str, ...]) -> None:
        self._assign("load", value)

    @property
    def cluster_functions(self) -> ClusterFunctions:
        """How jobs get onto the system."""
        return self._store.settings.get("cluster_functions")

    @cluster_functions.setter
    def cluster_functions(self, value: ClusterFunctions) -> None:
        self._assign("cluster_functions", value)
        looking.forget(self)

    @property
    def default_resources(self) -> Mapping[str, Any]:
        """Resources of all jobs, unless a submission says otherwise."""
        return self._store.settings.get("default_resources")

    @default_resources.setter
    def default_resources(self, value: Mapping[str, Any]) -> None:
        self._assign("default_resources", value)

    @property
    def max_concurrent_jobs(self) -> int | None:
        """How many may be on the system at once; None for no limit."""
        return self._store.settings.get("max_concurrent_jobs")

    @max_concurrent_jobs.setter
    def max_concurrent_jobs(self, value: int | None) -> None:
        self._assign("max_concurrent_jobs", value)

    @property
    def max_chunks(self) -> int:
        """How many chunks one submission may have."""
        return self._store.settings.get("max_chunks")

    @max_chunks.setter
    def max_chunks(self, value: int) -> None:
        self._assign("max_chunks", value)

    @property
    def sleep(self) -> float | Callable[[int], float] | None:
        """Seconds between two looks, or a function of the iteration."""
        return self._store.settings.get("sleep")

    @sleep.setter
    def sleep(self, value: float | Callable[[int], float] | None) -> None:
        self._assign("sleep", value)

    @property
    def expire_after(self) -> int:
        """In how many looks in a row a job must be absent to be given up."""
        return self._store.settings.get("expire_after")

    @expire_after.setter
    def expire_after(self, value: int) -> None:
        self._assign("expire_after", value)

    @property
    def compress(self) -> str:
        """How results above 4 KiB are compressed: "none", "gzip", "lz4" or "zstd"."""
        return self._store.settings.get("compress")

    @compress.setter
    def compress(self, value: str) -> None:
        self._assign("compress", value)

    @property
    def temp_dir(self) -> Path:
        """Where temporary registries are made."""
        return self._store.settings.get("temp_dir")

    @temp_dir.setter
    def temp_dir(self, value: str | Path) -> None:
        self._assign("temp_dir", value)

    @property
    def trusted_owners(self) -> tuple[int, ...]:
        """Users besides us and root whose registries may be unpickled, by number or name.

        Never stored: set it in your own configuration, or for the session.
        """
        return self._store.settings.get("trusted_owners")

    @trusted_owners.setter
    def trusted_owners(self, value: Iterable[int | str]) -> None:
        # Readers, too: nothing is written.
        self._store.settings.assign("trusted_owners", value)

    # -- verbs

    save_registry = lifecycle.save_registry
    sync_registry = lifecycle.sync_registry
    sweep_registry = lifecycle.sweep_registry
    clear_registry = lifecycle.clear_registry
    check_registry = checking.check_registry
    remove_registry = lifecycle.remove_registry

    batch_map = definition.batch_map
    batch_reduce = definition.batch_reduce
    batch_map_results = definition.batch_map_results
    batch_export = definition.batch_export

    find_jobs = predicates.find_jobs
    find_submitted = status.find_submitted
    find_not_submitted = status.find_not_submitted
    find_started = status.find_started
    find_not_started = status.find_not_started
    find_done = status.find_done
    find_not_done = status.find_not_done
    find_errors = status.find_errors
    find_expired = status.find_expired
    find_on_system = status.find_on_system
    find_running = status.find_running
    find_queued = status.find_queued
    get_status = status.get_status

    find_tagged = tags.find_tagged
    add_job_tags = tags.add_job_tags
    remove_job_tags = tags.remove_job_tags
    get_used_job_tags = tags.get_used_job_tags
    set_job_names = names.set_job_names
    get_job_names = names.get_job_names

    get_job_table = tables.get_job_table
    get_job_status = tables.get_job_status
    get_job_pars = tables.get_job_pars
    get_job_resources = tables.get_job_resources
    get_job_tags = tables.get_job_tags
    make_job = jobs.make_job

    submit_jobs = submission.submit_jobs
    plan_submission = preview.plan_submission
    make_job_collection = submission.make_job_collection
    wait_for_jobs = waiting.wait_for_jobs
    as_completed = waiting.as_completed
    kill_jobs = killing.kill_jobs
    reset_jobs = killing.reset_jobs
    retry_jobs = retrying.retry_jobs
    explain = explaining.explain
    test_job = trial.test_job

    load_result = results.load_result
    reduce_results = results.reduce_results
    reduce_results_list = results.reduce_results_list
    reduce_results_table = results.reduce_results_table
    iter_results = results.iter_results
    get_error_messages = results.get_error_messages
    get_log = logs.get_log
    show_log = logs.show_log
    grep_logs = logs.grep_logs
    summarize_usage = usage.summarize_usage
    estimate_runtimes = runtimes.estimate_runtimes

    # -- protocols

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._store.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"registry `{self.file_dir}` cannot be pickled: pass its path, and load it there with "
            "`load_registry`"
        )

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}", *(f"  {k}: {v}" for k, v in self._summary())])

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self._summary()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"

    def _summary(self) -> list[tuple[str, str]]:
        counts = self._store.core.counts(None)
        jobs = [f"{counts['defined']} defined"]
        jobs += [
            f"{counts[state]} {state}"
            for state in ("submitted", "running", "done", "error", "expired")
            if counts[state]
        ]
        return [
            ("file_dir", str(self.file_dir) + (" (temporary)" if self._store.temporary else "")),
            ("work_dir", str(self.work_dir)),
            ("jobs", ", ".join(jobs)),
            ("cluster_functions", repr(self.cluster_functions)),
            ("seed", str(self.seed)),
            ("access", self.access),
            ("writeable", "yes" if self.writeable else "no"),
        ]


class ExperimentRegistry(Registry):
    """A folder of experiments: problems, algorithms, their parameters and replications.

    Made by `make_experiment_registry`. All verbs of a `Registry` work on it but those that define
    plain jobs.
    """

    __slots__ = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """The names of its problems, sorted."""
        return tuple(sorted(self._store.core.problems()))

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The names of its algorithms, sorted."""
        return tuple(sorted(self._store.core.algorithms()))

    add_problem = defining.add_problem
    add_algorithm = defining.add_algorithm
    remove_problems = defining.remove_problems
    remove_algorithms = defining.remove_algorithms
    add_experiments = experiments.add_experiments
    remove_experiments = experiments.remove_experiments
    find_experiments = finding.find_experiments
    summarize_experiments = summaries.summarize_experiments
