"""Experiments: an instance of a problem, and an algorithm that is applied to it."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from .job import Job
from .objects import Fresh
from .parameters import Row
from .results import dump
from .seeds import job_seed, random_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .objects import Objects
    from .seeds import Seeder

_KEPT = 1 << 26
"""Bytes of pickled instances that are kept in memory, besides the newest one."""

_MODES = {"private": 0o600, "group": 0o660, "public": 0o644}


class Experiment(NamedTuple):
    """The parameters of one job."""

    prob_pars: dict[str, Any]
    algo_pars: dict[str, Any]
    repl: int
    key: bytes
    """What of them the instance depends on."""


class Problem:
    """A problem as a job sees it; `data` is the job's own."""

    def __init__(self, source: _Source) -> None:
        self.name: str = source.name
        self.seed: int | None = source.seed
        self.cache: bool = source.cache
        self._source = source

    def __repr__(self) -> str:
        return f"Problem({self.name!r}, seed={self.seed}, cache={self.cache})"

    @property
    def fun(self) -> Callable[..., Any] | None:
        """What makes its instances, if not its data are the instance."""
        return self._source.fun

    @cached_property
    def data(self) -> Any:
        """What the problem was added with."""
        return self._source.data()


class Algorithm:
    """An algorithm as a job sees it."""

    def __init__(self, source: _Algorithm) -> None:
        self.name = source.name
        self._source = source

    def __repr__(self) -> str:
        return f"Algorithm({self.name!r})"

    @property
    def fun(self) -> Callable[..., Any] | None:
        """What is applied to instances, if not these are the results."""
        return self._source.fun


class ExperimentJob(Job):
    """One experiment, as its algorithm sees it.

    Attributes
    ----------
    prob_name, algo_name
        The names of problem and algorithm.
    problem, algorithm
        Both, with what they were added with.
    """

    def __init__(
        self, job_id: int, call: ExperimentCall, read: Callable[[], Experiment], **facts: Any
    ) -> None:
        super().__init__(job_id, **facts)
        self.problem = Problem(call.source)
        self.algorithm = Algorithm(call.algorithm)
        self.prob_name = self.problem.name
        self.algo_name = self.algorithm.name
        self._call = call
        self._read = read

    @cached_property
    def _bound(self) -> Experiment:
        return self._read()

    @property
    def repl(self) -> int:
        """Its replication, counted from 1."""
        return self._bound.repl

    @cached_property
    def pars(self) -> dict[str, dict[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The parameters of problem and algorithm, `prob_pars` and `algo_pars`."""
        return {"prob_pars": dict(self._bound.prob_pars), "algo_pars": dict(self._bound.algo_pars)}

    @property
    def prob_pars(self) -> dict[str, Any]:
        """The parameters of the problem by name."""
        return self.pars["prob_pars"]

    @property
    def algo_pars(self) -> dict[str, Any]:
        """The parameters of the algorithm by name."""
        return self.pars["algo_pars"]

    def __getstate__(self) -> dict[str, Any]:
        # How it was read stays behind.
        return {**vars(self), "_bound": self._bound, "_read": None}

    @cached_property
    def instance(self) -> Any:
        """The problem's instance, the job's own."""
        return self._call.instance(self._bound, self)

    def for_problem(self) -> _ProblemJob:
        """Give the same job as the problem's function sees it."""
        return _ProblemJob(
            self.job_id,
            self._call,
            lambda: self._bound,
            attempt=self.attempt,
            registry_seed=self._registry_seed,
            file_dir=self._file_dir,
            resources=self.resources,
            exports=self.exports,
        )


class _ProblemJob(ExperimentJob):
    """The job while its instance is made; its random numbers are the instance's."""

    @property
    def seed(self) -> int:
        """The seed of the global generators at its start."""
        seed = self.problem.seed
        if seed is None:
            return super().seed
        return job_seed(seed, self.repl - 1)

    @cached_property
    def seed_sequence(self) -> Any:
        """A numpy ``SeedSequence``, the same for all algorithms if the problem has a seed."""
        seed = self.problem.seed
        if seed is None:
            return random_of(self._registry_seed, self.job_id, 1)
        return random_of(seed, self.repl)

    @cached_property
    def instance(self) -> Any:
        """Refuse: it is just being made."""
        raise AttributeError("`job.instance` is what this function is about to make")


class _Source:
    """A problem as it was added, shared by all calls that use it."""

    def __init__(self, spec: Mapping[str, Any], objects: Objects) -> None:
        self.name: str = spec["name"]
        self.seed: int | None = spec.get("seed")
        self.cache: bool = bool(spec.get("cache"))
        self._fun: str | None = spec["fun"]
        self.takes = frozenset(spec["takes"])
        self.identity = identity(spec)
        self._data: str | None = spec["data"]
        self._objects = objects

    @cached_property
    def fun(self) -> Callable[..., Any] | None:
        """Its function."""
        return self._objects.load(self._fun) if self._fun else None

    def data(self) -> Any:
        """Give the data afresh. Those of one problem at a time are held in memory."""
        if self._data is None:
            return None
        held = self._objects.kept.get("data")
        if held is None or held[0] != self._data:
            held = (self._data, Fresh(self._objects.read(self._data)))
            self._objects.kept["data"] = held
        return held[1].get()

    def make(self, job: _ProblemJob) -> Any:
        """Call the problem's function."""
        assert self.fun is not None
        keywords = dict(job.prob_pars)
        if "job" in self.takes:
            keywords["job"] = job
        if "data" in self.takes:
            keywords["data"] = job.problem.data
        return self.fun(**keywords)


def identity(spec: Mapping[str, Any]) -> bytes:
    """Give what an instance depends on, besides its parameters and its replication."""
    return json.dumps([spec["name"], spec["fun"], spec["data"], spec.get("seed")]).encode()


def cache_prefix(identity: bytes) -> str:
    """Give how the names of a problem's cached instances begin."""
    return _digest(identity)[:16]


def _digest(data: bytes) -> str:
    from hashlib import blake2b

    return blake2b(data, digest_size=16).hexdigest()


class _Algorithm:
    """An algorithm as it was added."""

    def __init__(self, spec: Mapping[str, Any], objects: Objects) -> None:
        self.name: str = spec["name"]
        self.takes = frozenset(spec["takes"])
        self._fun: str | None = spec["fun"]
        self._objects = objects

    @cached_property
    def fun(self) -> Callable[..., Any] | None:
        """Its function."""
        return self._objects.load(self._fun) if self._fun else None


class Instances:
    """Instances of problems that have a seed: the newest in memory, others in files if wanted."""

    def __init__(self, folder: str, access: str) -> None:
        self._folder = folder
        self._mode = _MODES.get(access, 0o600)
        self._access = access
        self._kept: OrderedDict[str, tuple[Fresh, int]] = OrderedDict()
        self._size = 0

    def find(self, name: str, *, on_disk: bool) -> Fresh | None:
        """Give an instance that was made before."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name][0]
        return self._read(name) if on_disk else None

    def _read(self, name: str) -> Fresh | None:
        try:
            with open(f"{self._folder}/{name}", "rb") as file:
                pickled = file.read()
            fresh = Fresh(pickled)
        except Exception:
            # Missing or unreadable, for whatever reason: it is made anew.
            return None
        self._keep(name, fresh, len(pickled))
        return fresh

    def keep(self, name: str, pickled: bytes, *, on_disk: bool) -> Fresh:
        """Keep an instance that was just made."""
        fresh = Fresh(pickled)
        self._keep(name, fresh, len(pickled))
        if on_disk:
            self._write(name, pickled)
        return fresh

    def _keep(self, name: str, fresh: Fresh, size: int) -> None:
        self._kept[name] = (fresh, size)
        self._size += size
        while self._size > _KEPT and len(self._kept) > 1:
            _, (_, size) = self._kept.popitem(last=False)
            self._size -= size

    def _write(self, name: str, pickled: bytes) -> None:
        """Publish a file under its name; several nodes may do so, with the same content."""
        temporary = f"{self._folder}/.{name}.{os.urandom(8).hex()}"
        try:
            self._make_folder()
            with open(temporary, "xb", opener=self._open) as file:
                os.fchmod(file.fileno(), self._mode)
                file.write(pickled)
            os.replace(temporary, f"{self._folder}/{name}")
        except OSError:
            # A cache that cannot be written costs time only.
            self._remove(temporary)

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, self._mode)

    def _make_folder(self) -> None:
        if os.path.isdir(self._folder):
            return
        os.makedirs(self._folder, exist_ok=True)
        os.chmod(self._folder, {"group": 0o2770, "public": 0o755}.get(self._access, 0o700))

    @staticmethod
    def _remove(path: str) -> None:
        try:
            os.unlink(path)
        except OSError:
            return


class ExperimentCall:
    """`add_experiments`: one problem, one algorithm, and the names of their parameters."""

    names_job = True

    def __init__(self, spec: Mapping[str, Any], objects: Objects, seeder: Seeder) -> None:
        problem, algorithm = spec["problem"], spec["algorithm"]
        key = ("problem", json.dumps([problem["name"], problem["fun"]]))
        self.source: _Source = objects.kept.get(key) or _Source(problem, objects)
        objects.kept[key] = self.source
        self.algorithm = _Algorithm(algorithm, objects)
        self._problem_row = Row(problem, objects)
        self._algorithm_row = Row(algorithm, objects)
        self._seeder = seeder
        self._prefix = cache_prefix(self.source.identity)
        instances: Instances | None = objects.kept.get("instances")
        self._instances = instances or Instances(f"{objects.root}/cache", objects.access)
        objects.kept["instances"] = self._instances

    @property
    def functions(self) -> tuple[object, ...]:
        """What it calls, so that exports can become their globals."""
        return tuple(fun for fun in (self.source.fun, self.algorithm.fun) if fun is not None)

    def bind(self, parameters: bytes) -> Experiment:
        """Unpickle the parameters of a job."""
        problem, algorithm, repl = pickle.loads(parameters)
        return Experiment(
            self._problem_row.named(problem),
            self._algorithm_row.named(algorithm),
            repl,
            pickle.dumps((self._problem_row.names, problem, repl), 5),
        )

    def make_job(self, read: Callable[[], Experiment], job_id: int, **facts: Any) -> ExperimentJob:
        """Make what the functions see of the job."""
        return ExperimentJob(job_id, self, read, **facts)

    def invoke(self, bound: Experiment, job: Job | None) -> Any:
        """Make the instance, apply the algorithm, and give its result."""
        assert isinstance(job, ExperimentJob)
        instance = job.instance
        if self.source.seed is not None and self.source.fun is not None:
            # Without a seed of the problem's own, the algorithm goes on with the same numbers.
            self._seeder.seed_all(job.seed)
        algorithm = self.algorithm
        if algorithm.fun is None:
            return instance
        keywords = dict(bound.algo_pars)
        if "job" in algorithm.takes:
            keywords["job"] = job
        if "data" in algorithm.takes:
            keywords["data"] = job.problem.data
        if "instance" in algorithm.takes:
            keywords["instance"] = instance
        return algorithm.fun(**keywords)

    def instance(self, bound: Experiment, job: ExperimentJob) -> Any:
        """Give the instance, made if it has to be; no other job has the same object."""
        source = self.source
        if source.fun is None:
            return job.problem.data
        if source.seed is None:
            return source.make(job.for_problem())
        name = self._prefix + _digest(bound.key)[:16]
        fresh = self._instances.find(name, on_disk=source.cache)
        if fresh is None:
            of_problem = job.for_problem()
            self._seeder.seed_all(of_problem.seed)
            made = source.make(of_problem)
            try:
                pickled = dump(made)
            except Exception:
                # It cannot be kept, but this job can have it.
                return made
            fresh = self._instances.keep(name, pickled, on_disk=source.cache)
        return fresh.get()
