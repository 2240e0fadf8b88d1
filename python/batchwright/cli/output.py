"""Data on standard output: for people in a terminal, as plain text in a pipe, as JSON."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from batchwright.cli.endings import printable, tell

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS: Final = ("csv", "json", "jsonl", "parquet", "tsv")
_SUFFIXES: Final = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl", ".pq": "parquet"}
_BATCH: Final = 10_000
_SHOWN: Final = 200
"""Rows that a terminal gets, unless it asks for more."""


def is_terminal() -> bool:
    """Whether somebody looks at standard output."""
    return sys.stdout.isatty()


def write_line(text: str) -> None:
    """Write a line as it stands: a pipe gets the colours that a job printed, too."""
    click.echo(text, color=True)


def write_json(value: object) -> None:
    """Write one value as JSON on a line."""
    write_line(_as_json(value))


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)
    except ValueError:
        return json.dumps(_finite(value), default=_plain, ensure_ascii=False)


def _plain(value: Any) -> object:
    """Give what JSON has no form for: times as ISO 8601, durations in seconds."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(cast("set[Any]", value), key=repr)
    return str(value)


def _finite(value: object) -> object:
    """Put null where JSON has no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {str(key): _finite(one) for key, one in items}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in cast("Sequence[object]", value)]
    if isinstance(value, str | int | None):
        return value
    return _finite(_plain(value))


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_BATCH):
        yield from batch.to_pylist()


def show(
    table: pa.Table,
    *,
    as_json: bool,
    columns: Sequence[str] | None = None,
    limit: int = _SHOWN,
) -> None:
    """Write a table to standard output.

    Parameters
    ----------
    columns
        What people in a terminal see first; all others get every column.
    limit
        How many rows a terminal gets; 0 for all.
    """
    if as_json:
        _write_text(_json_lines(table))
    elif is_terminal():
        chosen = [name for name in columns or table.column_names if name in table.column_names]
        _show_rich(table.select(chosen), limit)
    else:
        _write_text(_tsv_lines(table))


def save(table: pa.Table, format: str, output: Path | None) -> None:
    """Write a table as a file, which appears whole, or to standard output."""
    if output is None and format == "parquet" and is_terminal():
        raise click.UsageError("a terminal cannot show Parquet: give --output, or pipe it")
    write = _writer(table, format)
    if output is None:
        stdout = sys.stdout.buffer
        write(stdout.write)
        stdout.flush()
        return
    if output.exists() and not output.is_file():
        # A device or a pipe is written to, never replaced.
        with output.open("wb") as file:
            write(file.write)
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with partial.open("xb") as file:
            write(file.write)
        partial.replace(output)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def format_of(format: str | None, output: Path | None) -> str | None:
    """Give the format that was named, or that a file's name tells."""
    if format is not None or output is None:
        return format
    known = _SUFFIXES.get(output.suffix.lower())
    if known is None:
        raise click.UsageError(
            f"`{output}` does not tell its format by its name: add --format {'|'.join(FORMATS)}"
        )
    return known


def _writer(table: pa.Table, format: str) -> Callable[[Callable[[bytes], object]], None]:
    def write(sink: Callable[[bytes], object]) -> None:
        if format == "parquet":
            import pyarrow as pa
            from pyarrow import parquet

            buffer = pa.BufferOutputStream()
            parquet.write_table(table, buffer)
            sink(buffer.getvalue().to_pybytes())
        elif format == "csv":
            import pyarrow as pa
            from pyarrow import csv

            buffer = pa.BufferOutputStream()
            csv.write_csv(_flat(table), buffer)
            sink(buffer.getvalue().to_pybytes())
        else:
            lines = {"json": _json_lines, "jsonl": _jsonl_lines, "tsv": _tsv_lines}[format]
            for text in lines(table):
                sink(f"{text}\n".encode("utf-8", "backslashreplace"))

    return write


def _flat(table: pa.Table) -> pa.Table:
    """Give a table of what CSV can hold: nested values as JSON, durations in seconds."""
    import pyarrow as pa
    from pyarrow import types as of

    columns: list[pa.ChunkedArray] = []
    for field in table.schema:
        column = table[field.name]
        if of.is_nested(field.type) or of.is_binary(field.type) or of.is_large_binary(field.type):
            texts = [None if value is None else _as_json(value) for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        elif of.is_duration(field.type):
            seconds = [None if v is None else v.total_seconds() for v in column.to_pylist()]
            column = pa.chunked_array([pa.array(seconds, pa.float64())])
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def _write_text(lines: Iterator[str]) -> None:
    for text in lines:
        write_line(text)


def _json_lines(table: pa.Table) -> Iterator[str]:
    """Give an array with a row a line."""
    if table.num_rows == 0:
        yield "[]"
        return
    last = table.num_rows - 1
    for at, row in enumerate(_rows(table)):
        yield f"{'[' if at == 0 else ' '}{_as_json(row)}{']' if at == last else ','}"


def _jsonl_lines(table: pa.Table) -> Iterator[str]:
    return map(_as_json, _rows(table))


def _tsv_lines(table: pa.Table) -> Iterator[str]:
    yield "\t".join(map(_cell, table.column_names))
    for row in _rows(table):
        yield "\t".join(map(_cell, row.values()))


def _cell(value: object) -> str:
    """Give a value as text without the characters that end a cell; times in UTC."""
    text = value.isoformat() if isinstance(value, datetime) else _shown(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6g}"
    if isinstance(value, list):
        return ",".join(map(_shown, cast("list[object]", value)))
    return _as_json(value)


def _show_rich(table: pa.Table, limit: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        number = str(field.type) in ("int64", "int32", "double", "duration[us]")
        shown.add_column(Text(printable(field.name)), justify="right" if number else "left")
    rows = table if limit == 0 else table.slice(0, limit)
    for row in _rows(rows):
        shown.add_row(*(Text(printable(_shown(value))) for value in row.values()))
    console.print(shown)
    if rows.num_rows < table.num_rows:
        tell(f"{table.num_rows - rows.num_rows} more rows; `--limit 0` shows all")
