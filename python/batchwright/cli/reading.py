"""What jobs printed, are, gave and used, and why.

`log`, `grep`, `errors`, `explain`, `table`, `results`, `usage`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

import batchwright as bw
from batchwright.cli.defining import find_function
from batchwright.cli.endings import fail, printable, tell
from batchwright.cli.opening import common_options, find_modules, reading
from batchwright.cli.output import (
    FORMATS,
    format_of,
    is_terminal,
    save,
    show,
    write_json,
    write_line,
)
from batchwright.cli.selection import Selection, with_selection

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry

_IN_A_TERMINAL: Final = ("job_id", "job_name", "state", "cause", "attempt", "time_running")
_MORE_IN_A_TERMINAL: Final = ("mem_used", "host", "tags")

limit_option = click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    metavar="N",
    help="Rows that a terminal shows; 0 for all.",
)


def file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that say where and how a table is written."""
    formats = click.option(
        "-f", "--format", "format", type=click.Choice(FORMATS), help="How to write the table."
    )
    output = click.option(
        "-o",
        "--output",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write to a file, whose name's ending tells the format.",
    )
    return formats(output(command))


@click.command()
@click.argument("job", type=click.IntRange(min=1))
@common_options
def log(registry: Path, as_json: bool, job: int) -> None:
    """Print what one job printed in its newest attempt.

    \b
    Examples:
      batchwright log 3
      batchwright log 3 | less -R
    """  # noqa: D301 - click's mark of text that keeps its lines
    lines = reading(registry).get_log(job)
    if as_json:
        write_json({"job_id": job, "lines": lines})
        return
    for line in lines:
        write_line(line)


@click.command()
@click.argument("pattern")
@click.option("-i", "--ignore-case", is_flag=True, help="Upper and lower case are the same.")
@click.option("-F", "--fixed", is_flag=True, help="The pattern is a text, no expression.")
@with_selection
@common_options
def grep(
    registry: Path,
    as_json: bool,
    selection: Selection,
    pattern: str,
    ignore_case: bool,
    fixed: bool,
) -> None:
    """Search the logs of jobs for a regular expression; those started by default.

    Each matching line is printed behind the job's id. Ends with 1 if nothing matched.

    \b
    Examples:
      batchwright grep -i warning
      batchwright grep 'loss: nan' --state done
    """  # noqa: D301 - click's mark of text that keeps its lines
    reg = reading(registry)
    table = reg.grep_logs(
        selection.jobs(reg), pattern=pattern, ignore_case=ignore_case, fixed=fixed
    )
    if as_json:
        show(table, as_json=True)
    else:
        for row in table.to_pylist():
            for line in row["matches"].split("\n"):
                write_line(f"{row['job_id']}:{line}")
    if table.num_rows == 0:
        raise click.exceptions.Exit(1)


@click.command("errors")
@click.option("--full", is_flag=True, help="Whole messages, with their tracebacks.")
@click.option("--missing", is_flag=True, help="Also jobs that did not end.")
@limit_option
@with_selection
@common_options
def errors_(
    registry: Path, as_json: bool, selection: Selection, full: bool, missing: bool, limit: int
) -> None:
    """Tell what went wrong, a job a row; ends with 1 if nothing did.

    \b
    Examples:
      batchwright errors
      batchwright errors --ids 3 --full
    """  # noqa: D301 - click's mark of text that keeps its lines
    import pyarrow.compute as pc

    reg = reading(registry)
    chosen = selection.jobs(reg)
    if chosen is None and missing:
        chosen = reg.find_not_done()
    table = reg.get_error_messages(chosen, missing_as_error=missing)
    table = table.filter(pc.equal(table["error"], True))
    if as_json:
        show(table, as_json=True)
    elif full:
        for row in table.to_pylist():
            write_line(f"job {row['job_id']}:\n{(row['message'] or '').rstrip()}\n")
    elif table.num_rows:
        show(_summaries(reg, table), as_json=False, limit=limit)
    if table.num_rows == 0:
        tell("no job failed")
        raise click.exceptions.Exit(1)


def _summaries(reg: Registry, table: pa.Table) -> pa.Table:
    """Give the line of each message that says what happened, and the cause."""
    import pyarrow as pa

    lines = [_summary(message or "") for message in table["message"].to_pylist()]
    jobs = bw.JobIds(table["job_id"].to_numpy())
    causes = dict(
        zip(*reg.get_job_status(jobs).select(["job_id", "cause"]).to_pydict().values(), strict=True)
    )
    return pa.table(
        {
            "job_id": table["job_id"],
            "cause": pa.array([causes[job] for job in table["job_id"].to_pylist()], pa.string()),
            "message": pa.array(lines, pa.string()),
        }
    )


def _summary(message: str) -> str:
    """Give the line of a message that names the error: behind the last traceback, or the first."""
    lines = [line for line in message.splitlines() if line.strip()]
    summary = lines[0] if lines else ""
    in_traceback = False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            in_traceback = True
        elif in_traceback and not line.startswith((" ", "\t")):
            summary, in_traceback = line, False
    return summary


@click.command("table")
@click.option("--columns", metavar="NAMES", help="Only these, such as job_id,state,n.")
@limit_option
@file_options
@with_selection
@common_options
def table_(
    registry: Path,
    as_json: bool,
    selection: Selection,
    columns: str | None,
    limit: int,
    format: str | None,
    output: Path | None,
) -> None:
    """Show jobs, a row each: states, times, parameters, resources, tags.

    A terminal shows some columns, a pipe or file gets all, parameters as columns of their own;
    --json keeps them together. Ends with 1 if there is no such job.

    \b
    Examples:
      batchwright table --state error
      batchwright table --columns job_id,n,time_running | sort -t$'\\t' -k3 -n | tail
      batchwright table -o jobs.parquet
    """  # noqa: D301 - click's mark of text that keeps its lines
    chosen_format = format_of(format, output)
    reg = reading(registry)
    whole = reg.get_job_table(selection.jobs(reg))
    opened = whole if as_json and columns is None else _opened(whole)
    first = [*_IN_A_TERMINAL, *_MORE_IN_A_TERMINAL]
    at = [name for name in opened.column_names if name not in whole.column_names]
    first[2:2] = at
    if columns is not None:
        opened, first = _picked(opened, columns), columns.split(",")
    elif "job_name" in opened.column_names and not opened["job_name"].drop_null():
        first.remove("job_name")
    if chosen_format is not None and not as_json:
        save(opened, chosen_format, output)
    else:
        show(opened, as_json=as_json, columns=first, limit=limit)
    if whole.num_rows == 0:
        fail("no such job")


def _opened(table: pa.Table) -> pa.Table:
    """Make columns of parameters; named after their struct only where names clash."""
    names = ("job_pars", "prob_pars", "algo_pars", "resources")
    for name in names:
        if name not in table.column_names:
            continue
        fields = {field.name for field in table.schema.field(name).type}
        clash = name == "resources" or fields & set(table.column_names)
        table = bw.unwrap(table, name, sep="." if clash else None)
    return table


def _picked(table: pa.Table, columns: str) -> pa.Table:
    names = columns.split(",")
    for name in names:
        if name not in table.column_names:
            known = ", ".join(table.column_names)
            raise click.UsageError(f"there is no column {name!r}; there are {known}")
    return table.select(names)


@click.command()
@click.option("--pars", "with_pars", is_flag=True, help="With the parameters as first columns.")
@click.option(
    "--fun",
    metavar="FUNCTION",
    help="Applied to each result, as MODULE:NAME or FILE.py:NAME; builtins:repr gives texts.",
)
@click.option("--missing", is_flag=True, help="Empty rows for jobs without a result.")
@limit_option
@file_options
@with_selection
@common_options
def results(
    registry: Path,
    as_json: bool,
    selection: Selection,
    with_pars: bool,
    fun: str | None,
    missing: bool,
    limit: int,
    format: str | None,
    output: Path | None,
) -> None:
    """Write results as a table, a job a row; those done by default.

    A pipe gets CSV unless --format or --json says otherwise. Ends with 1 if there is none.

    \b
    Examples:
      batchwright results --pars > results.csv
      batchwright results -o results.parquet
      batchwright results --json | jq '.[].mean'
    """  # noqa: D301 - click's mark of text that keeps its lines
    chosen_format = "json" if as_json and output is None else format_of(format, output)
    if chosen_format is None and not is_terminal():
        chosen_format = "csv"
    applied = find_function(fun) if fun else None
    reg = reading(registry)
    find_modules(reg)
    chosen = selection.jobs(reg)
    if chosen is None and missing:
        chosen = reg.find_jobs()
    table = (
        reg.reduce_results_table(chosen, applied, missing_val=None)
        if missing
        else reg.reduce_results_table(chosen, applied)
    )
    if with_pars:
        table = _beside_parameters(reg, table)
    if chosen_format is not None:
        save(table, chosen_format, output)
    else:
        show(table, as_json=False, limit=limit)
    if table.num_rows == 0:
        fail("no job is done", hint="`batchwright status` tells how far jobs are")
    without = len(reg.find_not_done()) if not selection.is_given and not missing else 0
    if without:
        tell(f"note: jobs without a result, which are not among these: {without}")


@click.command()
@click.argument("job", type=click.IntRange(min=1))
@common_options
def explain(registry: Path, as_json: bool, job: int) -> None:
    """Tell why a job is in its state: what is known of it, how old that is, and what to do.

    \b
    Examples:
      batchwright explain 3
      batchwright explain 3 --json
    """  # noqa: D301 - click's mark of text that keeps its lines
    explanation = reading(registry).explain(job)
    if as_json:
        write_json(asdict(explanation))
    else:
        click.echo(printable(str(explanation)))


@click.command()
@click.option("--by", metavar="NAMES", default="", help="Groups, such as n,host.")
@click.option(
    "--margin",
    type=float,
    default=1.25,
    show_default=True,
    help="Suggested is the most that was used, times this.",
)
@limit_option
@file_options
@with_selection
@common_options
def usage(
    registry: Path,
    as_json: bool,
    selection: Selection,
    by: str,
    margin: float,
    limit: int,
    format: str | None,
    output: Path | None,
) -> None:
    """Sum up memory in MB and run time in seconds, and suggest what to ask for.

    Of jobs done by default, over all of them or by parameters or columns of the job table. Ends
    with 1 if no such job ran.

    \b
    Examples:
      batchwright usage
      batchwright usage --by n --state done --state error
    """  # noqa: D301 - click's mark of text that keeps its lines
    chosen_format = format_of(format, output)
    reg = reading(registry)
    names = by.split(",") if by else []
    table = reg.summarize_usage(selection.jobs(reg), by=names, margin=margin)
    if chosen_format is not None and not as_json:
        save(table, chosen_format, output)
    else:
        show(table, as_json=as_json, limit=limit)
    if table.num_rows == 0:
        fail("none of these jobs has run")


def _beside_parameters(reg: Registry, table: pa.Table) -> pa.Table:
    jobs = bw.JobIds(table["job_id"].to_numpy())
    pars = reg.get_job_pars(jobs)
    found = _opened(pars)
    for name in table.column_names[1:]:
        shown = f"result.{name}" if name in found.column_names else name
        found = found.append_column(shown, table[name])
    return found
