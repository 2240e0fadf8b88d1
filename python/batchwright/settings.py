"""The settings of a registry: which there are, what they accept, and whose value counts."""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import math
import os
import pwd
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from batchwright import resources, serialization
from batchwright.errors import ConfigError

if TYPE_CHECKING:
    from batchwright import _core

# What names paths or commands of a site, and is set aside where the registry is not at home.
LOCAL = ("cluster_functions", "default_resources", "work_dir")
MAX_SEED = 2**31 - 1
# What a registry must not say of itself: assigned, it holds for the session.
_OF_THE_USER = ("trusted_owners",)
_MADE_IN = "made_in"
_COMPRESSIONS = ("none", "gzip", "lz4", "zstd")


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of one setting are checked and stored."""

    parse: Callable[[Any], Any]
    """From what a user assigns; raises `ConfigError`."""
    default: Callable[[], Any]
    dump: Callable[[Any], Any] = lambda value: value
    """To plain data for JSON; None where the value cannot be stored."""
    load: Callable[[Any], Any] | None = None
    """From plain data; by default `parse`."""


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str | os.PathLike):
        return (os.fspath(cast("str", value)),)
    try:
        texts = tuple(os.fspath(cast("str", text)) for text in cast("Any", value))
    except TypeError:
        raise ConfigError(f"`{name}` is {value!r}: give a list of texts") from None
    if not all(texts):
        raise ConfigError(f"`{name}` holds an empty text: {value!r}")
    return texts


def _whole(name: str, low: int, high: int, *, optional: bool = False) -> Callable[[Any], Any]:
    def parse(value: Any) -> int | None:
        if value is None and optional:
            return None
        return resources.whole(name, value, low=low, high=high)

    return parse


def _folder(name: str, value: object) -> Path:
    try:
        path = Path(cast("str", value)).expanduser()
    except (TypeError, RuntimeError):
        raise ConfigError(f"`{name}` is {value!r}: give the path of a folder") from None
    return Path(os.path.abspath(path))  # noqa: PTH100 - links stay as the user wrote them


def _owners(value: object) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (_owner(value),)
    return tuple(map(_owner, cast("Iterable[object]", value)))


def _owner(owner: object) -> int:
    if not isinstance(owner, str):
        return resources.whole("trusted_owners", owner, low=0, high=2**32 - 1)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ConfigError(f"`trusted_owners` names {owner!r}: there is no such user") from None


def _work_dir(value: object) -> Path:
    path = _folder("work_dir", value)
    if not path.is_dir():
        raise ConfigError(f"`work_dir` is `{path}`, which is no folder: make it, or name another")
    return path


def _sleep(value: object) -> object:
    if value is None or callable(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"`sleep` is {value!r}: give seconds or a function of the iteration")
    return float(value)


def _default_resources(value: object) -> object:
    try:
        return freeze(resources.parse(value))
    except ConfigError as error:
        raise ConfigError(f"`default_resources`: {error}") from None


def _dump_sleep(value: object) -> object:
    return {"function": serialization.reference(value)} if callable(value) else value


def _load_sleep(value: Any) -> object:
    return serialization.dereference(value["function"]) if hasattr(value, "keys") else value


def _compress(value: object) -> str:
    if value is None or value is False:
        return "none"
    if value not in _COMPRESSIONS:
        raise ConfigError(f"`compress` is {value!r}: give one of {', '.join(_COMPRESSIONS)}")
    return cast("str", value)


def _cluster_functions(value: object) -> object:
    from batchwright.clusters.base import ClusterFunctions

    if not isinstance(value, ClusterFunctions):
        raise ConfigError(
            f"`cluster_functions` is {value!r}: give cluster functions such as `Multicore()`"
        )
    return value


def _dump_cluster_functions(value: Any) -> object:
    from batchwright.clusters import kinds

    return kinds.dump(value)


def _load_cluster_functions(value: Any) -> object:
    from batchwright.clusters import kinds

    return kinds.load(value)


def _default_cluster_functions() -> object:
    from batchwright.clusters.multicore import Multicore

    return Multicore()


def thaw(value: Any) -> Any:
    """Give mutable plain data for JSON of read-only mappings and tuples."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [thaw(item) for item in cast("list[Any]", value)]
    return value


def freeze(value: Any) -> Any:
    """Give read-only mappings and tuples for plain data."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return MappingProxyType({key: freeze(item) for key, item in items})
    if isinstance(value, tuple | list):
        return tuple(freeze(item) for item in cast("list[Any]", value))
    return value


KINDS: Mapping[str, Kind] = {
    "work_dir": Kind(_work_dir, Path.cwd, str, Path),
    "seed": Kind(_whole("seed", 1, MAX_SEED), lambda: 1),
    "imports": Kind(functools.partial(_texts, "imports"), tuple, list),
    "source": Kind(functools.partial(_texts, "source"), tuple, list),
    "load": Kind(functools.partial(_texts, "load"), tuple, list),
    "cluster_functions": Kind(
        _cluster_functions,
        _default_cluster_functions,
        _dump_cluster_functions,
        _load_cluster_functions,
    ),
    "default_resources": Kind(
        _default_resources,
        lambda: MappingProxyType(dict[str, Any]()),
        thaw,
    ),
    "max_concurrent_jobs": Kind(
        _whole("max_concurrent_jobs", 1, 2**31 - 1, optional=True), lambda: None
    ),
    "max_chunks": Kind(_whole("max_chunks", 1, 2**31 - 1), lambda: 10_000),
    "sleep": Kind(_sleep, lambda: None, _dump_sleep, _load_sleep),
    "expire_after": Kind(_whole("expire_after", 1, 2**31 - 1), lambda: 3),
    "compress": Kind(_compress, lambda: "none"),
    "temp_dir": Kind(
        functools.partial(_folder, "temp_dir"), lambda: Path(tempfile.gettempdir()), str
    ),
    "trusted_owners": Kind(_owners, tuple),
}


def unknown(name: str, where: str) -> ConfigError:
    """Give the error for a name that is no setting; it names the nearest that is."""
    near = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"the settings are {', '.join(KINDS)}"
    return ConfigError(f"{where}: unknown setting `{name}`; {hint}")


def parse(name: str, value: object) -> Any:
    """Check a value for one setting."""
    if name not in KINDS:
        raise unknown(name, "the registry")
    return KINDS[name].parse(value)


@dataclass(slots=True)
class Settings:
    """The values of one opened registry, by layer: assigned > configuration > default."""

    core: _core.Store
    file_dir: Path
    site: str | None = None
    """The path of the configuration file, which tells sites apart."""
    assigned: dict[str, Any] = field(default_factory=dict[str, Any])
    configured: dict[str, Any] = field(default_factory=dict[str, Any])
    defaults: dict[str, Any] = field(default_factory=dict[str, Any])
    set_aside: tuple[str, ...] = ()
    is_configuring: bool = False
    """Whether a configuration is running, whose assignments are not stored."""

    def get(self, name: str) -> Any:
        """Give the value that counts."""
        if name in self.assigned and not self._is_extended(name):
            return self.assigned[name]
        if name in self.configured:
            return self.configured[name]
        if name not in self.defaults:
            self.defaults[name] = self.core.seed if name == "seed" else KINDS[name].default()
        return self.defaults[name]

    def _is_extended(self, name: str) -> bool:
        """Whether the configuration took the assigned value and added to it."""
        value: Any = self.assigned[name]
        more: Any = self.configured.get(name)
        if isinstance(value, tuple) and isinstance(more, tuple):
            return set(cast("tuple[str, ...]", value)) <= set(cast("tuple[str, ...]", more))
        if isinstance(value, MappingProxyType) and isinstance(more, MappingProxyType):
            items = cast("Mapping[str, Any]", value).items()
            extended = cast("Mapping[str, Any]", more)
            return all(key in extended and extended[key] == item for key, item in items)
        return False

    def assign(self, name: str, value: object) -> None:
        """Set a value, durably; while a configuration runs, for this session only."""
        checked = parse(name, value)
        if self.is_configuring:
            self.configured[name] = checked
            return
        if name not in _OF_THE_USER:
            self._store(name, checked)
        self.assigned[name] = checked
        self.configured.pop(name, None)

    @contextlib.contextmanager
    def configuring(self) -> Generator[None]:
        """Within it, assignments are those of the configuration."""
        self.is_configuring = True
        try:
            yield
        finally:
            self.is_configuring = False

    def override(self, name: str, value: object) -> None:
        """Set a value for this session."""
        self.assigned[name] = parse(name, value)

    def _store(self, name: str, value: Any) -> None:
        plain = KINDS[name].dump(value)
        if value is not None and (plain is None or plain == {"function": None}):
            warnings.warn(
                f"`{name}` holds until this process ends and is not stored: functions are stored "
                "by name, so import them from a module",
                stacklevel=5,
            )
            self.core.assign(name, None)
            return
        stored: dict[str, Any] = {"value": plain}
        if name in LOCAL:
            stored |= {"at": str(self.file_dir), "site": self.site}
        self.core.assign(name, json.dumps(stored))

    def remember_made_in(self, folder: Path) -> None:
        """Keep the folder the registry was made in: the work_dir of those who name none."""
        made = {"value": str(folder), "at": str(self.file_dir), "site": self.site}
        self.core.assign(_MADE_IN, json.dumps(made))
        self.defaults["work_dir"] = folder

    def load(self) -> None:
        """Take over what is stored; what belongs to another place is set aside, aloud."""
        aside: list[str] = []
        for name, text in self.core.settings().items():
            stored = json.loads(text)
            away = "at" in stored and (stored["at"], stored["site"]) != (
                str(self.file_dir),
                self.site,
            )
            if name == _MADE_IN:
                if not away and Path(stored["value"]).is_dir():
                    self.defaults["work_dir"] = Path(stored["value"])
            elif away:
                aside.append(name)
            elif name in KINDS and name not in _OF_THE_USER:
                self._take(name, stored["value"])
        self.set_aside = tuple(aside)

    def _take(self, name: str, plain: Any) -> None:
        kind = KINDS[name]
        try:
            self.assigned[name] = (kind.load or kind.parse)(plain)
        except Exception as error:
            warnings.warn(f"the stored `{name}` cannot be used: {error}", stacklevel=5)
