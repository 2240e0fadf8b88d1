"""`check_registry`: reads every file of a registry, and names each fault and its repair."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from batchwright import store
from batchwright.errors import BatchwrightError, RegistryNotFoundError
from batchwright.executor import executor
from batchwright.ids import JobIds, in_words

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright import _core
    from batchwright.registry import Registry

_FAULTS: Final = (BatchwrightError, OSError, ValueError)
"""What the core raises where a file cannot be read."""
_OLD: Final = 3600.0
"""Seconds after which nobody writes a temporary file any more."""
_PAUSE: Final = 0.2
"""Seconds in which a writer ends a record that was seen unfinished."""
_SLICE: Final = 4096
"""How many results are read before those that cannot be are looked for one by one."""
_SHOWN: Final = 100
"""Findings that a report prints."""
_MODES: Final = {"private": (0o600, 0o700), "group": (0o660, 0o2770), "public": (0o644, 0o755)}
"""Of files and folders, by the access to a registry; as `access.rs` has them."""
_BACKUP: Final = "restore it from a backup"
_AGAIN: Final = "submit the jobs again whose results cannot be read, if findings name any"
_LOST: Final = "submit them again"
_OBJECT: Final = f"{_BACKUP}, or remove it and hand the same object over again"
_JOURNAL: Final = (
    f"{_BACKUP}; while a process still owns the registry, its `save_registry` may write a "
    "snapshot that does without it"
)

_SPARED: Final = (
    "none is needed, because the registry loads without these bytes; but see whether the disk is "
    "sound"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a registry."""

    file: str
    """Relative to the registry's folder."""
    offset: int | None
    """The byte at which it begins; None for the file as a whole."""
    what: str
    repair: str

    def __str__(self) -> str:
        place = self.file if self.offset is None else f"{self.file}, byte {self.offset}"
        return f"{place}: {self.what}\n  repair: {self.repair}"


@dataclass(frozen=True, slots=True)
class Report:
    """What `check_registry` found."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no fault."""
        return not self.findings

    def __str__(self) -> str:
        if self.ok:
            return "No faults"
        count = len(self.findings)
        lines = [f"{count} {'fault' if count == 1 else 'faults'}"]
        lines += [str(finding) for finding in self.findings[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"… and {count - _SHOWN} more in `findings`")
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class _Kind:
    """Files of one kind."""

    name: str
    pattern: re.Pattern[str]
    """Of the path below the registry."""
    repair: str
    content: str = ""
    """As `inspect` names it; empty unless the file is framed."""
    has_mode: bool = True
    """Whether we, not a scheduler, have made it."""


def _kind(name: str, pattern: str, repair: str, content: str = "", **more: bool) -> _Kind:
    chunk = r"(?P<h>[0-9a-f]{2})/(?P=h)[0-9a-f]{30}"
    whole = pattern.replace("CHUNK", chunk).replace("EPOCH", r"(?P<epoch>\d{10})")
    return _Kind(name, re.compile(whole), repair, content, **more)


_KINDS: Final = (
    _kind("identity", r"registry\.json", _BACKUP),
    _kind("owner", r"owner/EPOCH(\.end)?", _BACKUP),
    _kind("journal", r"journal-EPOCH-(?P<n>\d{6})\.bwj", _JOURNAL, "owner"),
    _kind("snapshot", r"snapshot-EPOCH-\d{6}\.bwj", _JOURNAL, "snapshot"),
    _kind("definition", r"defs/EPOCH-\d{6}\.arrow", _BACKUP),
    _kind("object", r"objects/CHUNK\.pkl", _OBJECT),
    _kind(
        "collection",
        r"jobs/CHUNK\.bwc",
        "jobs that wait for it cannot start: stop them by `kill_jobs` and submit them again; "
        "where they have ended, it is needed no more",
        "collection",
    ),
    _kind("run", r"runs/CHUNK\.\d+\.\d+\.\d+\.bwj", _AGAIN, "run"),
    _kind("result", r"runs/CHUNK\.\d+\.\d+\.\d+\.res", _AGAIN),
    _kind("log", r"logs/CHUNK\.\d+\.\d+\.log", "submit the jobs again whose logs are wanted"),
    _kind("log", r"logs/CHUNK\..+", "remove it", has_mode=False),
    _kind(
        "queue",
        r"queue/[^/]+/(requests-EPOCH-\d{6}|host-\d{10}-\d{6})\.bwj",
        "submit the jobs again that expire because the host does not know them",
        "queue",
    ),
    _kind("host", r"queue/[^/]+/host-\d{10}\.out", "remove it", has_mode=False),
    _kind("cache", r"cache/[^.].*", "remove it: it is made anew"),
)
_FOLDERS: Final = re.compile(
    r"(owner|defs|objects|jobs|runs|logs|queue|cache|(objects|jobs|runs|logs)/[0-9a-f]{2}"
    r"|queue/[^/]+)"
)
_TEMPORARY: Final = re.compile(r"(.*/)?\.[^/]+\.[0-9a-f]{16,32}")
_DELETED_OPEN: Final = re.compile(r"(.*/)?\.nfs[^/]*")
"""What NFS calls a file that is removed while somebody reads it."""
_OBJECT_NAME: Final = re.compile(r"[0-9a-f]{32}")
_IDENTITY: Final = frozenset({"format", "version", "uuid", "kind", "seed", "access"})
_REGISTRIES: Final = ("plain", "experiment")
_OWNER: Final = frozenset({"token", "host", "pid"})
_TEXTS: Final = frozenset({"name", "qualname"})


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    kind: _Kind
    epoch: str = ""
    """Of the owner that wrote it."""


@dataclass(slots=True)
class _Check:
    """One check of a folder, and what it has found."""

    folder: Path
    owned: bool
    """Whether this process owns the registry."""
    loads: bool = False
    """Whether whoever opens the registry now succeeds."""
    findings: list[Finding] = field(default_factory=list[Finding])
    files: list[_File] = field(default_factory=list[_File])
    modes: dict[tuple[str, int, int], list[str]] = field(default_factory=dict[Any, Any])
    """Names by their first folder, the mode that they have, and the one that is right."""

    def find(self, file: str, offset: int | None, what: str, repair: str) -> None:
        self.findings.append(Finding(file, offset, what, repair))

    def fault(self, file: str, error: BaseException, repair: str, before: str = "") -> None:
        """Take over what the core says of a file, under the name and place that it tells."""
        named, offset = self.place(error)
        self.find(named or file, offset, f"{before}{self.relative(_plain(error))}", repair)

    def place(self, error: BaseException) -> tuple[str, int | None]:
        """Give the file and the offset that an error names, where it does."""
        text = str(error)
        named = re.search(re.escape(f"`{self.folder}/") + "([^`]+)`", text)
        offset = re.search(r"at byte (\d+)", text)
        return named[1] if named else "", int(offset[1]) if offset else None

    def relative(self, text: str) -> str:
        return text.replace(f"{self.folder}/", "")

    def named(self, kind: str) -> Iterator[_File]:
        return (file for file in self.files if file.kind.name == kind)

    def is_faulty(self, name: str) -> bool:
        return any(finding.file == name for finding in self.findings)


def check_registry(reg: Registry) -> Report:
    """Read every file of the registry, and name each fault and what repairs it.

    Nothing is changed and nothing unpickled, so that a registry that is only read can be checked,
    also while jobs run.

    Returns
    -------
    Report
        It is `ok`, or has `findings`: of each its file, the byte where it begins, what it is, and
        what repairs it. It prints.

    Notes
    -----
    Logs have no checksum: what jobs printed is not checked.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> ids = reg.batch_map(abs, [-1])
    >>> reg.check_registry()
    No faults
    """
    if reg.store.writeable:
        reg.store.core.flush()
    else:
        reg.store.refresh()
    return check_folder(reg.file_dir, reg.store)


def check_folder(folder: Path, known: store.Store | None = None) -> Report:
    """Check the folder of a registry, even if it cannot be opened.

    Parameters
    ----------
    known
        The registry, if it is opened.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_registry(None, make_default=False)
    >>> check_folder(reg.file_dir).ok
    True
    """
    folder = folder.absolute()
    if not folder.is_dir() or (known is not None and known.removed):
        raise RegistryNotFoundError(f"`{folder}` is not there")
    check = _Check(folder, known is not None and known.writeable)
    identity = _check_identity(check)
    access = known.core.access if known else str(identity.get("access", ""))
    _list(check, _MODES.get(access))
    _check_modes(check)
    _check_owners(check)
    # A store that has read nothing yet, so that nothing it keeps in memory hides a fault.
    try:
        fresh = store.opened(folder, writeable=False, break_lock=False)
        fresh.sync()
        check.loads = True
    except _FAULTS as error:
        fresh = None
        kinds = {file.name: file.kind for file in check.files}
        kind = kinds.get(check.place(error)[0])
        repair = kind.repair if kind else _BACKUP
        check.fault("registry.json", error, repair, "the registry cannot be loaded: ")
    core = fresh or (known.core if known else None)
    _check_framed(check, core)
    _check_definitions(check, core)
    if core is not None:
        _check_objects(check, core)
        _check_results(check, core)
    if fresh is not None and known is not None and fresh.n_jobs < known.core.n_jobs:
        what = f"whoever loads it now sees {fresh.n_jobs} jobs instead of {known.core.n_jobs}"
        newest = max((file.name for file in check.named("journal")), default="registry.json")
        check.find(newest, None, what, _JOURNAL)
    unique = dict.fromkeys(check.findings)
    return Report(tuple(sorted(unique, key=lambda found: (found.file, found.offset or 0))))


# -- names and modes


def _check_identity(check: _Check) -> dict[str, Any]:
    try:
        found = _read_json(check, "registry.json", _IDENTITY)
    except (OSError, ValueError, TypeError) as error:
        check.find("registry.json", None, f"it cannot be read: {_plain(error)}", _BACKUP)
        return {}
    for key, known in (("kind", _REGISTRIES), ("access", tuple(_MODES))):
        if key in found and found[key] not in known:
            what = f"its {key} is {found[key]!r} instead of {' or '.join(map(repr, known))}"
            check.find("registry.json", None, what, _BACKUP)
    return found


def _read_json(check: _Check, name: str, keys: Set[str]) -> dict[str, Any]:
    data = (check.folder / name).read_bytes()
    found = json.loads(data)
    if not isinstance(found, dict):
        raise TypeError("it holds no JSON object")
    if lacking := keys - found.keys():
        check.find(name, None, f"it lacks {', '.join(sorted(lacking))}", _BACKUP)
    _check_seal(check, name, data)
    return cast("dict[str, Any]", found)


def _check_seal(check: _Check, name: str, data: bytes) -> None:
    """Find a file that does not fit the checksum inside it, unless more is known already."""
    sealed = store.is_sealed(data)
    if check.is_faulty(name):
        return
    if sealed is None:
        check.find(name, None, "it has no checksum, so damage does not show", _BACKUP)
    elif not sealed:
        check.find(name, None, "it does not match its checksum", _BACKUP)


def _list(check: _Check, modes: tuple[int, int] | None) -> None:
    """List all files, and find those that are none of a registry or have a wrong mode."""
    pending = [""]
    if modes:
        _take_mode(check, ".", check.folder.stat().st_mode, modes[1])
    while pending:
        inside = pending.pop()
        try:
            with os.scandir(check.folder / inside) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            check.find(inside or ".", None, f"it cannot be listed: {_plain(error)}", "chmod it")
            continue
        for entry in found:
            name = f"{inside}/{entry.name}" if inside else entry.name
            try:
                status = entry.stat()
            except FileNotFoundError:
                if not entry.is_symlink():
                    continue
                status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if _FOLDERS.fullmatch(name):
                    pending.append(name)
                    if modes:
                        _take_mode(check, name, status.st_mode, modes[1])
                elif name != "external" and not name.startswith("cache/"):
                    check.find(name, None, "no folder of a registry", "move it elsewhere")
                # What lies in `external` belongs to the jobs.
                continue
            _take_file(check, name, status, modes)


def _take_file(
    check: _Check, name: str, status: os.stat_result, modes: tuple[int, int] | None
) -> None:
    for kind in _KINDS:
        if match := kind.pattern.fullmatch(name):
            check.files.append(_File(name, kind, match.groupdict().get("epoch") or ""))
            if not stat.S_ISREG(status.st_mode):
                check.find(name, None, "it is no regular file", kind.repair)
            elif modes and kind.has_mode:
                _take_mode(check, name, status.st_mode, modes[0])
            return
    if _DELETED_OPEN.fullmatch(name):
        return
    if _TEMPORARY.fullmatch(name):
        age = time.time() - status.st_mtime
        if age > _OLD:
            what = f"a temporary file that nobody has written to for {age / 3600:.0f} h"
            check.find(name, None, what, "remove it")
        return
    check.find(name, None, "no file of a registry", "move it elsewhere")


def _take_mode(check: _Check, name: str, mode: int, right: int) -> None:
    # A folder may have the bit by which its group is inherited without our doing.
    found = stat.S_IMODE(mode) & (0o7777 if right & stat.S_ISGID else 0o777)
    if found != right:
        check.modes.setdefault((name.split("/")[0], found, right), []).append(name)


def _check_modes(check: _Check) -> None:
    for (top, found, right), names in check.modes.items():
        names.sort()
        what = f"its mode is {found:o} instead of {right:o}"
        if len(names) > 1:
            what += f", and that of {len(names) - 1} more below `{top}`"
        each = "" if len(names) == 1 else f" each, as in `find {top} -perm {found:o}`"
        check.find(names[0], None, what, f"chmod {right:o}{each}")


def _check_owners(check: _Check) -> None:
    for file in check.named("owner"):
        if file.name.endswith(".end"):
            continue
        try:
            _read_json(check, file.name, _OWNER)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError) as error:
            check.find(file.name, None, f"it cannot be read: {_plain(error)}", _BACKUP)


# -- framed files


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Bytes that are no records."""

    offset: int
    length: int
    is_tail: bool


@dataclass(slots=True)
class _Inspected:
    """What `inspect` tells of a file."""

    content: str = ""
    stretches: list[_Stretch] = field(default_factory=list[_Stretch])
    error: str = ""


def _inspect(program: Path, path: Path) -> _Inspected:
    found = _Inspected()
    # One of the streams alone is long; the other is a message.
    with subprocess.Popen(
        [program, "inspect", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith((b'{"damaged"', b'{"unfinished"')):
                ((what, at),) = json.loads(line).items()
                is_tail = what == "unfinished"
                found.stretches.append(_Stretch(at["offset"], at["length"], is_tail))
            elif not found.content:
                found.content = json.loads(line).get("content", "")
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        found.error = said.removeprefix("batchwright-exec: ") or f"exit {process.returncode}"
    return found


def _check_framed(check: _Check, core: _core.Store | None) -> None:
    program = executor()
    files = [file for file in check.files if file.kind.content]
    still_open = _open_chunks(core)
    paths = [check.folder / file.name for file in files]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        inspected = list(pool.map(partial(_inspect, program), paths))
    if core is not None and not core.writeable:
        core.refresh()
    still_open |= _open_chunks(core)
    doubtful: list[tuple[_File, _Stretch]] = []
    for file, found in zip(files, inspected, strict=True):
        _judge(check, file, found)
        tails = (stretch for stretch in found.stretches if stretch.is_tail)
        if not _may_grow(check, file, still_open):
            doubtful += ((file, tail) for tail in tails)
    if doubtful:
        time.sleep(_PAUSE)
    for file, tail in doubtful:
        # A record that was being written is whole by now.
        if tail in _inspect(program, check.folder / file.name).stretches:
            what = f"{tail.length} bytes at its end are no whole record: it was cut"
            check.find(file.name, tail.offset, what, file.kind.repair)


def _judge(check: _Check, file: _File, found: _Inspected) -> None:
    """Find what is wrong in a file whether or not somebody writes to it."""
    if found.error:
        # One that is gone was removed by its owner, as superseded.
        if (check.folder / file.name).exists():
            offset = check.place(BatchwrightError(found.error))[1]
            what = f"it cannot be read: {check.relative(found.error)}"
            check.find(file.name, offset, what, file.kind.repair)
        return
    if found.content != file.kind.content:
        what = f"its content is of the kind {found.content!r} instead of {file.kind.content!r}"
        check.find(file.name, 0, what, file.kind.repair)
    for stretch in found.stretches:
        if stretch.is_tail:
            continue
        is_spared = check.loads and file.kind.name == "journal"
        repair = _SPARED if is_spared else file.kind.repair
        check.find(file.name, stretch.offset, f"{stretch.length} bytes are damaged", repair)


def _may_grow(check: _Check, file: _File, still_open: set[str]) -> bool:
    """Whether a record may be unfinished because its writer is at work, or died in it."""
    match file.kind.name:
        case "run":
            return Path(file.name).name.split(".")[0] in still_open
        case "journal":
            released = f"owner/{file.epoch}.end"
            is_over = (check.folder / released).exists()
            return not (is_over or (check.owned and file.epoch == _newest_epoch(check)))
        case "queue":
            return bool(still_open)
        case _:
            return False


def _newest_epoch(check: _Check) -> str:
    return max((file.epoch for file in check.named("owner")), default="")


def _open_chunks(core: _core.Store | None) -> set[str]:
    return set() if core is None else {chunk for chunk, _, _ in core.open_chunks()}


# -- definitions and objects


def _check_definitions(check: _Check, core: _core.Store | None) -> None:
    names = [file.name for file in check.named("definition")]
    for name in names:
        _read_definition(check, name, core)
    # Reading what Arrow finds wrong could do harm to the core.
    if core is None or any(check.is_faulty(name) for name in names):
        return
    segments = core.segments()
    is_plain = core.kind == "plain"
    for place, (first, last) in enumerate(segments):
        file = names[place] if is_plain and len(names) == len(segments) else "defs"
        try:
            if not is_plain:
                core.designs(place)
                continue
            rows = core.parameters(place, None).num_rows
        except _FAULTS as error:
            check.fault(file, error, _BACKUP)
            continue
        if rows != last - first + 1:
            what = f"{rows} rows instead of {last - first + 1}, of jobs {first} to {last}"
            check.find(file, None, what, _BACKUP)


def _read_definition(check: _Check, name: str, core: _core.Store | None) -> None:
    import pyarrow as pa
    import pyarrow.ipc

    ipc = cast("Any", pyarrow.ipc)
    try:
        data = (check.folder / name).read_bytes()
        _check_seal(check, name, data)
        if check.is_faulty(name):
            return
        table = ipc.open_file(data).read_all()
        table.validate(full=True)
    except FileNotFoundError:
        return
    except (pa.ArrowException, *_FAULTS) as error:
        check.find(name, None, f"it is no Arrow file: {check.relative(_plain(error))}", _BACKUP)
        return
    if core is not None:
        _check_references(check, core, name, _large_values(table))


def _large_values(table: pa.Table) -> Iterator[str]:
    """Give the objects that hold the large ones among pickled parameters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, column_field in enumerate(table.schema):
        if b"pickled" not in (column_field.metadata or {}):
            continue
        for chunk in table.column(index).chunks:
            values: Any = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
            large = values.filter(pc.starts_with(values, pattern="R"))
            yield from (value[1:].decode() for value in large.unique().to_pylist() if value)


def _check_objects(check: _Check, core: _core.Store) -> None:
    for file in check.named("object"):
        try:
            core.get_object(Path(file.name).stem)
        except FileNotFoundError:
            continue
        except _FAULTS as error:
            check.fault(file.name, error, _OBJECT)
    texts = {*core.problems().values(), *core.algorithms().values()}
    for place in range(len(core.segments())):
        # Where designs are damaged, calls are not known, and that is found already.
        with contextlib.suppress(*_FAULTS):
            texts.add(core.call(place))
    wanted = [name for text in texts for name in _objects_in(json.loads(text))]
    _check_references(check, core, "objects", [*wanted, *core.exports().values()])


def _objects_in(value: Any) -> Iterator[str]:
    """Give the objects that the JSON of a definition names."""
    if not isinstance(value, dict):
        return
    for key, item in cast("dict[str, Any]", value).items():
        if isinstance(item, str) and key not in _TEXTS and _OBJECT_NAME.fullmatch(item):
            yield item
        else:
            yield from _objects_in(item)


def _check_references(
    check: _Check, core: _core.Store, name: str, wanted: Sequence[str] | Iterator[str]
) -> None:
    for item in dict.fromkeys(wanted):
        file = f"objects/{item[:2]}/{item}.pkl"
        if not (check.folder / file).exists():
            what = "it is missing, and jobs need it"
            if name != "objects":
                what += f" as a parameter in `{name}`"
            check.find(file, None, what, f"{_BACKUP}, or hand the same object over again")


# -- results


def _check_results(check: _Check, core: _core.Store) -> None:
    """Read the result of each job that is done, and group what cannot be read by file."""
    lost: dict[str, list[tuple[int, BaseException]]] = defaultdict(list)
    jobs = core.where("done", None, None).to_array()
    pending = [jobs[at : at + _SLICE] for at in range(0, len(jobs), _SLICE)][::-1]
    while pending:
        some = pending.pop()
        try:
            reader = core.results(some)
            while reader.next_batch() is not None:
                pass
        except _FAULTS as error:
            if len(some) > 1:
                half = len(some) // 2
                pending += [some[half:], some[:half]]
            elif core.where("done", JobIds(some).core, None):
                lost[check.place(error)[0] or "runs"].append((int(some[0]), error))
    for file, jobs_of in lost.items():
        ids = JobIds(job for job, _ in jobs_of)
        error = jobs_of[0][1]
        which = "job" if len(ids) == 1 else "jobs"
        what = f"no result of {which} {in_words(ids.core)}: {check.relative(_plain(error))}"
        repair = "submit it again" if len(ids) == 1 else _LOST
        check.find(file, check.place(error)[1], what, repair)


def _plain(error: BaseException) -> str:
    """Give what an error says, without the path that the finding names anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())
