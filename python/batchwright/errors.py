"""Every error of the package. A message says what was wrong, with the value, and what next."""

from __future__ import annotations


class BatchwrightError(Exception):
    """The base of all errors of this package."""

    def __str__(self) -> str:
        # KeyError quotes its only argument; a sentence is not a key.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class RegistryExistsError(BatchwrightError, FileExistsError):
    """The folder exists already, or lies inside another registry."""


class RegistryNotFoundError(BatchwrightError, FileNotFoundError):
    """The folder is not there, or holds no registry."""


class RegistryLockedError(BatchwrightError, RuntimeError):
    """Another process owns the registry."""


class OwnershipLostError(RegistryLockedError):
    """Another process took the registry over; this one is read-only from now on."""


class ReadOnlyRegistryError(BatchwrightError, PermissionError):
    """A change was asked of a registry that is not opened for writing."""


class RegistryVersionError(BatchwrightError, RuntimeError):
    """The registry was made by a version that this one cannot read."""


class CorruptRegistryError(BatchwrightError, RuntimeError):
    """A file of the registry is damaged."""


class NoDefaultRegistryError(BatchwrightError, LookupError):
    """A verb was called without a registry, and there is no default one."""


class UnknownJobError(BatchwrightError, KeyError):
    """An id that no job of the registry has."""


class JobsOnSystemError(BatchwrightError, RuntimeError):
    """The jobs concerned are queued or running."""


class DefinitionError(BatchwrightError, ValueError):
    """Jobs, problems, algorithms or experiments that cannot be defined like this."""


class ConfigError(BatchwrightError, ValueError):
    """A setting, resource or configuration file that is wrong."""


class TemplateError(BatchwrightError, ValueError):
    """A template that is missing or wrong, or text that must not enter one."""


class SubmitError(BatchwrightError, RuntimeError):
    """The jobs could not be handed over to the scheduler."""


class SchedulerError(BatchwrightError, RuntimeError):
    """A command of the scheduler failed."""


class JobNotDoneError(BatchwrightError, RuntimeError):
    """A result or log was asked for that is not there yet."""


class JobError(JobNotDoneError):
    """A job that failed where it ran.

    Parameters
    ----------
    what
        The message.
    job_id
        The job, 0 if unknown.
    cause
        As in the job table: `error`, `crashed`, `oom`, …
    type, message, traceback
        Of the exception on the node, as text.
    """

    def __init__(
        self,
        what: str = "",
        *,
        job_id: int = 0,
        cause: str = "error",
        type: str = "",
        message: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(what)
        self.job_id = job_id
        self.cause = cause
        self.type = type
        self.message = message or what
        self.traceback = traceback
        if traceback:
            self.add_note(traceback)
