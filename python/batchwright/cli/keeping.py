"""`doctor`, `sweep`, `remove`, `conf`, `templates`, `version`: a folder, and what applies to it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

import batchwright as bw
from batchwright import errors
from batchwright.cli.endings import NOT_ALL, printable, tell
from batchwright.cli.opening import common_options, reading, writing
from batchwright.cli.output import show, write_json


@click.command()
@common_options
def doctor(registry: Path, as_json: bool) -> None:
    """Read every file of the registry; name each fault and its repair. Exit code 1 if there is one.

    \b
    Examples:
      batchwright doctor
      batchwright doctor --json
    """  # noqa: D301 - click's mark of text that keeps its lines
    from batchwright.checking import check_folder

    try:
        report = reading(registry).check_registry()
    except errors.CorruptRegistryError:
        # What it was about is among the findings.
        report = check_folder(registry)
    if as_json:
        write_json({"ok": report.ok, "findings": [asdict(found) for found in report.findings]})
    elif report.ok:
        tell("no faults")
    else:
        click.echo(printable(str(report)))
    if not report.ok:
        raise click.exceptions.Exit(NOT_ALL)


@click.command()
@common_options
def sweep(registry: Path, as_json: bool) -> None:
    """Remove files that belong to no job any more.

    \b
    Example:
      batchwright sweep
    """  # noqa: D301 - click's mark of text that keeps its lines
    with writing(registry) as reg:
        removed = reg.sweep_registry()
    if as_json:
        write_json({"removed": removed})
    else:
        tell(f"{removed} {'file' if removed == 1 else 'files'} removed")


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common_options
def remove(registry: Path, as_json: bool, yes: bool) -> None:
    """Remove the registry with all results; asks first.

    \b
    Examples:
      batchwright remove
      batchwright remove -r old --yes
    """  # noqa: D301 - click's mark of text that keeps its lines
    if not yes:
        counts = reading(registry).get_status()
        asked = f"Remove `{registry}` with {counts.defined} jobs and {counts.done} results?"
        click.confirm(asked, abort=True, err=True)
    with writing(registry) as reg:
        reg.remove_registry(wait=0)
    if as_json:
        write_json({"removed": str(reg.file_dir)})
    else:
        tell(f"`{registry}` removed")


@click.command()
@common_options
def conf(registry: Path, as_json: bool) -> None:
    """Tell which configuration file applies here, and the settings of the registry if there is one.

    \b
    Example:
      batchwright conf --json
    """  # noqa: D301 - click's mark of text that keeps its lines
    from batchwright.settings import KINDS

    file = bw.find_conf_file()
    settings: dict[str, Any] | None = None
    file_system = None
    if (registry / "registry.json").is_file():
        reg = reading(registry)
        settings = {name: getattr(reg, name) for name in KINDS}
        file_system = reg.store.file_system
    if as_json:
        plain = None if settings is None else {n: _plain(v) for n, v in settings.items()}
        where = None if settings is None else str(registry)
        said = {"file": file and str(file), "registry": where, "settings": plain}
        write_json(said | {"file_system": file_system and file_system._asdict()})
        return
    click.echo(f"configuration: {file or 'none'}")
    if settings is None:
        tell(f"no registry in `{registry}`")
        return
    click.echo(f"registry: {registry}")
    if file_system is not None:
        links = "with" if file_system.hard_links else "without"
        kind, options = file_system.type or "unknown", file_system.options
        click.echo(f"file system: {kind} ({options}), {links} hard links")
    for name, value in settings.items():
        click.echo(f"  {name}: {_plain(value)}")


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [str(one) for one in cast("Sequence[object]", value)]
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    return repr(value)


@click.command()
@click.argument("name", required=False)
@common_options
def templates(registry: Path, as_json: bool, name: str | None) -> None:
    """List the templates of scripts and which file counts for each; with NAME, print that one.

    \b
    Examples:
      batchwright templates
      batchwright templates slurm > batchwright.slurm.tmpl
    """  # noqa: D301 - click's mark of text that keeps its lines
    import pyarrow as pa

    if name is not None:
        path = bw.find_template(name)
        text = path.read_text(encoding="utf-8")
        if as_json:
            write_json({"name": name, "path": str(path), "text": text})
        else:
            click.echo(text, nl=not text.endswith("\n"))
        return
    names = _template_names()
    paths = [str(bw.find_template(one)) for one in names]
    show(pa.table({"name": pa.array(names), "path": pa.array(paths)}), as_json=as_json)


def _template_names() -> list[str]:
    from batchwright.configuration import configuration_folders
    from batchwright.templates import SHIPPED, VARIABLE

    named = os.environ.get(VARIABLE, "").split(":")
    folders = [*(Path(folder) for folder in named if folder), *configuration_folders(), SHIPPED]
    found = {path.stem for folder in folders for path in folder.glob("*.tmpl")}
    here = Path.cwd().glob("batchwright.?*.tmpl")
    return sorted(found | {path.stem.removeprefix("batchwright.") for path in here})


@click.command()
@common_options
def version(registry: Path, as_json: bool) -> None:
    """Tell the version, which does not depend on the registry.

    \b
    Example:
      batchwright version
    """  # noqa: D301 - click's mark of text that keeps its lines
    if as_json:
        write_json({"batchwright": bw.__version__, "python": platform.python_version()})
    else:
        click.echo(f"batchwright {bw.__version__}")
