"""Trying out one job before thousands are submitted; the registry stays as it is."""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from batchwright import ids as job_ids
from batchwright import parameters, resources, store
from batchwright._node.compression import decompressed
from batchwright.clusters.interactive import in_process, run_executor
from batchwright.collection import header, new_chunk
from batchwright.debugging import is_debugging
from batchwright.errors import JobError
from batchwright.executor import executor
from batchwright.ids import IdsLike
from batchwright.segments import GROUP_PREFIXES
from batchwright.trust import ensure_trusted

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright import _core
    from batchwright.registry import Registry


_OTHERS: Final = "\x1fothers"
"""A problem that stands for all jobs before the one that is tried out."""


def test_job(reg: Registry, id: IdsLike, *, external: bool = False) -> Any:
    """Run one job now and give its result.

    Parameters
    ----------
    id
        The job.
    external
        Whether to run it in a fresh process, as on a node. Without, it runs here, and what it
        raises is raised, so that a debugger can look at it.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1, -2])
    >>> reg.test_job(2)
    2
    """
    job = job_ids.single(reg.store, id)
    ensure_trusted(reg.store)
    return _externally(reg, job) if external else _here(reg, job)


# pytest takes the name for that of a test.
test_job.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def _here(reg: Registry, job: int) -> Any:
    segment, row = reg.store.core.row(job)
    described = json.loads(header(reg))
    described["python"]["calls"] = [json.loads(reg.store.core.call(segment))]
    described["resources"] = resources.merge(reg.default_resources)
    with in_process(described, reg.file_dir) as prepared:
        if isinstance(prepared, BaseException):
            raise prepared
        return prepared.run(job, 1, 0, row)


def _externally(reg: Registry, job: int) -> Any:
    """Run the job in a registry of its own that holds the same job under the same id."""
    with tempfile.TemporaryDirectory(prefix="batchwright-test-") as folder:
        root = Path(folder) / "registry"
        core = store.create(root, reg.store.core.kind, reg.seed, "private")
        try:
            chunk = _intend_copy(reg, core, job)
            uri = root / "jobs" / chunk[:2] / f"{chunk}.bwc"
            core.submitted(chunk, ["test"], None)
            output = root / "output"
            run_executor((str(executor()), "run", str(uri)), output)
            core.sync()
            _show_log(core, job)
            return _outcome(core, job, output)
        finally:
            core.close()


def _intend_copy(reg: Registry, core: _core.Store, job: int) -> str:
    import numpy as np
    import pyarrow as pa

    source = reg.store.core
    segment, _ = source.row(job)
    described = json.loads(header(reg))
    call = json.loads(source.call(segment))
    row = pa.table(source.parameters(segment, job_ids.JobIds([job]).core))
    copy = _copy_experiment if call["kind"] == "experiment" else _copy_call
    hashes = copy(core, call, row, job)
    python = described["python"]
    _copy_objects(source, core, {*hashes, *python["exports"].values(), *python["hooks"].values()})
    asked = resources.merge(reg.default_resources)
    chunk = new_chunk()
    core.intend(
        [chunk],
        np.array([job], dtype=np.int64),
        np.array([0, 1], dtype=np.int64),
        json.dumps(described),
        [resources.as_json(asked)],
        [resources.limits(asked, debug=is_debugging(), runs_setup=False)],
        np.zeros(1, dtype=np.int32),
        "test",
        False,
    )
    return chunk


def _copy_call(core: _core.Store, call: dict[str, Any], row: pa.Table, job: int) -> set[Any]:
    """Define the job under its id, and give the objects that it needs."""
    import pyarrow as pa

    if job > 1:
        # Its id decides its random numbers, so those before it are taken.
        core.define(pa.table({"none": pa.nulls(job - 1)}), json.dumps(call))
    core.define(row.drop_columns(["job_id"]), json.dumps(call))
    return {call["fun"], call["more_args"], *_large(row)}


def _copy_experiment(core: _core.Store, call: dict[str, Any], row: pa.Table, job: int) -> set[Any]:
    """Define the experiment under its id, and give the objects that it needs."""
    problem, algorithm = call["problem"], call["algorithm"]
    core.put_problem(problem["name"], json.dumps(problem))
    core.put_algorithm(algorithm["name"], json.dumps(algorithm))
    tables = {group: _design(row, prefix) for group, prefix in GROUP_PREFIXES.items()}
    (repl,) = row["repl"].to_pylist()

    def add(name: str, repls: int) -> None:
        if repls:
            core.add_experiments(
                [(name, tables["prob_pars"], repls)],
                [(algorithm["name"], tables["algo_pars"])],
                False,
            )

    # Lower replications come first, and then others until its id is the next.
    add(problem["name"], repl - 1)
    add(_OTHERS, job - repl)
    add(problem["name"], repl)
    return {problem["fun"], problem["data"], algorithm["fun"], *_large(row)}


def _design(row: pa.Table, prefix: str) -> pa.Table | None:
    names = [name for name in row.column_names if name.startswith(prefix)]
    if not names:
        return None
    return row.select(names).rename_columns([name.removeprefix(prefix) for name in names])


def _large(row: pa.Table) -> set[str]:
    """Name the values that lie apart."""
    found: set[str] = set()
    for field in row.schema:
        if parameters.is_pickled(field):
            (value,) = row[field.name].to_pylist()
            found |= {value[1:].decode()} if value and value[:1] == b"R" else set()
    return found


def _copy_objects(source: _core.Store, target: _core.Store, hashes: set[Any]) -> None:
    for name in hashes - {None}:
        target.put_object(source.get_object(name))


def _show_log(core: _core.Store, job: int) -> None:
    log = core.log(job)
    if log:
        sys.stdout.write(log.decode(errors="replace"))
        sys.stdout.flush()


def _outcome(core: _core.Store, job: int, output: Path) -> Any:
    import numpy as np

    ids = job_ids.JobIds([job])
    if core.where("done", ids.core, None):
        batch = core.results(np.array([job], dtype=np.int64)).next_batch() or []
        return pickle.loads(decompressed(batch[0]))
    if core.where("error", ids.core, None):
        cause, kind, message, traceback = core.failure(job)
        raise JobError(
            f"job {job} failed ({cause}): {kind}: {message}",
            job_id=job,
            cause=cause,
            type=kind,
            message=message,
            traceback=traceback,
        )
    said = output.read_text(errors="replace").strip() if output.exists() else ""
    raise JobError(
        f"job {job} did not run: {said or 'the executor said nothing'}",
        job_id=job,
        cause="not_started",
    )
