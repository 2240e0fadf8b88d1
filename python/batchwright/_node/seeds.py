"""Random numbers: the same job gets the same ones wherever and whenever it runs."""

from __future__ import annotations

import random
import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from importlib.abc import Loader
    from types import ModuleType

LARGEST = 2**31 - 1
"""Seeds lie in 1 to this, which every generator accepts."""


def job_seed(seed: int, job_id: int) -> int:
    """Give the seed of a job of a registry with `seed`."""
    return (seed + job_id - 1) % LARGEST + 1


def random_of(seed: int, *key: int) -> Any:
    """Give the numpy ``SeedSequence`` of a seed that belongs to a key."""
    return import_module("numpy.random").SeedSequence(seed, spawn_key=key)


def _seed_numpy(module: ModuleType, seed: int) -> None:
    module.seed(seed)


def _seed_torch(module: ModuleType, seed: int) -> None:
    module.manual_seed(seed)


_SEEDERS: dict[str, Callable[[ModuleType, int], None]] = {
    "numpy.random": _seed_numpy,
    "torch": _seed_torch,
}


class Seeder:
    """Seeds every global generator, those of modules that are imported later included."""

    def __init__(self) -> None:
        self.seed = 1

    def seed_all(self, seed: int) -> None:
        """Seed ``random`` and the generators of numpy and torch where they are imported."""
        self.seed = seed
        random.seed(seed)
        modules = sys.modules
        if "numpy.random" in modules:
            self.seed_module("numpy.random")
        if "torch" in modules:
            self.seed_module("torch")

    def seed_module(self, name: str) -> None:
        """Seed one module's generator, unless the module is still being imported."""
        module = sys.modules.get(name)
        try:
            if module is not None:
                _SEEDERS[name](module, self.seed)
        except AttributeError:
            return

    def install(self) -> None:
        """Seed numpy and torch also right after a job has imported them."""
        sys.meta_path.insert(0, self)  # pyright: ignore[reportArgumentType]

    def uninstall(self) -> None:
        """Undo `install`."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)  # pyright: ignore[reportArgumentType]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what the other finders find, and have it seeded after its import."""
        if fullname not in _SEEDERS:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _SeedingLoader(spec.loader, self)  # pyright: ignore
                return spec
        return None


class _SeedingLoader:
    """Stands in for a loader until its module is imported."""

    def __init__(self, loader: Loader, seeder: Seeder) -> None:
        self._loader = loader
        self._seeder = seeder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._seeder.seed_module(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


@contextmanager
def restored() -> Generator[None]:
    """Put the states of the global generators back afterwards, for runs in the owner's process."""
    numpy, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    plain = random.getstate()
    of_numpy = numpy.get_state() if numpy is not None else None
    of_torch = torch.get_rng_state() if torch is not None else None
    try:
        yield
    finally:
        random.setstate(plain)
        if numpy is not None:
            numpy.set_state(of_numpy)
        if torch is not None:
            torch.set_rng_state(of_torch)
