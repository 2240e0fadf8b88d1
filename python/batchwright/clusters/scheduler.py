"""What all schedulers have in common: a script made of a template goes in, a name comes out.

Each backend builds its commands and reads the answers in pure functions of its own module. Here is
the order of the steps, and what is done where the answer is in doubt.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from batchwright import resources, store, templates
from batchwright.clusters import remote
from batchwright.clusters.base import (
    ClusterFunctions,
    Completed,
    SiteLimits,
    SubmitResult,
    check_hooks,
    node_local_folders,
    run_command,
)
from batchwright.collection import short_name
from batchwright.errors import ConfigError, SchedulerError, SubmitError

if TYPE_CHECKING:
    from batchwright.collection import JobCollection
    from batchwright.registry import Registry

SCHEDULER_LATENCY: Final = 1.0
FS_LATENCY: Final = 65.0
TRIES: Final = 3
# Keeps scripts of arrays, which name each task, below a megabyte.
MOST_TASKS: Final = 5000
_AT_ONCE: Final = 500
_NOT_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_CHUNK: Final = re.compile(r"/([0-9a-f]{32})\.bwc$")


class Scheduler(ClusterFunctions):
    """Cluster functions of a scheduler that takes scripts."""

    runs_setup: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Variables that its commands need."""
    most_tasks: ClassVar[int] = 1000
    """Of one array, unless the site says otherwise."""
    bad_in_paths: ClassVar[str] = ""
    """Characters that the scheduler takes for something else in the path of a log."""

    def __init__(
        self,
        template: str | os.PathLike[str],
        array_jobs: bool,
        nodename: str,
        scheduler_latency: float,
        fs_latency: float,
        hooks: Mapping[str, Callable[..., object]] | None,
    ) -> None:
        self.template = _template(template)
        self.array_jobs = _flag("array_jobs", array_jobs)
        self.nodename = nodename
        if not remote.is_here(nodename):
            remote.check_host(nodename)
        self.scheduler_latency = resources.positive(
            "scheduler_latency", scheduler_latency, zero=True
        )
        self.fs_latency = resources.positive("fs_latency", fs_latency, zero=True)
        self.hooks = check_hooks(hooks)
        self._limits: SiteLimits | None = None

    # -- what a backend says

    @abstractmethod
    def submit_command(self, reg: Registry, jc: JobCollection) -> list[str]:
        """Give the command that takes the script by standard input."""

    @abstractmethod
    def parse_submit(self, done: Completed, tasks: int) -> SubmitResult:
        """Read its answer; raise `SchedulerError` if it leaves open what happened."""

    @abstractmethod
    def kill_command(self, batch_ids: Sequence[str]) -> list[str]:
        """Give the command that stops jobs."""

    @abstractmethod
    def check_kill(self, done: Completed) -> None:
        """Raise `SchedulerError` unless the jobs are gone, or about to go."""

    def marked(self, reg: Registry, chunks: Sequence[str]) -> Mapping[str, str] | None:
        """Find jobs by the marks of chunks; None if the system cannot be asked."""
        return None

    def task_id(self, batch_id: str, task: int) -> str:
        """Give the name of an array task."""
        return f"{batch_id}[{task}]"

    def limits_command(self) -> list[str]:
        """Give the command that tells the site's limits; empty where there is none."""
        return []

    def parse_limits(self, done: Completed) -> SiteLimits | None:
        """Read its answer; None if it says nothing."""
        return None

    def template_variables(self, reg: Registry) -> Mapping[str, Any]:
        """Give variables of templates besides the collection's."""
        return {}

    # -- what follows

    def run(self, command: Sequence[str], *, stdin: str | None = None) -> Completed:
        """Run one of its commands where its commands are."""
        return run_command(command, stdin=stdin, nodename=self.nodename, env=self.environment)

    @property
    def user(self) -> str:
        """Under which name the scheduler knows us."""
        name, at, _ = self.nodename.partition("@")
        return name if at else pwd.getpwuid(os.getuid()).pw_name

    def prepare_submit(self, reg: Registry) -> None:
        """Refuse a registry that nodes cannot see, and a template that is not there."""
        templates.find_template(self.template)
        folder = reg.file_dir.resolve()
        if reg.store.temporary and any(folder.is_relative_to(f) for f in node_local_folders()):
            raise SubmitError(
                f"the temporary registry `{reg.file_dir}` lies on this machine only: set `temp_dir`"
                " to a folder that the nodes see, or make a registry that stays"
            )
        bad = next((c for c in str(reg.file_dir) if c in self.bad_in_paths), None)
        if bad is not None:
            raise SubmitError(
                f"`{reg.file_dir}` holds {bad!r}, which {self.name} takes for something else: move "
                "the registry"
            )

    def site_limits(self, reg: Registry) -> SiteLimits:
        """Ask the scheduler for its limits until it answers."""
        command = self.limits_command()
        if self._limits is None and command:
            with contextlib.suppress(SchedulerError):
                self._limits = self.parse_limits(self.run(command))
        return self._limits or SiteLimits()

    def array_size(self, reg: Registry) -> int:
        """How many chunks make an array: as many as site and template allow."""
        if not self.array_jobs or self.array_var is None:
            return 1
        path = templates.find_template(self.template)
        if not templates.mentions(path, "array_jobs"):
            return 1
        most = self.site_limits(reg).array_size
        return self.most_tasks if most is None else int(max(1, min(most, MOST_TASKS)))

    def submit(self, reg: Registry, jc: JobCollection) -> SubmitResult:
        """Render the script and hand it over."""
        if jc.array_jobs and not self.array_jobs:
            raise SubmitError(f"these cluster functions `{self.name}` were made without arrays")
        script = templates.render_script(reg, jc, self.template, **self.template_variables(reg))
        jc.log_file.parent.mkdir(parents=True, exist_ok=True)
        done = self.run(self.submit_command(reg, jc), stdin=script.read_text(encoding="utf-8"))
        if done.exit_code < 0:
            raise SchedulerError(SubmitResult.from_failure(done).message)
        result = self.parse_submit(done, jc.array_jobs)
        # In doubt it stays: it says which chunks are the tasks of an array.
        if not jc.debug:
            script.unlink(missing_ok=True)
        return result

    def render(self, reg: Registry, jc: JobCollection) -> str:
        """Give the script."""
        path = templates.find_template(self.template)
        return templates.render(path, jc, self.template_variables(reg))

    def kill(self, reg: Registry, batch_ids: Sequence[str]) -> None:
        """Stop jobs, in few calls."""
        for some in _pieces(batch_ids):
            _insist(lambda some=some: self.check_kill(self.run(self.kill_command(some))))

    def tidy(self, reg: Registry) -> None:
        """Remove the logs of schedulers that had nothing to say."""
        for path in (reg.file_dir / "logs").glob("*/*.out"):
            with contextlib.suppress(OSError):
                if path.stat().st_size == 0:
                    path.unlink()

    def find_submitted(
        self, reg: Registry, chunks: Sequence[str]
    ) -> Mapping[str, Sequence[str]] | None:
        """Look chunks up by their marks; arrays of chunks by their scripts, too."""
        groups = {chunk: _members(reg, chunk) for chunk in chunks}
        marks = sorted({members[0] for members in groups.values()})
        found = self.marked(reg, marks)
        if found is None:
            return None
        return {
            chunk: ids
            for chunk, members in groups.items()
            if (ids := self._ids_in(reg, chunk, members, found.get(members[0])))
        }

    def _ids_in(
        self, reg: Registry, chunk: str, members: Sequence[str], batch_id: str | None
    ) -> list[str]:
        if batch_id is None:
            return []
        if len(members) > 1:
            return [self.task_id(batch_id, members.index(chunk) + 1)]
        tasks = store.tasks_of(reg.store.collection_path(chunk))
        return [self.task_id(batch_id, task) for task in range(1, tasks + 1)] or [batch_id]


def _members(reg: Registry, chunk: str) -> list[str]:
    """Give the chunks of the array that a chunk is part of, in order; itself if of none."""
    for script in _scripts(reg):
        found = [m[1] for line in script if (m := _CHUNK.search(line))]
        if len(found) > 1 and chunk in found:
            return found
    return [chunk]


def _scripts(reg: Registry) -> Iterator[list[str]]:
    """Give the scripts whose submission was left in doubt."""
    for path in sorted((reg.file_dir / "jobs").glob("*/*.job")):
        try:
            yield path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue


def job_name(jc: JobCollection, longest: int = 64) -> str:
    """Give a name for the scheduler: the user's, made fit, and the chunk's short one."""
    short = jc.short_name
    if jc.job_name == jc.job_hash:
        return short
    slug = _NOT_NAME.sub("_", jc.job_name).strip("_.-")[: longest - len(short) - 1]
    if slug and not slug[0].isalpha():
        slug = f"j{slug}"[: longest - len(short) - 1]
    return f"{slug}.{short}" if slug else short


def by_name(names: Iterable[tuple[str, str]], chunks: Sequence[str]) -> dict[str, str]:
    """Give the job of each chunk among (id, name) pairs; the first of each counts.

    Examples
    --------
    >>> chunk = "0" * 32
    >>> by_name([("7", "other"), ("8", f"fit.{short_name(chunk)}")], [chunk])
    {'00000000000000000000000000000000': '8'}
    """
    wanted = {short_name(chunk): chunk for chunk in chunks}
    found: dict[str, str] = {}
    for batch_id, name in names:
        chunk = wanted.get(name.rpartition(".")[2])
        if chunk is not None:
            found.setdefault(chunk, batch_id)
    return found


def failed(done: Completed) -> SchedulerError:
    """Give the error for a command that failed, in the scheduler's own words."""
    return SchedulerError(SubmitResult.from_failure(done).message)


def unclear(done: Completed) -> SchedulerError:
    """Give the error for an answer that cannot be understood."""
    said = f"{done.stdout.strip()} {done.stderr.strip()}".strip()
    return SchedulerError(
        f"`{' '.join(done.argv)}` gave an answer that cannot be understood: {said[:500]!r}"
    )


def words(done: Completed) -> str:
    """Give all that a command said."""
    return f"{done.stderr}\n{done.stdout}"


def says(done: Completed, texts: Iterable[str]) -> bool:
    """Whether a command said one of some texts."""
    said = words(done).lower()
    return any(text.lower() in said for text in texts)


def _pieces(batch_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(batch_ids), _AT_ONCE):
        yield batch_ids[start : start + _AT_ONCE]


def _insist(action: Callable[[], None]) -> None:
    """Try again what may fail for a moment."""
    for left in reversed(range(TRIES)):
        try:
            return action()
        except SchedulerError:
            if not left:
                raise
            time.sleep(1)


def _template(value: object) -> str:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ConfigError(f"`template` is {value!r}: give the name or the path of a template")
    return str(cast("os.PathLike[str]", value))


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"`{name}` is {value!r}: give True or False")
    return value
