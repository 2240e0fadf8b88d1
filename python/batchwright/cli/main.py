"""The program: its verbs, its help, and its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, cast

import click

import batchwright as bw
from batchwright.cli import defining, keeping, reading, reporting, running, watching
from batchwright.cli.endings import codes, end_with, shown_warnings

_HELP = f"""\
Computations as batch jobs: map, submit, watch, collect.

A registry is a folder of jobs. Verbs act on -r/--registry DIR, else on $BATCHWRIGHT_REGISTRY,
else on ./registry.

\b
The life of one:
  batchwright init study.py:simulate n=10,100 rate=0.5,1,2 --grid
  batchwright submit --chunk-size 3
  batchwright watch
  batchwright errors
  batchwright retry --cause error
  batchwright results --pars > results.csv
  batchwright remove

\b
Exit codes:
{codes()}

Standard output is data, standard error is talk. BATCHWRIGHT_DEBUG=1 shows tracebacks. Completion
in bash: eval "$(_BATCHWRIGHT_COMPLETE=bash_source batchwright)"; in zsh and fish accordingly.
"""


class Program(click.Group):
    """The verbs, in the order of a registry's life, and one way to fail for all of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs in their order, not sorted."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; wrong use ends the program."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            end_with(error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; what it raises ends the program."""
        try:
            with shown_warnings():
                result = super().invoke(ctx)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            end_with(error)
        return result


program = Program(
    "batchwright",
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(bw.__version__, "-V", "--version", message="batchwright %(version)s")(program)
for verb in (
    defining.init,
    watching.status,
    watching.watch,
    running.submit,
    running.kill,
    running.reset,
    running.retry,
    running.test,
    reading.log,
    reading.grep,
    reading.errors_,
    reading.explain,
    reading.table_,
    reading.results,
    reading.usage,
    reporting.report,
    keeping.doctor,
    keeping.sweep,
    keeping.remove,
    keeping.conf,
    keeping.templates,
    keeping.version,
):
    program.add_command(verb)


def main() -> None:
    """Run the program with the arguments of the process, and exit."""
    # Nodes get what is on `sys.path`; the folder of the program itself is nothing they need.
    script = str(Path(sys.argv[0]).absolute().parent)
    if sys.path and sys.path[0] == script:
        del sys.path[0]
    # Whoever closed one of them wants to see nothing of it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    # What the locale has no bytes for is no reason to stop in the middle.
    cast("Any", sys.stdout).reconfigure(errors="backslashreplace")
    program(prog_name="batchwright")
