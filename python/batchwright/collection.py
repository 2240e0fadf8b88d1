"""Job collections: what travels to a node, and what templates and backends see of it."""

from __future__ import annotations

import json
import os
import shlex
import site
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from batchwright import resources, serialization, store
from batchwright.debugging import is_debugging
from batchwright.errors import DefinitionError
from batchwright.executor import executor
from batchwright.settings import freeze

if TYPE_CHECKING:
    import pyarrow as pa

    from batchwright.registry import Registry

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_END = "END_OF_TASKS"
_RECORDED = ("numpy", "pyarrow", "torch", "pandas", "polars")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCollection:
    """The jobs of one submission, as backends and templates see them.

    Every field and property is a variable of templates.
    """

    job_hash: str
    """Names the submission; 32 hex digits."""
    job_name: str
    n_jobs: int
    uri: Path
    """The collection's own file."""
    file_dir: Path
    work_dir: Path
    log_file: Path
    """Where the scheduler shall put what the executor itself prints."""
    resources: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What the submission asks for: memory and cores of all jobs that run side by side."""
    array_jobs: int = 0
    """The number of array tasks; 0 if this is no array."""
    array_var: str | None = None
    tasks: tuple[Path, ...] = ()
    """The collections that are the tasks of an array, if it has chunks for tasks."""
    command: tuple[str, ...] = ()
    """The command that runs the collection, as words."""
    debug: bool = False
    read_jobs: Callable[[], pa.Table] | None = field(default=None, repr=False, compare=False)

    @property
    def exec_command(self) -> str:
        """The command that runs the collection, or the array task that this is, as shell."""
        if not self.tasks:
            words = shlex.join(self.command)
            return f'{words} --task "${{{self.array_var}}}"' if self.array_jobs else words
        words = shlex.join(self.command[:-1])
        files = "\n".join(str(path) for path in self.tasks)
        return f'{words} "$(sed -n "${{{self.array_var}}}p" <<\'{_END}\'\n{files}\n{_END}\n)"'

    @property
    def short_name(self) -> str:
        """The chunk's short name: a letter and 14 more, which every scheduler takes."""
        return short_name(self.job_hash)

    @property
    def jobs(self) -> pa.Table:
        """The jobs with their parameters; read when asked for."""
        import pyarrow as pa

        if self.read_jobs is not None:
            return self.read_jobs()
        rows = store.open_collection(self.uri).rows()
        return pa.table({"job_id": pa.array([row[0] for row in rows], pa.int64())})


def short_name(chunk: str) -> str:
    """Give 70 bits of a chunk's name in 15 letters and digits, as the core does.

    Examples
    --------
    >>> short_name("0" * 31 + "f")
    'bpaaaaaaaaaaaaa'
    """
    number = int(chunk, 16)
    return "b" + "".join(_ALPHABET[number >> (5 * i) & 31] for i in range(14))


def as_array(collections: Sequence[JobCollection], array_var: str | None) -> JobCollection:
    """Give one collection for the scheduler whose array tasks are whole chunks."""
    first = collections[0]
    return replace(
        first,
        n_jobs=sum(jc.n_jobs for jc in collections),
        array_jobs=len(collections),
        array_var=array_var,
        tasks=tuple(jc.uri for jc in collections),
        read_jobs=None,
    )


def describe(
    reg: Registry,
    chunk: str,
    asked: Mapping[str, Any],
    ids: Any,
    *,
    is_array: bool,
    names: Mapping[int, str],
) -> JobCollection:
    """Give the collection of a chunk that the core has published."""
    uri = reg.store.collection_path(chunk)
    log_file = reg.store.output_path(chunk)
    own = [names.get(int(job)) for job in ids] if names else [None]
    return JobCollection(
        job_hash=chunk,
        job_name=own[0] if own[0] is not None and None not in own else chunk,
        n_jobs=len(ids),
        uri=uri,
        file_dir=reg.file_dir,
        work_dir=reg.work_dir,
        log_file=log_file,
        resources=freeze(resources.asked(asked)),
        array_jobs=len(ids) if is_array else 0,
        array_var=reg.cluster_functions.array_var if is_array else None,
        command=(str(asked.get("executor", executor())), "run", str(uri)),
        debug=is_debugging(),
        read_jobs=lambda: _jobs(reg, ids),
    )


def _jobs(reg: Registry, ids: Any) -> pa.Table:
    from batchwright.tables import get_job_pars, unwrap

    pars = get_job_pars(reg, ids)
    try:
        return unwrap(pars)
    except DefinitionError:
        # Problem and algorithm have a parameter of the same name.
        return unwrap(pars, sep=".")


def new_chunk() -> str:
    """Draw the hash of a new chunk: 128 random bits."""
    return os.urandom(16).hex()


def header(reg: Registry) -> str:
    """Give the JSON that all collections of one submission share."""
    work_dir = reg.work_dir
    core = reg.store.core
    hooks = {
        name: serialization.put_function(reg.store, function)
        for name, function in reg.cluster_functions.hooks.items()
        if name.endswith("_do_collection")
    }
    python = {
        "version": list(sys.version_info[:2]),
        "sys_path": added_sys_path(),
        "imports": list(reg.imports),
        "source": [str(work_dir / Path(path).expanduser()) for path in reg.source],
        "load": [str(work_dir / Path(path).expanduser()) for path in reg.load],
        "exports": core.exports(),
        "hooks": hooks,
        "debug": is_debugging(),
        "versions": _versions(work_dir),
        "compress": reg.compress,
    }
    return json.dumps(
        {"work_dir": str(work_dir), "access": core.access, "seed": reg.seed, "python": python}
    )


def added_sys_path() -> list[str]:
    """Give the entries of `sys.path` that a fresh interpreter would not have."""
    paths = sysconfig.get_paths()
    own = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own |= {*site.getsitepackages(), site.getusersitepackages()}
    library = paths["stdlib"]
    added: list[str] = []
    for entry in sys.path:
        path = os.path.abspath(entry or ".")  # noqa: PTH100 - links stay as they are
        is_own = path in own or path.startswith((f"{library}{os.sep}", f"{sys.prefix}{os.sep}lib"))
        if not is_own and not path.endswith(".zip") and path not in added:
            added.append(path)
    return added


def _versions(work_dir: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _RECORDED:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    commit = _git_commit(work_dir)
    return found | ({"git": commit} if commit else {})


def _git_commit(folder: Path) -> str | None:
    """Read the commit checked out, without the time that starting `git` takes."""
    for parent in (folder, *folder.parents):
        head = parent / ".git" / "HEAD"
        try:
            text = head.read_text().strip()
            if not text.startswith("ref: "):
                return text
            return (parent / ".git" / text.removeprefix("ref: ")).read_text().strip()
        except OSError:
            continue
    return None
