"""Configuration files: where they are looked for, and how they are applied."""

from __future__ import annotations

import importlib
import os
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright.clusters import kinds
from batchwright.errors import BatchwrightError, ConfigError
from batchwright.settings import KINDS, unknown

if TYPE_CHECKING:
    from batchwright.registry import Registry

VARIABLE: Final = "BATCHWRIGHT_CONF"
_IN_WORKING_FOLDER: Final = ("batchwright.conf.py", "batchwright.toml")
_IN_CONFIGURATION_FOLDERS: Final = ("config.toml", "config.py")


def find_conf_file() -> Path | None:
    """Tell which configuration file applies here.

    Returns
    -------
    pathlib.Path or None
        The first of `$BATCHWRIGHT_CONF`, `./batchwright.conf.py`, `./batchwright.toml`, and
        `config.toml` or `config.py` in the user's and the site's configuration folder.

    Examples
    --------
    >>> import os
    >>> os.environ["BATCHWRIGHT_CONF"] = "/nowhere.toml"
    >>> find_conf_file()
    Traceback (most recent call last):
    ...
    batchwright.errors.ConfigError: `$BATCHWRIGHT_CONF` names `/nowhere.toml`, which is no file
    >>> del os.environ["BATCHWRIGHT_CONF"]
    """
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"`${VARIABLE}` names `{named}`, which is no file")
        return path.absolute()
    here = Path.cwd()
    candidates = [here / name for name in _IN_WORKING_FOLDER]
    candidates += [f / name for f in configuration_folders() for name in _IN_CONFIGURATION_FOLDERS]
    return next((path for path in candidates if path.is_file()), None)


def configuration_folders() -> tuple[Path, ...]:
    """Give the user's and the site's folder of configuration files."""
    import platformdirs

    user = platformdirs.user_config_path("batchwright")
    sites = platformdirs.site_config_dir("batchwright", multipath=True).split(os.pathsep)
    return (user, *(Path(site) for site in sites))


def found(conf_file: Any) -> Path | None:
    """Resolve the argument `conf_file`: a path, None for none, `...` to search."""
    if conf_file is None:
        return None
    if conf_file is ...:
        return find_conf_file()
    try:
        path = Path(conf_file).expanduser().absolute()
    except TypeError:
        raise ConfigError(f"`conf_file` is {conf_file!r}: give a path, or None for none") from None
    if not path.is_file():
        raise ConfigError(f"`conf_file` is `{path}`, which is no file")
    return path


def apply(reg: Registry, path: Path) -> None:
    """Let a configuration file set what was not assigned."""
    with reg.store.settings.configuring():
        if path.suffix == ".py":
            _run(reg, path)
        else:
            _read(reg, path)


def _run(reg: Registry, path: Path) -> None:
    if path.parent == Path.cwd():
        ensure_own(path)
    scope: dict[str, Any] = {
        "__name__": "batchwright_configuration",
        "__file__": str(path),
        "reg": reg,
        "bw": importlib.import_module("batchwright"),
    }
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), scope)
    except BatchwrightError:
        raise
    except Exception as error:
        raise ConfigError(
            f"configuration `{path}` failed: {type(error).__name__}: {error}"
        ) from error


def ensure_own(path: Path) -> None:
    """Refuse code found in the working folder that others could have put there."""
    for item in (path, path.parent):
        status = item.stat()
        if status.st_uid not in (0, os.getuid()):
            raise ConfigError(
                f"`{path}` is not run, because `{item}` belongs to user {status.st_uid}: name it "
                "by `conf_file` if you trust it"
            )
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise ConfigError(
                f"`{path}` is not run, because anybody may write `{item}`: `chmod o-w {item}`"
            )
        if status.st_mode & stat.S_IWGRP and status.st_gid != os.getgid():
            raise ConfigError(
                f"`{path}` is not run, because group {status.st_gid} may write `{item}`: "
                f"`chmod g-w {item}`"
            )


def _read(reg: Registry, path: Path) -> None:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration `{path}` is no TOML: {error}") from error
    for name, value in table.items():
        if name not in KINDS:
            raise unknown(name, f"configuration `{path}`")
        if name == "trusted_owners" and path.parent == Path.cwd():
            ensure_own(path)
        try:
            reg.store.settings.assign(name, _value(name, value))
        except ConfigError as error:
            raise ConfigError(f"configuration `{path}`: {error}") from error


def _value(name: str, value: Any) -> Any:
    if name != "cluster_functions":
        return value
    table: Any = {"kind": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(cast("Any", table).get("kind"), str):
        raise ConfigError(
            f'`cluster_functions` is {value!r}: give a table with `kind = "slurm"` and arguments'
        )
    arguments = cast("dict[str, Any]", table)
    return kinds.make(arguments["kind"], {k: v for k, v in arguments.items() if k != "kind"})
