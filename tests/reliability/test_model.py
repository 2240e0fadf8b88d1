"""The public interface against a plain model, with reopenings and lost owners as steps."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import batchwright as bw
from batchwright import looking

STEPS = {"taken": 0}
BAD = 3
"""Jobs whose parameter is a multiple of it raise."""


def fun(x: int) -> int:
    if x % BAD == 0:
        raise ValueError(f"{x} is bad")
    return x * x


class Waiting(bw.ClusterFunctions):
    """A scheduler that queues until it is told to run a chunk, or to lose it."""

    name = "waiting"

    def __init__(self) -> None:
        self.queue: dict[str, Path] = {}

    def submit(self, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        self.queue[jc.job_hash] = Path(jc.uri)
        return bw.SubmitResult(0, (jc.job_hash,))

    def list_jobs(self, reg: bw.Registry) -> dict[str, bw.BatchState]:
        return dict.fromkeys(self.queue, bw.BatchState("queued"))

    def kill(self, reg: bw.Registry, batch_ids: Any) -> None:
        for batch in batch_ids:
            self.queue.pop(batch, None)


class Machine(RuleBasedStateMachine):
    """What a user does, beside what the user expects."""

    @initialize()
    def make(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="batchwright-model-"))
        self.backend = Waiting()
        self.state: dict[int, str] = {}
        self.values: dict[int, int] = {}
        self.attempts: dict[int, int] = {}
        self.chunks: dict[str, list[int]] = {}
        self.tags: dict[str, set[int]] = {}
        self.names: dict[int, str] = {}
        self.reg = bw.make_registry(self.folder / "reg", conf_file=None, make_default=False)
        self._assign()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.reg.store.core.close()
            shutil.rmtree(self.folder)

    def _assign(self) -> None:
        with _quiet():
            self.reg.cluster_functions = self.backend

    def _some(self, data: Any, among: list[int]) -> list[int]:
        return data.draw(st.lists(st.sampled_from(among), unique=True, min_size=1, max_size=6))

    @rule(values=st.lists(st.integers(-50, 50), max_size=5))
    def define(self, values: list[int]) -> None:
        ids = self.reg.batch_map(fun, values, append=True)
        first = len(self.state) + 1
        assert list(ids) == list(range(first, first + len(values)))
        for job, value in zip(ids, values, strict=True):
            self.state[job], self.values[job], self.attempts[job] = "defined", value, 0

    @precondition(lambda self: any(s != "queued" for s in self.state.values()))
    @rule(data=st.data(), size=st.integers(1, 3))
    def submit(self, data: Any, size: int) -> None:
        ids = self._some(data, [j for j, s in self.state.items() if s != "queued"])
        before = set(self.backend.queue)
        table = self.reg.submit_jobs(ids, chunk_size=size)
        of_chunk: dict[int, list[int]] = {}
        for job, chunk in zip(*table.to_pydict().values(), strict=True):
            of_chunk.setdefault(chunk, []).append(job)
        new = [chunk for chunk in self.backend.queue if chunk not in before]
        assert len(new) == len(of_chunk)
        for name, jobs in zip(new, of_chunk.values(), strict=True):
            self.chunks[name] = jobs
        for job in ids:
            self.state[job] = "queued"
            self.attempts[job] += 1

    @precondition(lambda self: "queued" in self.state.values())
    @rule()
    def submitting_twice_is_refused(self) -> None:
        queued = [j for j, s in self.state.items() if s == "queued"]
        with pytest.raises(bw.JobsOnSystemError):
            self.reg.submit_jobs(queued[:1])

    @precondition(lambda self: self.backend.queue)
    @rule(data=st.data())
    def run(self, data: Any) -> None:
        chunk = data.draw(st.sampled_from(list(self.backend.queue)))
        bw.do_job_collection(self.backend.queue.pop(chunk))
        # As if the next second had begun: until then the last look still shows it queued.
        looking.forget(self.reg)
        for job in self.chunks.pop(chunk):
            self.state[job] = "error" if self.values[job] % BAD == 0 else "done"

    @precondition(lambda self: "queued" in self.state.values())
    @rule(data=st.data())
    def kill(self, data: Any) -> None:
        asked = self._some(data, [j for j, s in self.state.items() if s == "queued"])
        hit = [name for name, jobs in self.chunks.items() if set(jobs) & set(asked)]
        table = self.reg.kill_jobs(asked)
        unfinished = sorted(job for name in hit for job in self.chunks[name])
        assert table["job_id"].to_pylist() == unfinished
        for job in unfinished:
            self.state[job] = "defined" if job in asked else "expired"
        for name in hit:
            del self.chunks[name]
            assert name not in self.backend.queue

    @precondition(lambda self: any(s != "queued" for s in self.state.values()))
    @rule(data=st.data())
    def reset(self, data: Any) -> None:
        ids = self._some(data, [j for j, s in self.state.items() if s != "queued"])
        assert self.reg.reset_jobs(ids) == set(ids)
        for job in ids:
            self.state[job] = "defined"

    @precondition(lambda self: self.state)
    @rule(data=st.data(), tag=st.sampled_from("abc"), add=st.booleans())
    def tag(self, data: Any, tag: str, add: bool) -> None:
        ids = set(self._some(data, list(self.state)))
        held = self.tags.setdefault(tag, set())
        if add:
            self.reg.add_job_tags(ids, tag)
            held |= ids
        else:
            assert self.reg.remove_job_tags(ids, tag) == held & ids
            held -= ids

    @precondition(lambda self: self.state)
    @rule(data=st.data(), name=st.sampled_from(["one", "two", "drei"]))
    def name(self, data: Any, name: str) -> None:
        job = data.draw(st.sampled_from(sorted(self.state)))
        self.reg.set_job_names([job], [name])
        self.names[job] = name

    @rule()
    def save(self) -> None:
        assert self.reg.save_registry()

    @rule()
    def leave_and_come_back(self) -> None:
        self.reg.store.core.close()
        self._load()

    @rule()
    def lose_the_owner(self) -> None:
        # The old handle neither saves nor lets go: the next one takes over.
        self._load()

    def _load(self) -> None:
        self.reg = bw.load_registry(
            self.folder / "reg", conf_file=None, writeable=True, make_default=False
        )
        self._assign()

    @rule()
    def a_reader_sees_the_same(self) -> None:
        self.reg.sync_registry()
        reader = bw.load_registry(self.folder / "reg", conf_file=None, make_default=False)
        for state in ("done", "errors"):
            find = f"find_{state}"
            assert getattr(reader, find)() == getattr(self.reg, find)()

    @invariant()
    def the_registry_is_as_expected(self) -> None:
        if not hasattr(self, "reg"):
            return
        STEPS["taken"] += 1
        reg = self.reg
        of = {state: {j for j, s in self.state.items() if s == state} for state in _STATES}
        assert reg.find_done() == of["done"]
        assert reg.find_errors() == of["error"]
        assert reg.find_expired() == of["expired"]
        assert reg.find_not_submitted() == of["defined"]
        assert reg.find_on_system() == of["queued"]
        status = reg.get_status()
        assert (status.defined, status.done, status.error, status.expired) == (
            len(self.state),
            len(of["done"]),
            len(of["error"]),
            len(of["expired"]),
        )
        done = sorted(of["done"])
        assert reg.reduce_results_list(done) == [self.values[j] ** 2 for j in done]
        table = reg.get_job_table()
        assert table["attempt"].to_pylist() == [self.attempts[j] for j in sorted(self.state)]
        assert table["job_name"].to_pylist() == [self.names.get(j) for j in sorted(self.state)]
        for tag, held in self.tags.items():
            assert reg.find_tagged(tag) == held
        if self.state:
            assert reg.find_jobs("x > 0") == {j for j, x in self.values.items() if x > 0}


_STATES = ("defined", "queued", "done", "error", "expired")


def _quiet() -> Any:
    import warnings

    return warnings.catch_warnings(action="ignore")


def test_verbs_are_as_the_model_says(
    rounds: Callable[[int, int], int], figures: Callable[..., None]
) -> None:
    STEPS["taken"] = 0
    examples = rounds(12, 500)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert STEPS["taken"] > examples
    figures(steps=STEPS["taken"], divergences=0, seed=os.environ.get("PYTHONHASHSEED", "drawn"))
