"""A disk that is full under the owner: verbs are done or refused, and go on once there is space."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import batchwright as bw

PAGE = 4096
SPARE = (0, 1, 2, 4, 7)
"""Pages that are left when a verb begins."""


class Disk:
    """A small file system of its own."""

    def __init__(self, at: Path) -> None:
        self.at, self.ballast = at, at / "ballast"

    def fill(self, spare: int) -> None:
        with self.ballast.open("ab", buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(PAGE))
            file.truncate(max(file.tell() - spare * PAGE, 0))

    def free(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    at = tmp_path / "small"
    at.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(at)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small file system")
    yield Disk(at)
    subprocess.run(["umount", "-l", str(at)], check=False)


class Waiting(bw.ClusterFunctions):
    """A scheduler on another disk, which runs what it was given when told."""

    name = "waiting"

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.ended: set[str] = set()

    def submit(self, reg: bw.Registry, jc: bw.JobCollection) -> bw.SubmitResult:
        self.accepted[jc.job_hash] += 1
        return bw.SubmitResult(0, (jc.job_hash,))

    def list_jobs(self, reg: bw.Registry) -> Mapping[str, bw.BatchState]:
        return dict.fromkeys(set(self.accepted) - self.ended, bw.BatchState("queued"))

    def find_submitted(
        self, reg: bw.Registry, chunks: Sequence[str]
    ) -> Mapping[str, Sequence[str]]:
        return {chunk: (chunk,) for chunk in chunks if chunk in self.accepted}

    def run(self, reg: bw.Registry) -> None:
        for chunk in set(self.accepted) - self.ended:
            bw.do_job_collection(reg.file_dir / "jobs" / chunk[:2] / f"{chunk}.bwc")
            self.ended.add(chunk)


def load(disk: Disk, backend: bw.ClusterFunctions) -> bw.Registry:
    with warnings.catch_warnings(action="ignore"):
        reg = bw.load_registry(
            disk.at / "registry", conf_file=None, writeable=True, make_default=False
        )
        reg.cluster_functions = backend
    return reg


def shown(reg: bw.Registry) -> list[dict[str, Any]]:
    """Give what a user sees of the jobs."""
    columns = ["job_id", "job_pars", "job_name", "tags", "state", "attempt"]
    return reg.get_job_table().select(columns).to_pylist()


def submit(reg: bw.Registry) -> object:
    return reg.submit_jobs(reg.find_not_submitted()[:4], chunk_size=2)


VERBS: dict[str, Callable[[bw.Registry], object]] = {
    "define": lambda reg: reg.batch_map(abs, [-1, -2], append=True),
    "define much": lambda reg: reg.batch_map(len, [os.urandom(2000)] * 9, append=True),
    "tag": lambda reg: reg.add_job_tags(range(1, 40, 2), ["one" * 99, f"two{time.time_ns()}"]),
    "name": lambda reg: reg.set_job_names(range(1, 30), [f"{time.time_ns()}{'x' * 150}"] * 29),
    "submit": submit,
}


def until_refused(
    reg: bw.Registry, verb: Callable[[bw.Registry], object]
) -> tuple[list[dict[str, Any]], int]:
    """Repeat a verb until the disk is full; what was seen then, and how often it was done."""
    for done in range(200):
        before = shown(reg)
        try:
            verb(reg)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            assert str(reg.file_dir) in str(error)
            assert "free space" in str(error)
            return before, done
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_done_or_refused_and_goes_on_when_there_is_space(
    disk: Disk, verb: str, figures: Callable[..., None]
) -> None:
    backend = Waiting()
    with bw.make_registry(disk.at / "registry", conf_file=None, make_default=False) as reg:
        reg.batch_map(abs, range(200))
    acknowledged = 0
    for spare in SPARE:
        reg = load(disk, backend)
        disk.fill(spare)
        before, done = until_refused(reg, VERBS[verb])
        acknowledged += done
        assert shown(reg) == before or verb == "submit"
        disk.free()
        reg.store.close()
        reg = load(disk, backend)
        reg.sync_registry()
        # Of a submission, what the scheduler had accepted stands.
        assert shown(reg) == before or verb == "submit"
        on_system = sum(row["state"] != "defined" for row in shown(reg))
        assert on_system == 2 * len(backend.accepted)
        assert not [path for path in reg.file_dir.rglob(".*")]
        assert reg.check_registry().ok
        # What was refused goes through now.
        VERBS[verb](reg)
        reg.store.close()
    assert acknowledged > 0
    with load(disk, backend) as reg:
        while reg.find_not_done():
            reg.submit_jobs(reg.find_not_submitted(), n_chunks=1)
            backend.run(reg)
            time.sleep(0.2)
        assert set(backend.accepted.values()) == {1}
    figures(fillings=len(SPARE), acknowledged=acknowledged, lost=0, half_made=0)


def test_a_snapshot_that_finds_no_space_is_no_loss(disk: Disk) -> None:
    reg = bw.make_registry(disk.at / "registry", conf_file=None, make_default=False)
    reg.batch_map(abs, range(60))
    reg.set_job_names(range(1, 61), [f"{number}{'x' * 150}" for number in range(60)])
    before = shown(reg)
    disk.fill(1)
    with pytest.raises(OSError, match="free space") as caught:
        reg.save_registry()
    assert caught.value.errno == errno.ENOSPC
    assert reg.writeable
    disk.free()
    assert reg.save_registry()
    reg.add_job_tags(1, "after")
    reg.store.close()
    with load(disk, Waiting()) as again:
        assert again.find_tagged("after") == {1}
        assert shown(again)[1:] == before[1:]
        assert again.check_registry().ok


def fail_at_odd(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd " * 20)
    return x


def test_results_that_come_while_the_disk_is_full_are_not_lost(disk: Disk) -> None:
    backend = Waiting()
    reg = bw.make_registry(disk.at / "registry", conf_file=None, make_default=False)
    with warnings.catch_warnings(action="ignore"):
        reg.cluster_functions = backend
    reg.batch_map(fail_at_odd, range(400))
    reg.submit_jobs(n_chunks=1)
    backend.run(reg)
    disk.fill(0)
    with pytest.raises(OSError, match="free space") as caught:
        reg.sync_registry()
    assert caught.value.errno == errno.ENOSPC
    assert not reg.writeable
    # In memory it goes on.
    reg.sync_registry()
    assert (len(reg.find_done()), len(reg.find_errors())) == (200, 200)
    disk.free()
    reg.store.close()
    with load(disk, backend) as again:
        again.sync_registry()
        assert again.reduce_results_list(again.find_done()) == list(range(0, 400, 2))
        assert len(again.find_errors()) == 200
