"""A collection's functions, prepared once, and its jobs, run one after the other.

The worker on a node and the owner's process (interactive backend, `test_job`) use the same
class; nothing here knows of pipes.
"""

from __future__ import annotations

import os
import pickle
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .calls import KINDS
from .exports import own_globals
from .failures import SetupError, say
from .objects import Fresh, Objects
from .seeds import Seeder, job_seed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .calls import Call


class Collection:
    """The jobs of one collection.

    Parameters
    ----------
    header
        The header of the collection file, as read from its JSON.
    root
        The registry's folder.
    uri
        The collection's own file, for hooks.
    seeder
        Seeds the global generators; one that is installed also seeds modules which jobs import.
    """

    def __init__(
        self,
        header: Mapping[str, Any],
        root: str | Path,
        *,
        uri: str | Path = "",
        seeder: Seeder | None = None,
    ) -> None:
        self._python: Mapping[str, Any] = header["python"]
        self._work_dir = str(header["work_dir"])
        self._seed = int(header["seed"])
        self._resources: Mapping[str, Any] = header.get("resources") or {}
        self._root = str(root)
        self._uri = str(uri)
        self._objects = Objects(self._root, header.get("access", "private"))
        self._seeder = seeder or Seeder()
        self._calls: list[Call] = []
        self._globals: list[dict[str, Any]] = []
        self._exports: dict[str, Fresh] = {}
        self._bindings: dict[str, Any] = {}

    def prepare(self) -> None:
        """Do all that comes before the first job.

        Raises
        ------
        SetupError
            If Python's version differs or the working folder is missing. What imports, sources
            and unpickling raise passes unchanged.
        """
        self._check_version()
        self._enter_work_dir()
        known = set(sys.path)
        sys.path.extend(p for p in self._python.get("sys_path", ()) if p not in known)
        for name in self._python.get("imports", ()):
            import_module(name)
        shared = self._shared_globals()
        self._exports = {
            name: Fresh(self._objects.read(hash_))
            for name, hash_ in self._python.get("exports", {}).items()
        }
        self._calls = [
            KINDS[spec["kind"]](spec, self._objects, self._seeder) for spec in self._python["calls"]
        ]
        roots: list[object] = [f for call in self._calls for f in call.functions]
        roots.extend(fresh.value for fresh in self._exports.values())
        self._globals = own_globals(roots)
        for names in self._globals:
            names.update(shared)
        self._report_versions()

    def run(self, job_id: int, attempt: int, call: int, parameters: bytes) -> Any:
        """Run one job.

        Parameters
        ----------
        job_id
            Its number in the registry.
        attempt
            How often it was submitted.
        call
            Which of the collection's calls defined it.
        parameters
            The pickled parameters of its row.

        Returns
        -------
        Any
            What the function returned; what it raised is raised.
        """
        self._seeder.seed_all(job_seed(self._seed, job_id))
        if self._exports:
            self._bind_exports()
        definition = self._calls[call]
        bound = definition.bind(parameters)
        if not definition.names_job:
            return definition.invoke(bound, None)
        job = definition.make_job(
            lambda: bound,
            job_id,
            attempt=attempt,
            registry_seed=self._seed,
            file_dir=self._root,
            resources=self._resources,
            exports=self._bindings,
        )
        return definition.invoke(bound, job)

    def run_hook(self, name: str) -> None:
        """Run a hook of the configuration, if there is one of that name."""
        hash_ = self._python.get("hooks", {}).get(name)
        if hash_:
            self._objects.load(hash_)(self)

    @property
    def resources(self) -> Mapping[str, Any]:
        """What the collection was submitted with."""
        return self._resources

    @property
    def work_dir(self) -> Path:
        """Where its jobs run."""
        return _path(self._work_dir)

    @property
    def file_dir(self) -> Path:
        """The registry's folder."""
        return _path(self._root)

    @property
    def uri(self) -> Path:
        """The collection's own file."""
        return _path(self._uri)

    @property
    def job_hash(self) -> str:
        """Names the chunk, as in the job table."""
        return os.path.basename(self._uri).partition(".")[0]

    def _check_version(self) -> None:
        wanted = tuple(self._python.get("version") or sys.version_info[:2])
        found = sys.version_info[:2]
        if wanted != found:
            raise SetupError(
                f"the jobs were defined with Python {wanted[0]}.{wanted[1]}, the node runs "
                f"{found[0]}.{found[1]} ({sys.executable}); name the interpreter with the "
                "resource `python`"
            )

    def _enter_work_dir(self) -> None:
        try:
            os.chdir(self._work_dir)
        except OSError as error:
            raise SetupError(
                f"the working folder `{self._work_dir}` cannot be entered on this node: "
                f"{error.strerror}"
            ) from error

    def _shared_globals(self) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for path in self._python.get("source", ()):
            names.update(_run_file(path))
        for path in self._python.get("load", ()):
            with open(path, "rb") as file:
                names.update(pickle.load(file))
        return names

    def _bind_exports(self) -> None:
        self._bindings = {name: fresh.get() for name, fresh in self._exports.items()}
        for names in self._globals:
            names.update(self._bindings)

    def _report_versions(self) -> None:
        for name, recorded in self._python.get("versions", {}).items():
            found = getattr(sys.modules.get(name), "__version__", recorded)
            if found != recorded:
                say(f"batchwright: defined with {name} {recorded}, this node has {found}")


def _path(text: str) -> Path:
    from pathlib import Path  # (a worker without hooks does not need it)

    return Path(text)


def _run_file(path: str) -> dict[str, Any]:
    """Run a Python file and give the names that it defines."""
    name = os.path.basename(path).removesuffix(".py")
    names: dict[str, Any] = {"__name__": name, "__file__": path}
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), names)
    return {name: value for name, value in names.items() if not name.startswith("__")}
