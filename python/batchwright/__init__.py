"""Computations as batch jobs on clusters: map, submit, watch, collect.

Names are imported when they are first used, because nodes import this package, too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchwright.apply import btlapply, btmapply
    from batchwright.chunking import binpack, chunk, lpt
    from batchwright.clusters.base import (
        BatchState,
        ClusterFunctions,
        Completed,
        SubmitResult,
        make_cluster_functions,
        run_command,
    )
    from batchwright.clusters.interactive import Interactive
    from batchwright.clusters.multicore import Multicore, Socket
    from batchwright.collection import JobCollection
    from batchwright.configuration import find_conf_file
    from batchwright.default import (
        add_job_tags,
        as_completed,
        batch_export,
        batch_map,
        batch_map_results,
        batch_reduce,
        clear_registry,
        find_done,
        find_errors,
        find_expired,
        find_jobs,
        find_not_done,
        find_not_started,
        find_not_submitted,
        find_on_system,
        find_queued,
        find_running,
        find_started,
        find_submitted,
        find_tagged,
        get_default_registry,
        get_error_messages,
        get_job_names,
        get_job_pars,
        get_job_resources,
        get_job_status,
        get_job_table,
        get_job_tags,
        get_log,
        get_status,
        get_used_job_tags,
        grep_logs,
        iter_results,
        kill_jobs,
        load_result,
        make_job_collection,
        reduce_results,
        reduce_results_list,
        reduce_results_table,
        remove_job_tags,
        remove_registry,
        reset_jobs,
        save_registry,
        set_default_registry,
        set_job_names,
        show_log,
        submit_jobs,
        sweep_registry,
        sync_registry,
        test_job,
        wait_for_jobs,
    )
    from batchwright.definition import grid
    from batchwright.errors import (
        BatchwrightError,
        ConfigError,
        CorruptRegistryError,
        DefinitionError,
        JobError,
        JobNotDoneError,
        JobsOnSystemError,
        NoDefaultRegistryError,
        OwnershipLostError,
        ReadOnlyRegistryError,
        RegistryExistsError,
        RegistryLockedError,
        RegistryNotFoundError,
        RegistryVersionError,
        SchedulerError,
        SubmitError,
        TemplateError,
        UnknownJobError,
    )
    from batchwright.ids import JobIds
    from batchwright.joins import ajoin, ijoin, ljoin, ojoin, rjoin, sjoin, ujoin
    from batchwright.opening import load_registry, make_registry
    from batchwright.registry import Registry
    from batchwright.status import Status
    from batchwright.tables import unwrap

_MODULES = {
    "apply": ("btlapply", "btmapply"),
    "chunking": ("binpack", "chunk", "lpt"),
    "clusters.base": (
        "BatchState",
        "ClusterFunctions",
        "Completed",
        "SubmitResult",
        "make_cluster_functions",
        "run_command",
    ),
    "clusters.interactive": ("Interactive",),
    "clusters.multicore": ("Multicore", "Socket"),
    "collection": ("JobCollection",),
    "configuration": ("find_conf_file",),
    "default": (
        "add_job_tags",
        "as_completed",
        "batch_export",
        "batch_map",
        "batch_map_results",
        "batch_reduce",
        "clear_registry",
        "find_done",
        "find_errors",
        "find_expired",
        "find_jobs",
        "find_not_done",
        "find_not_started",
        "find_not_submitted",
        "find_on_system",
        "find_queued",
        "find_running",
        "find_started",
        "find_submitted",
        "find_tagged",
        "get_default_registry",
        "get_error_messages",
        "get_job_names",
        "get_job_pars",
        "get_job_resources",
        "get_job_status",
        "get_job_table",
        "get_job_tags",
        "get_log",
        "get_status",
        "get_used_job_tags",
        "grep_logs",
        "iter_results",
        "kill_jobs",
        "load_result",
        "make_job_collection",
        "reduce_results",
        "reduce_results_list",
        "reduce_results_table",
        "remove_job_tags",
        "remove_registry",
        "reset_jobs",
        "save_registry",
        "set_default_registry",
        "set_job_names",
        "show_log",
        "submit_jobs",
        "sweep_registry",
        "sync_registry",
        "test_job",
        "wait_for_jobs",
    ),
    "definition": ("grid",),
    "errors": (
        "BatchwrightError",
        "ConfigError",
        "CorruptRegistryError",
        "DefinitionError",
        "JobError",
        "JobNotDoneError",
        "JobsOnSystemError",
        "NoDefaultRegistryError",
        "OwnershipLostError",
        "ReadOnlyRegistryError",
        "RegistryExistsError",
        "RegistryLockedError",
        "RegistryNotFoundError",
        "RegistryVersionError",
        "SchedulerError",
        "SubmitError",
        "TemplateError",
        "UnknownJobError",
    ),
    "ids": ("JobIds",),
    "joins": ("ajoin", "ijoin", "ljoin", "ojoin", "rjoin", "sjoin", "ujoin"),
    "opening": ("load_registry", "make_registry"),
    "registry": ("Registry",),
    "status": ("Status",),
    "tables": ("unwrap",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        if name == "__version__":
            from importlib.metadata import version

            return version("batchwright")
        raise AttributeError(f"module 'batchwright' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"batchwright.{module}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
