"""Chunks are numbered from 1 and keep to the order of what they are given."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchwright import JobIds, binpack, chunk, lpt

weights = st.lists(st.floats(0, 1e6), max_size=40)


def test_sizes_are_balanced_as_in_batchtools() -> None:
    numbers = chunk(range(10), chunk_size=4)
    assert sorted(Counter(numbers.tolist()).values()) == [3, 3, 4]
    assert numbers.dtype == np.int32


def test_without_shuffling_neighbours_stay_together() -> None:
    numbers = chunk(range(10), chunk_size=4, shuffle=False)
    assert numbers.tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@given(st.integers(0, 200), st.integers(1, 30))
def test_there_are_as_many_chunks_as_asked_for(size: int, n_chunks: int) -> None:
    counts = Counter(chunk(range(size), n_chunks=n_chunks).tolist())
    assert set(counts) == set(range(1, min(size, n_chunks) + 1))
    assert not counts or max(counts.values()) - min(counts.values()) <= 1


@given(st.integers(0, 200), st.integers(1, 30))
def test_no_chunk_is_larger_than_asked_for(size: int, chunk_size: int) -> None:
    counts = Counter(chunk(range(size), chunk_size=chunk_size).tolist())
    assert len(counts) == -(-size // chunk_size)
    assert all(count <= chunk_size for count in counts.values())


def test_a_seed_repeats_the_shuffling() -> None:
    ids = JobIds(range(1, 101))
    one = chunk(ids, n_chunks=10, seed=1)
    assert one.tolist() == chunk(ids, n_chunks=10, seed=1).tolist()
    assert one.tolist() != chunk(ids, n_chunks=10, seed=2).tolist()


@pytest.mark.parametrize("arguments", [{}, {"n_chunks": 2, "chunk_size": 2}])
def test_chunk_needs_exactly_one_of_both(arguments: Any) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        chunk([1, 2], **arguments)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_chunk_counts_are_whole(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=str(value)):
        chunk([1, 2], n_chunks=value)
    with pytest.raises(error, match=str(value)):
        lpt([1, 2], n_chunks=value)


def test_lpt_of_the_specification() -> None:
    assert lpt([5, 4, 3, 3, 3], 2).tolist() == [1, 2, 2, 1, 2]
    assert lpt([], 3).tolist() == []
    assert lpt([1, 2]).tolist() == [1, 1]


@given(weights, st.integers(1, 8))
def test_lpt_balances(x: list[float], n_chunks: int) -> None:
    numbers = lpt(x, n_chunks)
    sums = [sum(w for w, n in zip(x, numbers, strict=True) if n == k + 1) for k in range(n_chunks)]
    assert len(numbers) == len(x)
    # Graham's bound for longest processing time first.
    best = max(sum(x) / n_chunks, max(x, default=0.0))
    assert max(sums) <= best * 4 / 3 * (1 + 1e-9) + max(x, default=0.0)


def test_binpack_of_the_specification() -> None:
    assert binpack([5, 4, 3, 3, 3], 8).tolist() == [1, 2, 1, 2, 3]
    assert binpack([1, 2]).tolist() == [2, 1]
    assert binpack([]).tolist() == []


@given(weights, st.floats(1.0, 2.0))
def test_binpack_fits(x: list[float], slack: float) -> None:
    capacity = max(x, default=1.0) * slack or 1.0
    numbers = binpack(x, capacity)
    sums: Counter[int] = Counter()
    for weight, number in zip(x, numbers.tolist(), strict=True):
        sums[number] += weight  # type: ignore[assignment]
    assert all(total <= capacity * (1 + 1e-9) for total in sums.values())
    assert set(sums) == set(range(1, len(sums) + 1))


def test_binpack_refuses_what_fits_nowhere() -> None:
    with pytest.raises(ValueError, match="5"):
        binpack([1, 5], chunk_size=4)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0])
def test_weights_are_finite_and_not_negative(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        lpt([1.0, wrong])
    with pytest.raises(ValueError, match="finite"):
        binpack([1.0, wrong])
