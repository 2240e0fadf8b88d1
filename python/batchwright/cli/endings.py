"""How the program ends: exit codes by class of error, and what is said on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, NoReturn, TextIO

import click

from batchwright import errors

NOT_ALL: Final = 1
"""Not all jobs are done, nothing matched, or the user said no."""
USAGE: Final = 2
INTERNAL: Final = 70
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


@dataclass(frozen=True, slots=True)
class Ending:
    """What errors of some classes end the program with."""

    code: int
    classes: tuple[type[BaseException], ...]
    meaning: str
    hint: str = ""


# The first that fits counts, so a class stands before those it inherits from.
ENDINGS: Final = (
    Ending(
        3,
        (errors.RegistryNotFoundError,),
        "no registry there",
        "make one by `batchwright init`, or name another folder by `--registry`",
    ),
    Ending(
        4,
        (errors.RegistryExistsError,),
        "the folder exists already",
        "name another folder by `--registry`, or add jobs to it by `batchwright init --append`",
    ),
    Ending(
        5,
        (errors.RegistryLockedError,),
        "another process owns the registry",
        "end that process, or wait for it: reading verbs work meanwhile",
    ),
    Ending(
        6,
        (errors.RegistryVersionError, errors.CorruptRegistryError),
        "the registry is damaged, or of another version",
    ),
    Ending(
        7,
        (errors.UnknownJobError,),
        "no such job",
        "`batchwright table` lists the jobs",
    ),
    Ending(
        8,
        (errors.ConfigError, errors.TemplateError),
        "a setting, resource, configuration or template is wrong",
        "`batchwright conf` tells which configuration applies",
    ),
    Ending(9, (errors.DefinitionError,), "jobs, conditions or tables that cannot be like this"),
    Ending(
        10,
        (errors.JobsOnSystemError,),
        "jobs are queued or running",
        "`batchwright watch` waits for them, `batchwright kill` stops them",
    ),
    Ending(11, (errors.SubmitError, errors.SchedulerError), "the scheduler or a submission failed"),
    Ending(
        12,
        (errors.JobNotDoneError,),
        "a job failed, or has no result or log yet",
        "`batchwright errors` shows tracebacks, `batchwright status` how far jobs are",
    ),
    Ending(13, (OSError,), "the system refused: a file, a folder, a permission"),
    Ending(14, (errors.BatchwrightError,), "any other error of batchwright"),
)


def is_debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("BATCHWRIGHT_DEBUG", "") not in ("", "0")


def codes() -> str:
    """Describe all exit codes, for the help."""
    lines = [
        (0, "all is well"),
        (NOT_ALL, "not all jobs are done, nothing matched, or you said no"),
        (USAGE, "wrong use of the program"),
        *((ending.code, ending.meaning) for ending in ENDINGS),
        (INTERNAL, "an error of batchwright itself"),
        (INTERRUPTED, "Ctrl-C"),
        (BROKEN_PIPE, "whoever read the output went away"),
    ]
    return "\n".join(f"  {code:>3}  {meaning}" for code, meaning in lines)


def tell(text: str) -> None:
    """Say something that is not data."""
    click.echo(printable(text), err=True)


def fail(message: str, *, code: int = NOT_ALL, hint: str = "") -> NoReturn:
    """End with one message on standard error."""
    _say(message, hint)
    raise click.exceptions.Exit(code)


def end_with(error: BaseException) -> NoReturn:
    """End as the class of an error asks for."""
    if isinstance(error, click.exceptions.Exit | click.exceptions.NoArgsIsHelpError):
        raise error
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        raise click.exceptions.Exit(INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        _drop_output()
        raise click.exceptions.Exit(BROKEN_PIPE)
    if isinstance(error, click.Abort):
        fail("nothing was done, because nobody said yes", hint="`--yes` says it beforehand")
    if isinstance(error, click.UsageError):
        # Its context may be a group's that knows nothing of the verb.
        path = error.ctx.command_path if error.ctx else "batchwright"
        fail(error.format_message(), code=USAGE, hint=f"`{path} --help` shows what there is")
    if isinstance(error, click.ClickException):
        fail(error.format_message(), code=USAGE)
    if is_debugging():
        traceback.print_exception(error)
    for ending in ENDINGS:
        if isinstance(error, ending.classes):
            fail(_message(error), code=ending.code, hint=ending.hint)
    if isinstance(error, TypeError | ValueError):
        # Verbs refuse values that they were given so.
        fail(_message(error), code=USAGE)
    fail(
        f"{type(error).__name__}: {error}",
        code=INTERNAL,
        hint="this should not happen; `BATCHWRIGHT_DEBUG=1` shows where it did",
    )


def _message(error: BaseException) -> str:
    if isinstance(error, errors.BatchwrightError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"`{error.filename}`: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def _say(message: str, hint: str) -> None:
    tell(f"error: {message.strip().removesuffix('.')}")
    if hint:
        tell(f"hint: {hint}")


def printable(text: str) -> str:
    """Give a text that cannot steer a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


@contextlib.contextmanager
def shown_warnings() -> Generator[None]:
    """Show warnings of the package as messages of the program while the block runs."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        tell(f"warning: {str(message).removesuffix('.')}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        if not sys.warnoptions:
            warnings.simplefilter("default", UserWarning)
        yield


def _drop_output() -> None:
    """Let the flush at the end of the interpreter find nothing to complain about."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(devnull, stream.fileno())
