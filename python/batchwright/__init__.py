"""Computations as batch jobs on clusters: map, submit, watch, collect.

Names are imported when they are first used, because nodes import this package, too.
"""

from __future__ import annotations

import importlib

# Importing `typing` would take longer than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from batchwright._node.job import (
        Job as Job,
    )
    from batchwright.apply import (
        btlapply as btlapply,
    )
    from batchwright.apply import (
        btmapply as btmapply,
    )
    from batchwright.checking import (
        Finding as Finding,
    )
    from batchwright.checking import (
        Report as Report,
    )
    from batchwright.chunking import (
        binpack as binpack,
    )
    from batchwright.chunking import (
        chunk as chunk,
    )
    from batchwright.chunking import (
        lpt as lpt,
    )
    from batchwright.clusters.base import (
        BatchState as BatchState,
    )
    from batchwright.clusters.base import (
        ClusterFunctions as ClusterFunctions,
    )
    from batchwright.clusters.base import (
        Completed as Completed,
    )
    from batchwright.clusters.base import (
        SiteLimits as SiteLimits,
    )
    from batchwright.clusters.base import (
        SubmitResult as SubmitResult,
    )
    from batchwright.clusters.base import (
        make_cluster_functions as make_cluster_functions,
    )
    from batchwright.clusters.base import (
        run_command as run_command,
    )
    from batchwright.clusters.docker import (
        Docker as Docker,
    )
    from batchwright.clusters.interactive import (
        Interactive as Interactive,
    )
    from batchwright.clusters.lsf import (
        LSF as LSF,
    )
    from batchwright.clusters.multicore import (
        Multicore as Multicore,
    )
    from batchwright.clusters.multicore import (
        Socket as Socket,
    )
    from batchwright.clusters.openlava import (
        OpenLava as OpenLava,
    )
    from batchwright.clusters.sge import (
        SGE as SGE,
    )
    from batchwright.clusters.slurm import (
        Slurm as Slurm,
    )
    from batchwright.clusters.ssh import (
        SSH as SSH,
    )
    from batchwright.clusters.ssh import (
        Worker as Worker,
    )
    from batchwright.clusters.torque import (
        TORQUE as TORQUE,
    )
    from batchwright.collection import (
        JobCollection as JobCollection,
    )
    from batchwright.configuration import (
        find_conf_file as find_conf_file,
    )
    from batchwright.default import (
        add_algorithm as add_algorithm,
    )
    from batchwright.default import (
        add_experiments as add_experiments,
    )
    from batchwright.default import (
        add_job_tags as add_job_tags,
    )
    from batchwright.default import (
        add_problem as add_problem,
    )
    from batchwright.default import (
        as_completed as as_completed,
    )
    from batchwright.default import (
        batch_export as batch_export,
    )
    from batchwright.default import (
        batch_map as batch_map,
    )
    from batchwright.default import (
        batch_map_results as batch_map_results,
    )
    from batchwright.default import (
        batch_reduce as batch_reduce,
    )
    from batchwright.default import (
        check_registry as check_registry,
    )
    from batchwright.default import (
        clear_registry as clear_registry,
    )
    from batchwright.default import (
        estimate_runtimes as estimate_runtimes,
    )
    from batchwright.default import (
        explain as explain,
    )
    from batchwright.default import (
        find_done as find_done,
    )
    from batchwright.default import (
        find_errors as find_errors,
    )
    from batchwright.default import (
        find_experiments as find_experiments,
    )
    from batchwright.default import (
        find_expired as find_expired,
    )
    from batchwright.default import (
        find_jobs as find_jobs,
    )
    from batchwright.default import (
        find_not_done as find_not_done,
    )
    from batchwright.default import (
        find_not_started as find_not_started,
    )
    from batchwright.default import (
        find_not_submitted as find_not_submitted,
    )
    from batchwright.default import (
        find_on_system as find_on_system,
    )
    from batchwright.default import (
        find_queued as find_queued,
    )
    from batchwright.default import (
        find_running as find_running,
    )
    from batchwright.default import (
        find_started as find_started,
    )
    from batchwright.default import (
        find_submitted as find_submitted,
    )
    from batchwright.default import (
        find_tagged as find_tagged,
    )
    from batchwright.default import (
        get_default_registry as get_default_registry,
    )
    from batchwright.default import (
        get_error_messages as get_error_messages,
    )
    from batchwright.default import (
        get_job_names as get_job_names,
    )
    from batchwright.default import (
        get_job_pars as get_job_pars,
    )
    from batchwright.default import (
        get_job_resources as get_job_resources,
    )
    from batchwright.default import (
        get_job_status as get_job_status,
    )
    from batchwright.default import (
        get_job_table as get_job_table,
    )
    from batchwright.default import (
        get_job_tags as get_job_tags,
    )
    from batchwright.default import (
        get_log as get_log,
    )
    from batchwright.default import (
        get_status as get_status,
    )
    from batchwright.default import (
        get_used_job_tags as get_used_job_tags,
    )
    from batchwright.default import (
        grep_logs as grep_logs,
    )
    from batchwright.default import (
        iter_results as iter_results,
    )
    from batchwright.default import (
        kill_jobs as kill_jobs,
    )
    from batchwright.default import (
        load_result as load_result,
    )
    from batchwright.default import (
        make_job as make_job,
    )
    from batchwright.default import (
        make_job_collection as make_job_collection,
    )
    from batchwright.default import (
        plan_submission as plan_submission,
    )
    from batchwright.default import (
        reduce_results as reduce_results,
    )
    from batchwright.default import (
        reduce_results_list as reduce_results_list,
    )
    from batchwright.default import (
        reduce_results_table as reduce_results_table,
    )
    from batchwright.default import (
        remove_algorithms as remove_algorithms,
    )
    from batchwright.default import (
        remove_experiments as remove_experiments,
    )
    from batchwright.default import (
        remove_job_tags as remove_job_tags,
    )
    from batchwright.default import (
        remove_problems as remove_problems,
    )
    from batchwright.default import (
        remove_registry as remove_registry,
    )
    from batchwright.default import (
        reset_jobs as reset_jobs,
    )
    from batchwright.default import (
        retry_jobs as retry_jobs,
    )
    from batchwright.default import (
        save_registry as save_registry,
    )
    from batchwright.default import (
        set_default_registry as set_default_registry,
    )
    from batchwright.default import (
        set_job_names as set_job_names,
    )
    from batchwright.default import (
        show_log as show_log,
    )
    from batchwright.default import (
        submit_jobs as submit_jobs,
    )
    from batchwright.default import (
        summarize_experiments as summarize_experiments,
    )
    from batchwright.default import (
        summarize_usage as summarize_usage,
    )
    from batchwright.default import (
        sweep_registry as sweep_registry,
    )
    from batchwright.default import (
        sync_registry as sync_registry,
    )
    from batchwright.default import (
        test_job as test_job,
    )
    from batchwright.default import (
        wait_for_jobs as wait_for_jobs,
    )
    from batchwright.definition import (
        grid as grid,
    )
    from batchwright.errors import (
        BatchwrightError as BatchwrightError,
    )
    from batchwright.errors import (
        ConfigError as ConfigError,
    )
    from batchwright.errors import (
        CorruptRegistryError as CorruptRegistryError,
    )
    from batchwright.errors import (
        DefinitionError as DefinitionError,
    )
    from batchwright.errors import (
        JobError as JobError,
    )
    from batchwright.errors import (
        JobNotDoneError as JobNotDoneError,
    )
    from batchwright.errors import (
        JobsOnSystemError as JobsOnSystemError,
    )
    from batchwright.errors import (
        NoDefaultRegistryError as NoDefaultRegistryError,
    )
    from batchwright.errors import (
        OwnershipLostError as OwnershipLostError,
    )
    from batchwright.errors import (
        ReadOnlyRegistryError as ReadOnlyRegistryError,
    )
    from batchwright.errors import (
        RegistryExistsError as RegistryExistsError,
    )
    from batchwright.errors import (
        RegistryLockedError as RegistryLockedError,
    )
    from batchwright.errors import (
        RegistryNotFoundError as RegistryNotFoundError,
    )
    from batchwright.errors import (
        RegistryVersionError as RegistryVersionError,
    )
    from batchwright.errors import (
        SchedulerError as SchedulerError,
    )
    from batchwright.errors import (
        SubmitError as SubmitError,
    )
    from batchwright.errors import (
        TemplateError as TemplateError,
    )
    from batchwright.errors import (
        UnknownJobError as UnknownJobError,
    )
    from batchwright.explaining import (
        Evidence as Evidence,
    )
    from batchwright.explaining import (
        Explanation as Explanation,
    )
    from batchwright.ids import (
        IdsLike as IdsLike,
    )
    from batchwright.ids import (
        JobIds as JobIds,
    )
    from batchwright.joins import (
        ajoin as ajoin,
    )
    from batchwright.joins import (
        ijoin as ijoin,
    )
    from batchwright.joins import (
        ljoin as ljoin,
    )
    from batchwright.joins import (
        ojoin as ojoin,
    )
    from batchwright.joins import (
        rjoin as rjoin,
    )
    from batchwright.joins import (
        sjoin as sjoin,
    )
    from batchwright.joins import (
        ujoin as ujoin,
    )
    from batchwright.merging import (
        merge_registries as merge_registries,
    )
    from batchwright.opening import (
        load_registry as load_registry,
    )
    from batchwright.opening import (
        make_experiment_registry as make_experiment_registry,
    )
    from batchwright.opening import (
        make_registry as make_registry,
    )
    from batchwright.preview import (
        SubmissionPlan as SubmissionPlan,
    )
    from batchwright.registry import (
        ExperimentRegistry as ExperimentRegistry,
    )
    from batchwright.registry import (
        Registry as Registry,
    )
    from batchwright.retrying import (
        GROW as GROW,
    )
    from batchwright.retrying import (
        RETRYABLE as RETRYABLE,
    )
    from batchwright.running import (
        do_job_collection as do_job_collection,
    )
    from batchwright.runtimes import (
        RuntimeEstimate as RuntimeEstimate,
    )
    from batchwright.status import (
        Status as Status,
    )
    from batchwright.tables import (
        unwrap as unwrap,
    )
    from batchwright.templates import (
        find_template as find_template,
    )
    from batchwright.templates import (
        render_script as render_script,
    )


# Where each name of the package is defined.
_MODULES = {
    "_node.job": "Job",
    "apply": "btlapply btmapply",
    "checking": "Finding Report",
    "chunking": "binpack chunk lpt",
    "clusters.base": (
        "BatchState ClusterFunctions Completed SiteLimits SubmitResult make_cluster_functions "
        "run_command "
    ),
    "clusters.docker": "Docker",
    "clusters.interactive": "Interactive",
    "clusters.lsf": "LSF",
    "clusters.multicore": "Multicore Socket",
    "clusters.openlava": "OpenLava",
    "clusters.sge": "SGE",
    "clusters.slurm": "Slurm",
    "clusters.ssh": "SSH Worker",
    "clusters.torque": "TORQUE",
    "collection": "JobCollection",
    "configuration": "find_conf_file",
    "default": (
        "add_algorithm add_experiments add_job_tags add_problem as_completed batch_export "
        "batch_map batch_map_results batch_reduce check_registry clear_registry "
        "estimate_runtimes explain find_done find_errors find_experiments find_expired "
        "find_jobs find_not_done find_not_started find_not_submitted find_on_system "
        "find_queued find_running find_started find_submitted find_tagged "
        "get_default_registry get_error_messages get_job_names get_job_pars get_job_resources "
        "get_job_status get_job_table get_job_tags get_log get_status get_used_job_tags "
        "grep_logs iter_results kill_jobs load_result make_job make_job_collection "
        "plan_submission reduce_results reduce_results_list reduce_results_table "
        "remove_algorithms remove_experiments remove_job_tags remove_problems remove_registry "
        "reset_jobs retry_jobs save_registry set_default_registry set_job_names show_log "
        "submit_jobs summarize_experiments summarize_usage sweep_registry sync_registry "
        "test_job wait_for_jobs "
    ),
    "definition": "grid",
    "errors": (
        "BatchwrightError ConfigError CorruptRegistryError DefinitionError JobError "
        "JobNotDoneError JobsOnSystemError NoDefaultRegistryError OwnershipLostError "
        "ReadOnlyRegistryError RegistryExistsError RegistryLockedError RegistryNotFoundError "
        "RegistryVersionError SchedulerError SubmitError TemplateError UnknownJobError "
    ),
    "explaining": "Evidence Explanation",
    "ids": "IdsLike JobIds",
    "joins": "ajoin ijoin ljoin ojoin rjoin sjoin ujoin",
    "merging": "merge_registries",
    "opening": "load_registry make_experiment_registry make_registry",
    "preview": "SubmissionPlan",
    "registry": "ExperimentRegistry Registry",
    "retrying": "GROW RETRYABLE",
    "running": "do_job_collection",
    "runtimes": "RuntimeEstimate",
    "status": "Status",
    "tables": "unwrap",
    "templates": "find_template render_script",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        if name == "__version__":
            from batchwright import store

            return store.version()
        raise AttributeError(f"module 'batchwright' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"batchwright.{module}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
