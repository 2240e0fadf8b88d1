"""Results as pickles, small and large."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from _batchwright_node.compression import decompressed
from _batchwright_node.results import ResultFile, StorageError, Stored, dump, is_plain

METHODS = ["gzip", "lz4", "zstd"]


def make(tmp_path: Path, inline: int = 100, compress: str = "none") -> ResultFile:
    return ResultFile(str(tmp_path / "w.res"), access="group", inline=inline, compress=compress)


@pytest.mark.parametrize("value", [None, 1, "a" * 70, [1, 2], {"a": 1.5}, (b"x", True)])
def test_small_results_stay_in_memory(tmp_path: Path, value: Any) -> None:
    pickled = make(tmp_path).store(value)
    assert isinstance(pickled, bytes)
    assert pickle.loads(pickled) == value
    assert not (tmp_path / "w.res").exists()


@pytest.mark.parametrize("value", ["a" * 1000, list(range(1000)), {"k": [1] * 900}, bytes(10**7)])
def test_large_results_are_in_the_file(tmp_path: Path, value: Any) -> None:
    file = make(tmp_path)
    first, second = file.store(value), file.store(value)
    assert isinstance(first, Stored)
    assert isinstance(second, Stored)
    assert second.offset == first.length
    content = (tmp_path / "w.res").read_bytes()
    part = content[second.offset : second.offset + second.length]
    assert pickle.loads(part) == value
    assert zlib.crc32(part) == second.crc32
    assert (tmp_path / "w.res").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("method", METHODS)
def test_what_goes_to_the_file_is_compressed(tmp_path: Path, method: str) -> None:
    file = make(tmp_path, compress=method)
    values = ["small", "a" * 10_000, [bytes(5_000_000), 7], [7] * 30_000]
    for value in values:
        stored = file.store(value)
        if not isinstance(stored, Stored):
            assert pickle.loads(stored) == "small"
            continue
        content = (tmp_path / "w.res").read_bytes()
        part = content[stored.offset : stored.offset + stored.length]
        assert zlib.crc32(part) == stored.crc32
        assert len(part) < len(pickle.dumps(value)) / 2
        assert pickle.loads(decompressed(part)) == value


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_what_cannot_be_pickled_leaves_nothing_that_comes_late(tmp_path: Path, method: str) -> None:
    file = make(tmp_path, compress=method)
    errors = []
    for _ in range(3):
        with pytest.raises(TypeError) as raised:
            file.store([os.urandom(3_000_000), iter([].append, 1), (x for x in ())])
        errors.append(raised)
        stored = file.store("b" * 10_000)
        assert isinstance(stored, Stored)
        errors.clear()
        part = (tmp_path / "w.res").read_bytes()[stored.offset : stored.offset + stored.length]
        assert pickle.loads(decompressed(part)) == "b" * 10_000


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_a_full_disk_is_a_storage_error(tmp_path: Path, method: str) -> None:
    file = ResultFile("/dev/full", access="group", inline=100, compress=method)
    file._descriptor = os.open("/dev/full", os.O_WRONLY)
    for _ in range(2):
        with pytest.raises(StorageError, match="/dev/full"):
            file.store(os.urandom(3_000_000))


def test_a_file_is_never_taken_over(tmp_path: Path) -> None:
    (tmp_path / "w.res").write_bytes(b"another's")
    file = make(tmp_path)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"w\.res"):
            file.store("a" * 1000)
    assert (tmp_path / "w.res").read_bytes() == b"another's"


def test_lambdas_can_be_results(tmp_path: Path) -> None:
    assert pickle.loads(dump(lambda: 3))() == 3


def test_plain_is_one_container_of_scalars() -> None:
    class Number(int):
        pass

    assert is_plain({"a": 1, "b": None})
    assert not is_plain([[1]])
    assert not is_plain(Number(1))
    assert not is_plain([Number(1)])
