"""Problems and algorithms: what experiments are made of."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from batchwright import serialization, signature
from batchwright._node.experiments import cache_prefix, identity
from batchwright.errors import DefinitionError
from batchwright.ids import JobIds
from batchwright.lifecycle import require_idle
from batchwright.segments import design_of
from batchwright.settings import MAX_SEED

if TYPE_CHECKING:
    from batchwright.registry import Registry

EXPERIMENT: Final = "experiment"
"""The kind of registry that holds experiments."""
OF_PROBLEM: Final = ("job", "data")
"""What a problem's function is given besides its parameters, where it names it."""
OF_ALGORITHM: Final = ("job", "data", "instance")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


def add_problem(
    reg: Registry,
    name: str,
    data: Any = None,
    fun: Callable[..., Any] | None = None,
    *,
    seed: int | None = None,
    cache: bool = False,
) -> None:
    """Add a problem: data, and a function that makes an instance of them for each job.

    A problem of that name is replaced. Its experiments stay, and use the new one from their next
    run on; results that are there stay, too.

    Parameters
    ----------
    name
        Letters, digits, `_`, `.` and `-`.
    data
        Any object; stored once.
    fun
        Called with the parameters of the problem's design, and with `data` and `job` if it names
        them. Without it, the data are the instance.
    seed
        Makes instances of the same parameters and replication equal for all algorithms: replication
        `repl` is made under `seed + repl - 1`.
    cache
        Whether instances are kept on disk, for all nodes; needs a seed.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_problem("dice", data=6, fun=lambda data, job: job.rng.integers(data), seed=1)
    >>> reg.problems
    ('dice',)
    """
    _require_writeable(reg)
    _check_name("problem", name)
    seed = _checked_seed(name, seed)
    if cache and seed is None:
        warnings.warn(
            f"problem `{name}`: `cache=True` without a `seed` keeps nothing, because each job has "
            "an instance of its own",
            stacklevel=2,
        )
    described = _described(fun, OF_PROBLEM)
    _refuse_unfit(reg, "problem", name, described, OF_PROBLEM)
    spec = {
        **_stored(reg, fun, described),
        "data": None if data is None else serialization.put_value(reg.store, "`data`", data),
        "seed": seed,
        "cache": bool(cache) and seed is not None,
    }
    known = specs(reg, "problem")
    reg.store.core.put_problem(name, json.dumps(spec))
    reg.store.forget_calls()
    if name in known and identity({**known[name], "name": name}) != identity(
        {**spec, "name": name}
    ):
        _drop_cache(reg, name, known[name])


def add_algorithm(reg: Registry, name: str, fun: Callable[..., Any] | None = None) -> None:
    """Add an algorithm: a function that is applied to instances of problems.

    An algorithm of that name is replaced. Its experiments stay, and use the new one from their
    next run on; results that are there stay, too.

    Parameters
    ----------
    name
        Letters, digits, `_`, `.` and `-`.
    fun
        Called with the parameters of the algorithm's design, and with `instance`, `data` and `job`
        if it names them. Without it, the instance is the result.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_algorithm("scaled", lambda instance, by: instance * by)
    >>> reg.algorithms
    ('scaled',)
    """
    _require_writeable(reg)
    _check_name("algorithm", name)
    described = _described(fun, OF_ALGORITHM)
    _refuse_unfit(reg, "algorithm", name, described, OF_ALGORITHM)
    reg.store.core.put_algorithm(name, json.dumps(_stored(reg, fun, described)))
    reg.store.forget_calls()


def remove_problems(reg: Registry, names: str | Iterable[str]) -> None:
    """Remove problems with all their experiments; none of these may be on the system.

    Parameters
    ----------
    names
        One name or several.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_problem("dice", data=6)
    >>> reg.remove_problems("dice")
    >>> reg.problems
    ()
    """
    removed = _known_names(reg, "problem", names)
    before = specs(reg, "problem")
    require_idle(reg, _jobs_of(reg, "problem", removed))
    reg.store.core.remove_named(removed, [])
    reg.store.forget_calls()
    for name in removed:
        _drop_cache(reg, name, before[name])


def remove_algorithms(reg: Registry, names: str | Iterable[str]) -> None:
    """Remove algorithms with all their experiments; none of these may be on the system.

    Parameters
    ----------
    names
        One name or several.

    Examples
    --------
    >>> import batchwright as bw
    >>> reg = bw.make_experiment_registry(None, make_default=False)
    >>> reg.add_algorithm("nothing")
    >>> reg.remove_algorithms(["nothing"])
    >>> reg.algorithms
    ()
    """
    removed = _known_names(reg, "algorithm", names)
    require_idle(reg, _jobs_of(reg, "algorithm", removed))
    reg.store.core.remove_named([], removed)
    reg.store.forget_calls()


def require_experiments(reg: Registry) -> None:
    """Raise unless the registry holds experiments."""
    if reg.store.core.kind != EXPERIMENT:
        raise DefinitionError(
            f"registry `{reg.file_dir}` holds plain jobs: define them by `batch_map`, or make "
            "another by `make_experiment_registry`"
        )


def _require_writeable(reg: Registry) -> None:
    require_experiments(reg)
    reg.store.require_writeable()


def specs(reg: Registry, kind: str) -> dict[str, dict[str, Any]]:
    """Give what is stored of all problems, or of all algorithms, by name."""
    core = reg.store.core
    found = core.problems() if kind == "problem" else core.algorithms()
    return {name: json.loads(spec) for name, spec in found.items()}


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{name!r} cannot be the name of a {what}: use letters, digits, `_`, `.` and `-`"
        )


def _checked_seed(name: str, seed: Any) -> int | None:
    if seed is None:
        return None
    is_whole = hasattr(seed, "__index__") and not isinstance(seed, bool)
    if not is_whole or not 1 <= int(seed) <= MAX_SEED:
        raise DefinitionError(
            f"the seed of problem `{name}` is {seed!r}: give a whole number from 1 to {MAX_SEED}"
        )
    return int(seed)


def _known_names(reg: Registry, kind: str, names: str | Iterable[str]) -> list[str]:
    _require_writeable(reg)
    wanted = list(dict.fromkeys([names] if isinstance(names, str) else names))
    known = specs(reg, kind)
    for name in wanted:
        if name not in known:
            raise unknown(kind, name, known)
    return wanted


def unknown(kind: str, name: object, known: Iterable[str]) -> DefinitionError:
    """Give the error for a name that is not known."""
    there = ", ".join(f"`{one}`" for one in known)
    return DefinitionError(
        f"there is no {kind} {name!r}: "
        + (f"there are {there}" if there else f"add one by `add_{kind}`")
    )


def _jobs_of(reg: Registry, kind: str, names: Iterable[str]) -> JobIds:
    wanted = set(names)
    found = JobIds()
    for block in reg.store.core.blocks():
        if (block.problem if kind == "problem" else block.algorithm) in wanted:
            found |= JobIds(range(block.first, block.last + 1))
    return found & JobIds(reg.store.core.all_ids())


# -- functions


def _described(fun: Callable[..., Any] | None, reserved: Iterable[str]) -> dict[str, Any]:
    """Give what is stored of a function's signature, so that designs can be checked without it."""
    if fun is None:
        return {"qualname": None, "signature": None, "takes": []}
    known = signature.parameters(fun)
    return {
        "qualname": serialization.name_of(fun),
        "signature": None
        if known is None
        else [[p.name, p.kind.name, p.default is not p.empty] for p in known],
        "takes": [name for name in reserved if signature.takes(fun, name)],
    }


def _stored(
    reg: Registry, fun: Callable[..., Any] | None, described: Mapping[str, Any]
) -> dict[str, Any]:
    stored = None if fun is None else serialization.put_function(reg.store, fun)
    return {"fun": stored, **described}


class _Stub:
    """Stands for a function whose signature is all that is known."""

    def __init__(self, qualname: str, parameters: Iterable[inspect.Parameter]) -> None:
        self.__qualname__ = qualname
        self.__signature__ = inspect.Signature(list(parameters))

    def __call__(self) -> None:
        """Do nothing: only the signature is asked for."""


def check_call(
    spec: Mapping[str, Any], names: Iterable[str], reserved: Iterable[str], what: str
) -> None:
    """Raise unless the function can be called with these parameters by name."""
    if spec["qualname"] is None:
        if "job_id" in set(names):
            raise DefinitionError(f"{what}: `job_id` cannot be the name of a parameter")
        return
    stub: Any = _Stub(spec["qualname"], _parameters(spec["signature"]))
    try:
        calling = signature.bind(stub, 0, list(names), (), tuple(reserved))
    except DefinitionError as error:
        raise DefinitionError(f"{what}: {error}") from None
    if calling.positional:
        raise DefinitionError(
            f"{what}: `{spec['qualname']}` takes `{calling.names[0]}` by position only, but "
            "parameters of designs go by name"
        )


class _Default:
    """Stands for a default value, of which only the presence is known."""

    def __repr__(self) -> str:
        return "…"


_KINDS: Final = {
    kind.name: kind
    for kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    )
}


def _parameters(described: Iterable[tuple[str, str, bool]] | None) -> list[inspect.Parameter]:
    """Give parameters as they were described; anything goes where the function does not tell."""
    if described is None:
        return [inspect.Parameter("parameters", inspect.Parameter.VAR_KEYWORD)]
    return [
        inspect.Parameter(
            name, _KINDS[kind], default=_Default() if has else inspect.Parameter.empty
        )
        for name, kind, has in described
    ]


def _refuse_unfit(
    reg: Registry, kind: str, name: str, described: Mapping[str, Any], reserved: Iterable[str]
) -> None:
    """Raise if the function cannot take the designs of experiments that exist."""
    group = "prob_pars" if kind == "problem" else "algo_pars"
    seen: set[object] = set()
    alive = JobIds(reg.store.core.all_ids())
    for place, block in enumerate(reg.store.core.blocks()):
        of_it = (block.problem if kind == "problem" else block.algorithm) == name
        design = block.problem_design if kind == "problem" else block.algorithm_design
        if not of_it or design in seen:
            continue
        if alive.isdisjoint(JobIds(range(block.first, block.last + 1))):
            continue
        seen.add(design)
        pars = design_of(reg.store, place, block, group)
        names = [each for each, found in pars.items() if found.given is None]
        check_call(described, names, reserved, f"{kind} `{name}` has experiments")


def _drop_cache(reg: Registry, name: str, spec: Mapping[str, Any]) -> None:
    """Remove cached instances that nothing will read any more."""
    folder = reg.file_dir / "cache"
    if not spec.get("cache") or not folder.is_dir():
        return
    for path in folder.glob(cache_prefix(identity({**spec, "name": name})) + "*"):
        path.unlink(missing_ok=True)
