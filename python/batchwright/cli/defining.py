"""`init`: a registry from a function and a table of its arguments."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

import batchwright as bw
from batchwright import errors
from batchwright.cli.endings import tell
from batchwright.cli.opening import common_options, writing
from batchwright.cli.output import write_json
from batchwright.cli.selection import ids_text

if TYPE_CHECKING:
    from types import ModuleType

    from batchwright.registry import Registry

_RANGE: Final = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(\d+))?")
_LONGEST_RANGE: Final = 100_000_000


@click.command()
@click.argument("function", required=False)
@click.argument("columns", nargs=-1, metavar="[NAME=VALUES]...")
@click.option(
    "-t",
    "--table",
    "table_path",
    metavar="FILE",
    help="Arguments, a job a row: CSV, TSV, Parquet, JSON, JSON lines by the name's ending; "
    "- reads CSV from stdin.",
)
@click.option("--grid", is_flag=True, help="Make a job of each combination of the NAME=VALUES.")
@click.option(
    "--more",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument that all jobs share; JSON, or a text.",
)
@click.option("--append", is_flag=True, help="Add the jobs to a registry that is there.")
@click.option("--seed", type=int, help="From which the seeds of the jobs follow.")
@click.option("--work-dir", type=click.Path(path_type=Path), help="Where jobs run; default here.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Import it on the node.")
@click.option(
    "--source", multiple=True, metavar="FILE", help="Run this Python file on the node first."
)
@click.option(
    "--access",
    type=click.Choice(["private", "group", "public"]),
    default="private",
    show_default=True,
    help="Who may read the registry.",
)
@click.option(
    "--conf", type=click.Path(path_type=Path), help="The configuration file, instead of a search."
)
@common_options
def init(
    registry: Path,
    as_json: bool,
    function: str | None,
    columns: tuple[str, ...],
    table_path: str | None,
    grid: bool,
    more: tuple[str, ...],
    append: bool,
    seed: int | None,
    work_dir: Path | None,
    imports: tuple[str, ...],
    source: tuple[str, ...],
    access: str,
    conf: Path | None,
) -> None:
    """Make a registry, and jobs in it.

    FUNCTION is MODULE:NAME or FILE.py:NAME. Each further NAME=VALUES is a column of its
    arguments: 1,2,3 or a,b,c or a range 1..100 or 0..100..5, or a JSON list. One value goes for
    all jobs. Without FUNCTION the registry has no jobs yet.

    \b
    Examples:
      batchwright init study.py:simulate n=10,100 rate=0.5,1,2 --grid
      batchwright init package.module:fit --table designs.csv --more folds=10
      batchwright init study.py:simulate -r other --append n=1000 rate=1
    """  # noqa: D301 - click's mark of text that keeps its lines
    if function is None:
        if columns or table_path or more:
            raise click.UsageError("arguments need a function: give MODULE:NAME or FILE.py:NAME")
        jobs = None
    else:
        fun = find_function(function)
        jobs = (fun, _arguments(columns, table_path, grid=grid), _shared(more))
    if append:
        if seed is not None or work_dir or imports or source or access != "private" or conf:
            raise click.UsageError("--append changes no settings; leave the other options out")
        opened = writing(registry)
    else:
        settings: dict[str, Any] = {"seed": seed, "access": access}
        settings |= {"work_dir": work_dir, "imports": imports, "source": source}
        opened = _made(registry, {**settings, **({"conf_file": conf} if conf else {})})
    with opened as reg:
        ids = bw.JobIds()
        if jobs is not None:
            fun, arguments, shared = jobs
            ids = reg.batch_map(fun, args=arguments, more_args=shared or None, append=append)
    if as_json:
        write_json({"registry": str(reg.file_dir), "jobs": len(ids), "ids": ids_text(ids)})
    else:
        tell(f"{len(ids)} {'job' if len(ids) == 1 else 'jobs'} defined in `{registry}`")


@contextlib.contextmanager
def _made(folder: Path, settings: Mapping[str, Any]) -> Generator[Registry]:
    """Make a registry that stays only if the block succeeds."""
    reg = bw.make_registry(folder, make_default=False, **settings)
    try:
        yield reg
    except BaseException:
        reg.remove_registry(wait=0)
        raise
    reg.store.close()


def find_function(target: str) -> Callable[..., Any]:
    """Give the function that MODULE:NAME or FILE.py:NAME names."""
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise click.UsageError(f"{target!r} names no function: give MODULE:NAME or FILE.py:NAME")
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            near = _near(part, module)
            raise errors.DefinitionError(f"`{where}` has no `{name}`{near}")
    if not callable(found):
        raise errors.DefinitionError(f"`{target}` is {found!r:.80}, which cannot be called")
    return cast("Callable[..., Any]", found)


def _near(name: str, module: ModuleType) -> str:
    import difflib

    names = [known for known in vars(module) if not known.startswith("_")]
    near = difflib.get_close_matches(name, names, n=1)
    return f": did you mean `{near[0]}`?" if near else ""


def _module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise click.UsageError(f"{name!r} is neither a module nor a file that ends in .py")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return _run(f"module `{name}`", lambda: importlib.import_module(name))


def _file(path: Path) -> ModuleType:
    """Run a file as a module that no other process finds, so that its functions go by value."""
    if not path.is_file():
        raise click.UsageError(f"`{path}` is no file")
    beside = str(path.absolute().parent)
    if beside not in sys.path:
        sys.path.insert(0, beside)
    name = "file_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise click.UsageError(f"`{path}` is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    run = spec.loader.exec_module
    _run(f"`{path}`", lambda: run(module))
    return module


def _run(what: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        raise errors.DefinitionError(f"{what} cannot be imported: {text}") from error


def _arguments(columns: Sequence[str], table_path: str | None, *, grid: bool) -> Mapping[str, Any]:
    inline: dict[str, list[Any]] = {}
    for text in columns:
        name, values = _named(text)
        if name in inline:
            raise click.UsageError(f"column `{name}` is given twice")
        inline[name] = parse_values(values)
    if grid and table_path:
        raise click.UsageError("--grid combines NAME=VALUES, not the rows of a table")
    table: Mapping[str, Any] = read_table(table_path) if table_path else {}
    twice = [name for name in inline if name in table]
    if twice:
        raise click.UsageError(f"column `{twice[0]}` is in the table and on the command line")
    if not table and not inline:
        raise click.UsageError("no arguments: give NAME=VALUES or --table FILE")
    if grid:
        combined = bw.grid(**cast("dict[str, Any]", inline))
        return {name: combined[name] for name in combined.column_names}
    # One value goes for all jobs, unless all columns have only one.
    several = bool(table) or any(len(values) != 1 for values in inline.values())
    return {
        **table,
        **{n: v[0] if several and len(v) == 1 else v for n, v in inline.items()},
    }


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"{text!r} is not NAME=VALUES, with a parameter's name")
    return name, value


def _shared(more: Sequence[str]) -> dict[str, Any]:
    return {name: parse_value(value) for name, value in map(_named, more)}


def parse_value(text: str) -> Any:
    """Read one value: JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def parse_values(text: str) -> list[Any]:
    """Read values: a JSON list, a range, or a list with commas that is all numbers or all texts."""
    if text.startswith("["):
        try:
            return list(json.loads(text))
        except ValueError as error:
            raise click.UsageError(f"{text!r} is no JSON list: {error}") from None
    match = _RANGE.fullmatch(text)
    if match:
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        found = range(first, last + 1, step) if step else range(0)
        if not 0 < len(found) <= _LONGEST_RANGE:
            raise click.UsageError(f"the range {text!r} has no values, or too many")
        return list(found)
    parts = text.split(",")
    for kinds in (int, float, _truth):
        with contextlib.suppress(ValueError, KeyError):
            return [kinds(part) for part in parts]
    return parts


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def read_table(path: str) -> Mapping[str, Any]:
    """Read the columns of a file."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        if path == "-":
            table = csv.read_csv(pa.BufferReader(sys.stdin.buffer.read()))
        else:
            table = _read(Path(path))
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError) as error:
        raise click.UsageError(f"table `{path}` cannot be read: {error}") from error
    if table.num_rows == 0:
        raise click.UsageError(f"table `{path}` has no rows, so it makes no jobs")
    names = table.column_names
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise click.UsageError(f"table `{path}` has several columns `{twice[0]}`")
    return {name: table[name] for name in names}


def _read(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv, parquet
    from pyarrow import json as lines

    suffix = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    match suffix.lower():
        case ".csv":
            return csv.read_csv(path)
        case ".tsv":
            return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t"))
        case ".parquet" | ".pq":
            return parquet.read_table(path)
        case ".jsonl" | ".ndjson":
            return lines.read_json(path)
        case ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
            return pa.table(found) if isinstance(found, dict) else pa.Table.from_pylist(found)
        case _:
            raise click.UsageError(
                f"`{path}` does not tell its format: name it .csv, .tsv, .parquet, .json or .jsonl"
            )
