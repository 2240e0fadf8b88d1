"""Making and loading registries."""

from __future__ import annotations

import contextlib
import random
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from batchwright import configuration, debugging, default, settling, temporary
from batchwright import store as stores
from batchwright.errors import ConfigError, RegistryNotFoundError
from batchwright.problems import EXPERIMENT
from batchwright.registry import ExperimentRegistry, Registry
from batchwright.settings import MAX_SEED, Settings, parse
from batchwright.store import Store

if TYPE_CHECKING:
    from os import PathLike

    from batchwright import _core

debugging.set_up_logger()
_R = TypeVar("_R", bound=Registry)
_SEARCH: Final = cast("Any", ...)
_ACCESS = ("private", "group", "public")


def make_registry(
    file_dir: str | PathLike[str] | None = "registry",
    work_dir: str | PathLike[str] | None = None,
    conf_file: str | PathLike[str] | None = _SEARCH,
    *,
    imports: Sequence[str] = (),
    source: Sequence[str | PathLike[str]] = (),
    load: Sequence[str | PathLike[str]] = (),
    seed: int | None = None,
    access: str = "private",
    make_default: bool = True,
) -> Registry:
    """Make a registry in a new folder.

    Parameters
    ----------
    file_dir
        The folder, which must not exist; None for a temporary registry, which is removed when
        the interpreter ends.
    work_dir
        Where jobs run; by default the folder we are in.
    conf_file
        The configuration file; by default the first that `find_conf_file` finds, None for none.
    imports
        Modules to import on the node before the first job.
    source
        Python files to run on the node first.
    load
        Pickle files of dicts whose items become globals of the job function.
    seed
        From which the seeds of the jobs follow; drawn if None.
    access
        Who may read it: `private`, `group` or `public`.
    make_default
        Whether verbs of the package act on it from now on.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, seed=1, make_default=False)
    >>> reg.seed
    1
    """
    given = {"work_dir": work_dir, "imports": imports, "source": source, "load": load, "seed": seed}
    reg = _make(Registry, "plain", file_dir, conf_file, given, access)
    if make_default:
        default.set_default_registry(reg)
    return reg


def make_experiment_registry(
    file_dir: str | PathLike[str] | None = "registry",
    work_dir: str | PathLike[str] | None = None,
    conf_file: str | PathLike[str] | None = _SEARCH,
    *,
    imports: Sequence[str] = (),
    source: Sequence[str | PathLike[str]] = (),
    load: Sequence[str | PathLike[str]] = (),
    seed: int | None = None,
    access: str = "private",
    make_default: bool = True,
) -> ExperimentRegistry:
    """Make a registry of experiments in a new folder.

    Parameters
    ----------
    file_dir, work_dir, conf_file, imports, source, load, seed, access, make_default
        As for `make_registry`.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.problems, reg.algorithms
    ((), ())
    """
    given = {"work_dir": work_dir, "imports": imports, "source": source, "load": load, "seed": seed}
    reg = _make(ExperimentRegistry, EXPERIMENT, file_dir, conf_file, given, access)
    if make_default:
        default.set_default_registry(reg)
    return reg


def load_registry(
    file_dir: str | PathLike[str],
    work_dir: str | PathLike[str] | None = None,
    conf_file: str | PathLike[str] | None = _SEARCH,
    *,
    make_default: bool = True,
    writeable: bool = False,
    break_lock: bool = False,
) -> Registry:
    """Load a registry; nothing is unpickled by that.

    Parameters
    ----------
    file_dir
        Its folder.
    work_dir
        Where jobs run from now on.
    conf_file
        As for `make_registry`.
    make_default
        Whether verbs of the package act on it from now on.
    writeable
        Whether to become its owner. One process at a time is.
    break_lock
        Whether to take it over from a process that still owns it.

    Examples
    --------
    >>> import batchwright as bw
    >>> made = bw.make_registry(None, make_default=False)
    >>> ids = made.batch_map(abs, [-1, -2])
    >>> reg = bw.load_registry(made.file_dir, make_default=False)
    >>> reg.writeable, len(reg.find_jobs())
    (False, 2)
    """
    path = _absolute(file_dir)
    checked = None if work_dir is None else parse("work_dir", work_dir)
    conf = configuration.found(conf_file)
    if not path.is_dir():
        raise RegistryNotFoundError(f"`{path}` is no folder: make a registry by `make_registry`")
    core = stores.opened(path, writeable=writeable, break_lock=break_lock)
    try:
        reg = _load(core, path, conf, checked)
    except BaseException:
        core.close()
        raise
    temporary.close_with(reg)
    if make_default:
        default.set_default_registry(reg)
    return reg


def _load(core: _core.Store, path: Path, conf: Path | None, work_dir: Path | None) -> Registry:
    settings = Settings(core, path, None if conf is None else str(conf))
    settings.load()
    reg = registry_class(core.kind)(Store(core, path, settings))
    if core.displaced:
        warnings.warn(f"`{path}` was taken over from {core.displaced}", stacklevel=3)
    if settings.set_aside:
        names = ", ".join(f"`{name}`" for name in settings.set_aside)
        warnings.warn(
            f"`{path}` comes from another place or configuration: {names} are set aside, and the "
            "local configuration applies; assign them to change that",
            stacklevel=3,
        )
    if conf is not None:
        configuration.apply(reg, conf)
    if work_dir is not None and core.writeable:
        settings.assign("work_dir", work_dir)
    elif work_dir is not None:
        settings.override("work_dir", work_dir)
    if not reg.work_dir.is_dir():
        warnings.warn(f"`work_dir` is `{reg.work_dir}`, which is not here", stacklevel=3)
    if core.writeable:
        settling.doubt_unrecorded(reg)
    reg.store.update()
    return reg


_CLASSES: dict[str, type[Registry]] = {"plain": Registry, EXPERIMENT: ExperimentRegistry}


def registry_class(kind: str) -> type[Registry]:
    """Give the class for a kind of registry."""
    return _CLASSES.get(kind, Registry)


def _absolute(path: str | PathLike[str]) -> Path:
    import os

    if path == "":
        raise ConfigError("`file_dir` is empty: give the path of a folder")
    try:
        return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - links stay
    except TypeError:
        raise ConfigError(f"`file_dir` is {path!r}: give the path of a folder") from None


def _make(
    cls: type[_R],
    kind: str,
    file_dir: str | PathLike[str] | None,
    conf_file: str | PathLike[str] | None,
    given: Mapping[str, object],
    access: str,
) -> _R:
    """Check all that can be checked, then make the folder; after an error nothing stays."""
    if access not in _ACCESS:
        raise ConfigError(f"`access` is {access!r}: give one of {', '.join(_ACCESS)}")
    arguments = {
        name: parse(name, value)
        for name, value in given.items()
        if value is not None and value != () and value != []
    }
    conf = configuration.found(conf_file)
    seed = cast("int", arguments.get("seed") or random.SystemRandom().randint(1, MAX_SEED))

    def create(path: Path) -> _R:
        return _create(cls, path, kind, seed, access, arguments, conf)

    if file_dir is not None:
        reg = create(_absolute(file_dir))
        temporary.close_with(reg)
        return reg
    return _make_temporary(create)


def _create(
    cls: type[_R],
    path: Path,
    kind: str,
    seed: int,
    access: str,
    arguments: dict[str, Any],
    conf: Path | None,
) -> _R:
    core = stores.create(path, kind, seed, access)
    try:
        settings = Settings(core, path, None if conf is None else str(conf))
        reg = cls(Store(core, path, settings))
        settings.remember_made_in(Path.cwd())
        for name, value in arguments.items():
            settings.assign(name, value)
        if conf is not None:
            configuration.apply(reg, conf)
    except BaseException:
        with contextlib.suppress(Exception):
            core.close()
        shutil.rmtree(path, ignore_errors=True)
        raise
    return reg


def _make_temporary(create: Callable[[Path], _R]) -> _R:
    """Make a registry where the configuration wants temporary ones, which only it can tell."""
    folder = Path(parse("temp_dir", _system_temp()))
    path = temporary.fresh_path(folder)
    try:
        reg = create(path)
        if reg.temp_dir != folder:
            wanted = reg.temp_dir
            reg.store.abandon()
            temporary.discard(path)
            path = temporary.fresh_path(wanted)
            reg = create(path)
    except BaseException:
        temporary.discard(path)
        raise
    reg.store.temporary = True
    temporary.remove_at_exit(reg)
    temporary.close_with(reg)
    return reg


def _system_temp() -> str:
    import tempfile

    return tempfile.gettempdir()
