"""How long jobs will take, judged by those that are done."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batchwright.columns import table_of
from batchwright.errors import DefinitionError, JobNotDoneError
from batchwright.ids import selected
from batchwright.status import find_done
from batchwright.tables import get_job_status, unwrap

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from batchwright.registry import Registry


@dataclass(frozen=True, slots=True)
class RuntimeEstimate:
    """Run times of jobs: observed where they are done, else estimated."""

    table: pa.Table
    """`job_id`, `type` (`observed` or `estimated`) and `runtime` in seconds."""
    model: Any
    """The fitted model; None if all jobs are done."""

    def __str__(self) -> str:
        return self.describe()

    def describe(self, n: int = 1) -> str:
        """Sum up, for `n` jobs at a time."""
        import numpy as np

        from batchwright.chunking import lpt

        runtime = self.table["runtime"].to_numpy()
        is_open = np.array([kind == "estimated" for kind in self.table["type"].to_pylist()], bool)
        lines = {
            "done": runtime[~is_open].sum(),
            "remaining": runtime[is_open].sum(),
            "total": runtime.sum(),
        }
        if n > 1 and is_open.any():
            loads = np.bincount(lpt(runtime[is_open], n), weights=runtime[is_open])
            lines[f"remaining, {n} at a time"] = loads.max()
        width = max(map(len, lines))
        told = [f"  {name:<{width}} : {_duration(value)}" for name, value in lines.items()]
        return "\n".join([f"Run time of {len(runtime)} jobs:", *told])


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def estimate_runtimes(reg: Registry, table: Any, **model_args: Any) -> RuntimeEstimate:
    """Estimate how long jobs will take from those of them that are done.

    A random forest of scikit-learn (`pip install batchwright[runtimes]`) learns the run times from
    the columns of the table. `lpt` and `binpack` make chunks of the result.

    Parameters
    ----------
    reg
        The registry.
    table
        A column `job_id`, and columns that tell how long a job takes, as `get_job_pars` gives
        them. Structs are opened, texts and other values are told apart.
    model_args
        Arguments of `sklearn.ensemble.RandomForestRegressor`.

    Raises
    ------
    JobNotDoneError
        If none of the jobs is done, so that there is nothing to learn from.
    """
    import numpy as np
    import pyarrow as pa

    source = table_of(table)
    if "job_id" not in source.column_names:
        raise DefinitionError(
            f"the table has no column 'job_id'; it has {', '.join(source.column_names)}"
        )
    opened = unwrap(source)
    features = [name for name in opened.column_names if name != "job_id"]
    jobs = np.asarray(opened["job_id"].to_numpy())
    if len(np.unique(jobs)) < len(jobs):
        raise DefinitionError("the table has jobs twice: it needs one row a job")
    reg.store.update()
    done = find_done(reg, selected(reg.store, jobs, lambda: find_done(reg)))
    if not done:
        raise JobNotDoneError("no job of the table is done: submit some to learn from first")
    status = get_job_status(reg, done)
    runtime = np.full(len(jobs), np.nan)
    order = np.argsort(jobs)
    place = order[np.searchsorted(jobs[order], status["job_id"].to_numpy())]
    runtime[place] = status["time_running"].cast("int64").to_numpy() / 1e6
    is_done = ~np.isnan(runtime)
    kinds = np.where(is_done, "observed", "estimated")
    model = None
    if not is_done.all():
        if not features:
            raise DefinitionError("the table has no column besides 'job_id' to estimate from")
        design = np.column_stack([_feature(opened[name]) for name in features])
        model = _forest({"random_state": reg.seed, **model_args})
        model.fit(design[is_done], runtime[is_done])
        runtime[~is_done] = model.predict(design[~is_done])
    found = pa.table({"job_id": opened["job_id"], "type": kinds, "runtime": runtime})
    return RuntimeEstimate(found, model)


def _feature(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Give a column as numbers; of what is no number, each value gets one by its order."""
    import numpy as np
    from pyarrow import types as of

    if of.is_integer(column.type) or of.is_floating(column.type) or of.is_boolean(column.type):
        return column.cast("float64").to_numpy(zero_copy_only=False)
    if of.is_temporal(column.type) and column.type.bit_width == 64:
        return column.cast("int64").cast("float64", safe=False).to_numpy(zero_copy_only=False)
    texts = [None if value is None else str(value) for value in column.to_pylist()]
    codes = {text: code for code, text in enumerate(sorted({t for t in texts if t is not None}))}
    return np.array([np.nan if text is None else codes[text] for text in texts], dtype=float)


def _forest(arguments: dict[str, Any]) -> Any:
    try:
        ensemble = importlib.import_module("sklearn.ensemble")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "estimate_runtimes needs scikit-learn: pip install 'batchwright[runtimes]'",
            name=error.name,
        ) from error
    return ensemble.RandomForestRegressor(**arguments)
