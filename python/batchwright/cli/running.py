"""`submit`, `retry`, `kill`, `reset` and `test`: verbs that start and stop jobs."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batchwright import errors
from batchwright.cli.defining import parse_value
from batchwright.cli.endings import fail, printable, tell
from batchwright.cli.opening import common_options, find_modules, reading, writing
from batchwright.cli.output import show, write_json
from batchwright.cli.selection import Selection, ids_text, with_selection
from batchwright.cli.watching import wait

if TYPE_CHECKING:
    import pyarrow as pa

_TIME: Final = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES: Final = {"K": 1e-3, "M": 1, "G": 1e3, "T": 1e6}


def seconds(text: str) -> float:
    """Read a time: seconds, a number with a unit, or `[days-]hours:minutes:seconds`."""
    parts = _TIME.fullmatch(text.strip())
    if parts:
        days, hours, minutes, rest = (int(part or 0) for part in parts.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    return _scaled(text.strip(), _UNITS, "a time: write 3600, 60m, 1h or 1:00:00")


def megabytes(text: str) -> float:
    """Read a size: MB, or a number with a unit."""
    return _scaled(text.strip(), _SIZES, "a size: write 4000, 4000M or 4G")


def _scaled(text: str, units: Mapping[str, float], what: str) -> float:
    number, factor = text, 1.0
    if text[-1:] in units:
        number, factor = text[:-1], units[text[-1]]
    try:
        found = float(number) * factor
    except ValueError:
        raise click.BadParameter(f"{text!r} is not {what}") from None
    return int(found) if found.is_integer() else found


@click.command()
@click.option("--chunk-size", type=int, metavar="N", help="Jobs of a chunk, which run in a row.")
@click.option("--n-chunks", type=int, metavar="N", help="So many chunks instead.")
@click.option(
    "--walltime", type=seconds, metavar="TIME", help="Of each chunk: seconds, 30m, 2h or h:mm:ss."
)
@click.option("--memory", type=megabytes, metavar="SIZE", help="Of each job: MB, or 4G.")
@click.option("--ncpus", type=int, metavar="N", help="Cores of each job.")
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other resource; JSON, or a text.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be submitted, and stop.")
@click.option("--script", is_flag=True, help="With --dry-run: print the first chunk's script.")
@click.option("--wait", "then_wait", is_flag=True, help="Then wait, as `watch` does.")
@with_selection
@common_options
def submit(
    registry: Path,
    as_json: bool,
    selection: Selection,
    chunk_size: int | None,
    n_chunks: int | None,
    walltime: float | None,
    memory: float | None,
    ncpus: int | None,
    resources: tuple[str, ...],
    dry_run: bool,
    script: bool,
    then_wait: bool,
) -> None:
    """Hand jobs to the system; by default those not submitted yet.

    \b
    Examples:
      batchwright submit --chunk-size 50 --memory 4G --walltime 2h
      batchwright submit --state error --state expired
      batchwright submit --dry-run --script
    """  # noqa: D301 - click's mark of text that keeps its lines
    if script and not dry_run:
        raise click.UsageError("--script shows what --dry-run plans: give both")
    asked = {"walltime": walltime, "memory": memory, "ncpus": ncpus}
    asked = {name: value for name, value in asked.items() if value is not None}
    arguments: dict[str, Any] = {
        "resources": {**asked, **_named_values(resources)} or None,
        "chunk_size": chunk_size,
        "n_chunks": n_chunks,
    }
    if dry_run:
        _plan(registry, selection, arguments, as_json=as_json, script=script)
        return
    with writing(registry) as reg:
        find_modules(reg)
        table = reg.submit_jobs(selection.jobs(reg), **arguments)
    _tell_submitted(table, as_json=as_json)
    if table.num_rows == 0:
        fail("no job to submit", hint="`--state error` chooses those that failed")
    if then_wait:
        _wait_for(registry, table, as_json=as_json)


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="Leave jobs alone that had so many attempts.",
)
@click.option(
    "--grow",
    multiple=True,
    metavar="CAUSE.NAME=FACTOR",
    help="Ask for more, by cause and resource, as oom.memory=2; oom.memory and walltime.walltime "
    "grow by 1.5 unless said otherwise.",
)
@click.option("--cap", multiple=True, metavar="NAME=MOST", help="But for no more, as memory=64G.")
@click.option("--chunk-size", type=int, metavar="N", help="Jobs of a chunk, which run in a row.")
@click.option("--n-chunks", type=int, metavar="N", help="So many chunks instead.")
@click.option("--wait", "then_wait", is_flag=True, help="Then wait, as `watch` does.")
@with_selection
@common_options
def retry(
    registry: Path,
    as_json: bool,
    selection: Selection,
    limit: int,
    grow: tuple[str, ...],
    cap: tuple[str, ...],
    chunk_size: int | None,
    n_chunks: int | None,
    then_wait: bool,
) -> None:
    """Submit jobs again that ended for reasons that may not come back.

    Those are oom, walltime, node, preempted, lost and not_started, or what --cause names. What was
    too little is asked for again and half as much more. Ends with 1 if there is no such job.

    \b
    Examples:
      batchwright retry
      batchwright retry --cause oom --grow oom.memory=2 --cap memory=64G
      batchwright retry --cause error --limit 2
    """  # noqa: D301 - click's mark of text that keeps its lines
    import batchwright as bw

    factors, caps = _grown(grow), _caps(cap)
    with writing(registry) as reg:
        find_modules(reg)
        table = reg.retry_jobs(
            selection.jobs(reg),
            causes=selection.causes or bw.RETRYABLE,
            limit=limit,
            grow=factors,
            caps=caps,
            chunk_size=chunk_size,
            n_chunks=n_chunks,
        )
    _tell_submitted(table, as_json=as_json)
    if table.num_rows == 0:
        fail("no job to retry", hint="`--cause error` chooses those whose function raised")
    if then_wait:
        _wait_for(registry, table, as_json=as_json)


def _grown(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    import batchwright as bw

    found = {cause: dict(factors) for cause, factors in bw.GROW.items()}
    for text in texts:
        target, _, factor = text.partition("=")
        cause, dot, name = target.partition(".")
        if not dot or not name:
            raise click.UsageError(f"{text!r} is not CAUSE.NAME=FACTOR, as oom.memory=2")
        found.setdefault(cause, {})[name] = _number(factor)
    return found


def _caps(texts: Sequence[str]) -> dict[str, float]:
    units = {"memory": megabytes, "walltime": seconds, "timeout": seconds}
    found: dict[str, float] = {}
    for text in texts:
        name, equals, most = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r} is not NAME=MOST, as memory=64G")
        found[name] = units.get(name, _number)(most)
    return found


def _number(text: str) -> float:
    return _scaled(text, {}, "a number")


def _tell_submitted(table: pa.Table, *, as_json: bool) -> None:
    chunks = len(table["chunk"].unique())
    if as_json:
        write_json({"jobs": table.num_rows, "chunks": chunks, "ids": _ids(table)})
    elif table.num_rows:
        tell(f"{_count(table.num_rows, 'job')} submitted in {_count(chunks, 'chunk')}")


def _wait_for(registry: Path, table: pa.Table, *, as_json: bool) -> None:
    import batchwright as bw

    jobs = bw.JobIds(table["job_id"].to_numpy())
    wait(registry, Selection(ids=jobs), as_json=as_json)


def _named_values(texts: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r} is not NAME=VALUE")
        found[name] = parse_value(value)
    return found


def _plan(
    registry: Path,
    selection: Selection,
    arguments: Mapping[str, Any],
    *,
    as_json: bool,
    script: bool,
) -> None:
    reg = reading(registry)
    plan = reg.plan_submission(selection.jobs(reg), **arguments)
    if plan.table.num_rows == 0:
        fail("no job to submit", hint="`--state error` chooses those that failed")
    text = plan.script() if script else None
    if as_json:
        described = {"scheduler_calls": plan.scheduler_calls, "chunks": plan.table.to_pylist()}
        write_json(described | ({"script": text} if text is not None else {}))
    elif text is not None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        show(plan.table, as_json=False)
        tell(str(plan))


def _ids(table: pa.Table) -> str:
    import batchwright as bw

    return ids_text(bw.JobIds(table["job_id"].to_numpy()))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@click.command()
@with_selection
@common_options
def kill(registry: Path, as_json: bool, selection: Selection) -> None:
    """Stop jobs that are queued or running; all of them by default.

    A chunk is stopped as a whole: other jobs of it expire. Ends with 1 if there was none to stop.

    \b
    Examples:
      batchwright kill
      batchwright kill --where 'n > 1000'
    """  # noqa: D301 - click's mark of text that keeps its lines
    with writing(registry) as reg:
        table = reg.kill_jobs(selection.jobs(reg))
    show(table, as_json=as_json)
    if table.num_rows == 0:
        fail("none of these jobs is queued or running")
    alive = table.num_rows - sum(table["killed"].to_pylist())
    tell(f"{_count(table.num_rows - alive, 'job')} stopped")
    if alive:
        fail(f"{_count(alive, 'job')} could not be stopped", hint="try again in a moment")


@click.command()
@with_selection
@common_options
def reset(registry: Path, as_json: bool, selection: Selection) -> None:
    """Make ended jobs as they were before they were submitted; their results and logs go.

    \b
    Examples:
      batchwright reset --state error
      batchwright reset --ids 1-5,8
    """  # noqa: D301 - click's mark of text that keeps its lines
    if not selection.is_given:
        raise click.UsageError("which jobs? Choose them by --ids, --state, --where or --tag")
    with writing(registry) as reg:
        found = reg.reset_jobs(selection.jobs(reg))
    if as_json:
        write_json({"jobs": len(found), "ids": ids_text(found)})
    if not found:
        fail("no such job")
    if not as_json:
        tell(f"{_count(len(found), 'job')} reset")


@click.command()
@click.argument("job", type=click.IntRange(min=1))
@click.option("--external", is_flag=True, help="In a fresh process, as on a node.")
@common_options
def test(registry: Path, as_json: bool, job: int, external: bool) -> None:
    """Run one job here and now, and show its result; the registry stays as it is.

    \b
    Examples:
      batchwright test 1
      batchwright test 1 --external
    """  # noqa: D301 - click's mark of text that keeps its lines
    reg = reading(registry)
    find_modules(reg)
    reg.find_jobs(ids=job)
    # What the job prints is talk: the data is its result.
    stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        result = reg.test_job(job, external=external)
    except errors.BatchwrightError as error:
        sys.stderr.write("".join(f"{printable(n)}\n" for n in getattr(error, "__notes__", ())))
        raise
    except (Exception, SystemExit) as error:
        tell("".join(traceback.format_exception(_below_here(error))).rstrip())
        raise errors.JobError(f"job {job} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.stdout = stdout
    if as_json:
        write_json({"job_id": job, "result": result})
    else:
        click.echo(printable(repr(result)))


def _below_here(error: BaseException) -> BaseException:
    """Leave our own frames out of the traceback, as far as they come first."""
    package = str(Path(__file__).parents[1])
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(package):
        trace = trace.tb_next
    return error.with_traceback(trace) if trace is not None else error
