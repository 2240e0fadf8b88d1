"""What a function that names a parameter `job` is given."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .seeds import job_seed, random_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Job:
    """One job, as its own function sees it.

    Attributes
    ----------
    job_id
        Its number in the registry; also `id`.
    attempt
        How often it was submitted, counted from 1.
    resources
        What it was submitted with.
    exports
        The registry's exported objects by name.
    """

    def __init__(
        self,
        job_id: int,
        *,
        attempt: int,
        registry_seed: int,
        file_dir: str,
        resources: Mapping[str, Any],
        exports: Mapping[str, Any],
    ) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.resources = resources
        self.exports = exports
        self._registry_seed = registry_seed
        self._file_dir = file_dir

    def __repr__(self) -> str:
        return f"Job({self.job_id}, attempt={self.attempt})"

    @property
    def id(self) -> int:
        """Its number in the registry."""
        return self.job_id

    @property
    def pars(self) -> Mapping[str, Any]:
        """Its parameters by name."""
        raise NotImplementedError

    @property
    def seed(self) -> int:
        """The seed of the global generators at its start."""
        return job_seed(self._registry_seed, self.job_id)

    @cached_property
    def seed_sequence(self) -> Any:
        """A numpy ``SeedSequence`` of its own, independent of all other jobs'."""
        return random_of(self._registry_seed, self.job_id)

    @cached_property
    def rng(self) -> Any:
        """A numpy ``Generator`` of its own, the same one at each access."""
        return import_module("numpy.random").default_rng(self.seed_sequence)

    @cached_property
    def external_dir(self) -> Path:
        """A folder of its own below the registry, made on first use."""
        from pathlib import Path  # (takes longer to import than most jobs run)

        folder = Path(self._file_dir) / "external" / str(self.job_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
