"""`report`: one page about a registry, for whoever asks how it went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

import batchwright as bw
from batchwright.cli.endings import printable
from batchwright.cli.opening import common_options, reading
from batchwright.cli.output import write_json
from batchwright.cli.selection import Selection, with_selection

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry

_MOST_FAILURES: Final = 10
_MOST_HOSTS: Final = 10
_LONGEST: Final = 100


@click.command()
@with_selection
@common_options
def report(registry: Path, as_json: bool, selection: Selection) -> None:
    """Sum up a registry on a page: states, failures by cause, hosts, time and memory, what next.

    \b
    Examples:
      batchwright report
      batchwright report --where 'n > 100' --json
    """  # noqa: D301 - click's mark of text that keeps its lines
    reg = reading(registry)
    found = _gathered(reg, selection.jobs(reg))
    if as_json:
        write_json(found)
    else:
        click.echo(printable("\n".join(_page(found))))


def _gathered(reg: Registry, ids: bw.JobIds | None) -> dict[str, Any]:
    table = reg.get_job_status(ids)
    usage = reg.summarize_usage(ids).to_pylist()
    return {
        "registry": str(reg.file_dir),
        "work_dir": str(reg.work_dir),
        "cluster_functions": repr(reg.cluster_functions),
        "status": asdict(reg.get_status(ids)),
        "attempts": _attempts(table),
        "failures": _failures(table),
        "hosts": _hosts(table),
        "usage": usage[0] if usage else None,
        "next": list(_advice(table)),
    }


def _attempts(table: pa.Table) -> dict[str, int]:
    """Give how often jobs were submitted in all, and how many of them more than once."""
    import pyarrow.compute as pc

    again = pc.sum(pc.greater(table["attempt"], 1)).as_py()
    return {"total": pc.sum(table["attempt"]).as_py() or 0, "repeated": again or 0}


def _failures(table: pa.Table) -> list[dict[str, Any]]:
    """Give the commonest causes and messages, each with the first of its jobs."""
    import pyarrow as pa

    plain = pa.table(
        {
            "cause": table["cause"].cast(pa.string()),
            "message": table["error"].cast(pa.string()),
            "job_id": table["job_id"],
        }
    )
    counted = (
        plain.filter(plain["cause"].is_valid())
        .group_by(["cause", "message"])
        .aggregate([("job_id", "count"), ("job_id", "min")])
        .rename_columns({"job_id_count": "jobs", "job_id_min": "first"})
        .sort_by([("jobs", "descending"), ("first", "ascending")])
    )
    return counted.slice(0, _MOST_FAILURES).to_pylist()


def _hosts(table: pa.Table) -> list[dict[str, Any]]:
    """Give the hosts that ran jobs, those with most failures first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pa.table(
        {
            "host": table["host"].cast(pa.string()),
            "failed": table["cause"].is_valid().cast(pa.int64()),
            "seconds": pc.divide(table["time_running"].cast(pa.int64()).cast(pa.float64()), 1e6),
        }
    )
    counted = (
        plain.filter(plain["host"].is_valid())
        .group_by("host")
        .aggregate([("failed", "count"), ("failed", "sum"), ("seconds", "sum")])
        .rename_columns({"failed_count": "jobs", "failed_sum": "failed", "seconds_sum": "seconds"})
        .select(["host", "jobs", "failed", "seconds"])
        .sort_by([("failed", "descending"), ("jobs", "descending"), ("host", "ascending")])
    )
    return counted.slice(0, _MOST_HOSTS).to_pylist()


def _advice(table: pa.Table) -> Iterator[str]:
    """Name the verbs that the states ask for."""
    states = set(table["state"].unique().to_pylist())
    causes = set(table["cause"].unique().to_pylist())
    if "defined" in states:
        yield "batchwright submit"
    if states & {"submitted", "queued", "running"}:
        yield "batchwright watch"
    if "error" in states:
        yield "batchwright errors"
    if causes & set(bw.RETRYABLE):
        yield "batchwright retry"
    if "done" in states:
        yield "batchwright results"


def _page(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"Registry {found['registry']}"
    yield f"  jobs run in {found['work_dir']} by {found['cluster_functions']}"
    yield ""
    yield str(bw.Status(**found["status"]))
    attempts = found["attempts"]
    if attempts["repeated"]:
        yield f"  {attempts['total']} attempts; {attempts['repeated']} jobs had several"
    yield from _section("Failures", [_failure(one) for one in found["failures"]])
    yield from _section("Hosts", [_host(one) for one in found["hosts"]])
    yield from _section("Usage of jobs done", _usage(found["usage"] or {}))
    yield from _section("Next", found["next"])


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)


def _failure(one: Mapping[str, Any]) -> str:
    message = " ".join((one["message"] or "").split())
    shown = message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}…"
    said = f": {shown}" if shown else ""
    return f"{one['jobs']} × {one['cause']}{said}  (first: job {one['first']})"


def _host(one: Mapping[str, Any]) -> str:
    failed = f", {one['failed']} failed" if one["failed"] else ""
    return f"{one['host']}: {one['jobs']} jobs{failed}, {one['seconds'] or 0:.6g} s of run time"


def _usage(one: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {value:.6g}" for name, value in one.items() if value is not None]
