"""What is kept of an exception."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from types import TracebackType

MOST_MESSAGE = 1 << 16
MOST_TRACEBACK = 1 << 18

_HERE = __file__.rpartition("/")[0] + "/"


class Failure(TypedDict):
    """An exception as text."""

    type: str
    message: str
    traceback: str


class SetupError(Exception):
    """The collection cannot be run here at all."""


def failure(error: BaseException) -> Failure:
    """Describe an exception, without the frames of the worker itself.

    Parameters
    ----------
    error
        The exception as it was caught.

    Returns
    -------
    Failure
        The name of its class (with the module, unless it is a builtin), its message, and the
        traceback. Locals are never kept.
    """
    return Failure(
        type=name_of(type(error)),
        message=_shortened(message_of(error), MOST_MESSAGE),
        traceback=_shortened(traceback_of(error), MOST_TRACEBACK),
    )


def name_of(kind: type) -> str:
    """Name a class as tracebacks do."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """Give the text of an exception, whatever its ``__str__`` does."""
    try:
        return str(error)
    except Exception as broken:
        return f"<its message cannot be made: {name_of(type(broken))}>"


def traceback_of(error: BaseException) -> str:
    """Give the traceback from the first frame that is not the worker's own."""
    import traceback  # (needed by failing jobs only)

    frames = _beyond_own(error.__traceback__)
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except Exception:
        return message_of(error)
    return "".join(lines)


def _beyond_own(frames: TracebackType | None) -> TracebackType | None:
    # In the owner's process the caller's frames come before those of this package.
    beyond = frames
    while beyond is not None and not _is_own(beyond):
        beyond = beyond.tb_next
    if beyond is None:
        return frames
    while beyond is not None and _is_own(beyond):
        beyond = beyond.tb_next
    return beyond


def _is_own(frame: TracebackType) -> bool:
    return frame.tb_frame.f_code.co_filename.startswith(_HERE)


def _shortened(text: str, limit: int) -> str:
    # Lone surrogates cannot be written as JSON that others read.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[batchwright: {len(text) - limit} characters cut]\n{text[-half:]}"


def say(text: str) -> None:
    """Print to what a job's log is made of, even if the job has replaced the stream."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            if stream is not None:
                stream.write(text if text.endswith("\n") else text + "\n")
                stream.flush()
                return
        except Exception:
            continue
