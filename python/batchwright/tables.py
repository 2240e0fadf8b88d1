"""Jobs as tables: status, parameters, resources, tags, and all of them side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from batchwright.columns import as_text, chunked, common_type, from_json, table_of
from batchwright.errors import DefinitionError
from batchwright.ids import IdsLike, JobIds, all_jobs, selected
from batchwright.segments import (
    Parameter,
    Segment,
    empty_segments,
    is_experiments,
    segments,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry

STATUS_COLUMNS: Final = (
    "job_id",
    "submitted",
    "started",
    "done",
    "error",
    "mem_used",
    "batch_id",
    "log_file",
    "job_hash",
    "job_name",
    "time_queued",
    "time_running",
    "state",
    "attempt",
    "cause",
    "host",
)


def get_job_table(reg: Registry, ids: IdsLike = None) -> pa.Table:
    """Give all there is to know about jobs: status, parameters, resources and tags.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; all by default.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> ids = reg.batch_map(lambda x, y: x + y, x=[1, 2], y=[0.5, 1.0])
    >>> reg.get_job_table().select(["job_id", "state", "job_pars"]).to_pylist()[0]
    {'job_id': 1, 'state': 'defined', 'job_pars': {'x': 1, 'y': 0.5}}
    """
    chosen = _chosen(reg, ids)
    status = _status(reg, chosen)
    table = status.select(list(STATUS_COLUMNS))
    for name, column in _parameter_columns(reg, chosen).items():
        table = table.append_column(name, column)
    table = table.append_column("resources", from_json(status["resources"]))
    return table.append_column("tags", status["tags"])


def get_job_status(reg: Registry, ids: IdsLike = None) -> pa.Table:
    """Give the status columns of the job table. See `get_job_table`."""
    return _status(reg, _chosen(reg, ids)).select(list(STATUS_COLUMNS))


def get_job_pars(reg: Registry, ids: IdsLike = None) -> pa.Table:
    """Give the parameters of jobs.

    In a plain registry as a struct column `job_pars`, in an experiment registry as `problem`,
    `algorithm`, `prob_pars`, `algo_pars` and `repl`. Numbers of several calls meet in float64;
    where calls disagree otherwise, or values are pickled, a column shows text. `unwrap` makes
    columns of the structs.

    Parameters
    ----------
    reg
        The registry.
    ids
        Which jobs; all by default.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(file_dir=None, make_default=False)
    >>> ids = reg.batch_map(lambda x: x, x=["a", "b"])
    >>> bw.unwrap(reg.get_job_pars()).to_pylist()
    [{'job_id': 1, 'x': 'a'}, {'job_id': 2, 'x': 'b'}]
    """
    import pyarrow as pa

    chosen = _chosen(reg, ids)
    return pa.table({"job_id": pa.table(chosen)["job_id"], **_parameter_columns(reg, chosen)})


def get_job_resources(reg: Registry, ids: IdsLike = None) -> pa.Table:
    """Give what jobs were last submitted with; null where never. See `get_job_table`."""
    import pyarrow as pa

    status = _status(reg, _chosen(reg, ids))
    return pa.table({"job_id": status["job_id"], "resources": from_json(status["resources"])})


def get_job_tags(reg: Registry, ids: IdsLike = None) -> pa.Table:
    """Give the tags of jobs, an empty list where there is none. See `get_job_table`."""
    return _status(reg, _chosen(reg, ids)).select(["job_id", "tags"])


def unwrap(
    table: Any, cols: str | Iterable[str] | None = None, *, sep: str | None = None
) -> pa.Table:
    """Make columns of the fields of struct columns, one level deep.

    Parameters
    ----------
    table
        Any table: pyarrow, pandas, polars, whatever speaks Arrow.
    cols
        The columns to open; all struct columns by default.
    sep
        Names the new columns `<column><sep><field>` instead of `<field>`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"job_id": [1, 2], "result": [{"a": 1}, {"a": 2}]})
    >>> unwrap(table).column_names, unwrap(table, sep=".").column_names
    (['job_id', 'a'], ['job_id', 'result.a'])
    """
    source = table_of(table)
    opened = _to_open(source, cols)
    columns = [(name, source[name]) for name in source.column_names if name not in opened]
    for name in opened:
        fields = [field.name for field in source.schema.field(name).type]
        prefix = "" if sep is None else name + sep
        names = [prefix + field for field in fields]
        columns.extend(zip(names, source[name].flatten() if names else [], strict=True))
    return _without_clash(columns)


def _to_open(table: pa.Table, cols: str | Iterable[str] | None) -> list[str]:
    from pyarrow import types as of

    structs = [field.name for field in table.schema if of.is_struct(field.type)]
    if cols is None:
        return structs
    wanted = dict.fromkeys([cols] if isinstance(cols, str) else cols)
    for name in wanted:
        if name not in table.column_names:
            raise DefinitionError(
                f"there is no column {name!r}; the table has {', '.join(table.column_names)}"
            )
        if name not in structs:
            raise DefinitionError(
                f"column {name!r} holds {table.schema.field(name).type}; only structs unwrap"
            )
    return [name for name in structs if name in wanted]


def _without_clash(columns: Sequence[tuple[str, pa.ChunkedArray]]) -> pa.Table:
    import pyarrow as pa

    names = [name for name, _ in columns]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DefinitionError(
            f"several columns would be called {', '.join(map(repr, twice))}; "
            "pass sep, such as sep='.', to name them after their struct"
        )
    return pa.table([column for _, column in columns], names=names)


def _chosen(reg: Registry, ids: IdsLike) -> JobIds:
    reg.store.update()
    return selected(reg.store, ids, lambda: all_jobs(reg.store))


def _status(reg: Registry, ids: JobIds) -> pa.Table:
    import pyarrow as pa

    return pa.table(reg.store.core.status(ids.core))


def _parameter_columns(reg: Registry, ids: JobIds) -> dict[str, pa.ChunkedArray]:
    # Without jobs the columns are those of all, so that they can be asked for anyway.
    found = list(segments(reg.store, ids)) or list(empty_segments(reg.store))
    if not is_experiments(reg.store):
        return {"job_pars": _structs(found, "job_pars")}
    return {
        "problem": _fixed(found, "problem", "string"),
        "algorithm": _fixed(found, "algorithm", "string"),
        "prob_pars": _structs(found, "prob_pars"),
        "algo_pars": _structs(found, "algo_pars"),
        "repl": _fixed(found, "repl", "int64"),
    }


def _fixed(found: Sequence[Segment], name: str, type: str) -> pa.ChunkedArray:
    import pyarrow as pa

    return chunked([segment.columns[name] for segment in found], pa.type_for_alias(type))


def _structs(found: Sequence[Segment], group: str) -> pa.ChunkedArray:
    """Give the parameters as one struct column, a chunk for each segment."""
    import pyarrow as pa

    held = [segment.groups[group] for segment in found]
    names = list(dict.fromkeys(name for parameters in held for name in parameters))
    lengths = [len(segment.job_ids) for segment in found]
    fields = {name: parameter_column([pars.get(name) for pars in held], lengths) for name in names}
    type = pa.struct([(name, column.type) for name, column in fields.items()])
    if not names:
        return pa.chunked_array([pa.array([{}] * length, type) for length in lengths], type)
    pieces = [
        pa.StructArray.from_arrays([fields[name].chunk(i) for name in names], names)
        for i in range(len(found))
    ]
    return pa.chunked_array(pieces, type)


def parameter_column(pieces: Sequence[Parameter | None], lengths: Sequence[int]) -> pa.ChunkedArray:
    """Give one parameter over all segments, null where a segment has none."""
    import pyarrow as pa

    given = [piece for piece in pieces if piece is not None]
    type = None
    if not any(piece.is_text for piece in given):
        type = common_type(piece.shown.type for piece in given)
    show = _values if type is not None else _text
    target = pa.large_string() if type is None else type
    columns = [
        pa.nulls(length, target) if piece is None else show(piece)
        for piece, length in zip(pieces, lengths, strict=True)
    ]
    return chunked(columns, target)


def _values(parameter: Parameter) -> pa.Array:
    return parameter.shown


def _text(parameter: Parameter) -> pa.Array:
    return parameter.shown if parameter.is_text else as_text(parameter.shown)
