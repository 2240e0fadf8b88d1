"""Which jobs run together: by number, by like sums of their run times, or by capacity.

All three number the chunks from 1 and keep to the order of what they are given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sized
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from batchwright import _core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def chunk(
    x: Iterable[Any],
    *,
    n_chunks: int | None = None,
    chunk_size: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
) -> NDArray[np.int32]:
    """Spread elements over chunks whose sizes differ by at most one.

    Parameters
    ----------
    x
        The elements, such as job ids; only their number matters.
    n_chunks
        How many chunks; never more than elements.
    chunk_size
        The most elements of a chunk. Exactly one of the two is needed.
    shuffle
        Spread at random. Otherwise neighbours stay together.
    seed
        Makes the shuffling repeatable.

    Returns
    -------
    numpy.ndarray
        The chunk of each element, from 1.

    Examples
    --------
    >>> chunk(range(10), chunk_size=4, shuffle=False).tolist()
    [1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    """
    import numpy as np

    if (n_chunks is None) == (chunk_size is None):
        raise ValueError(
            f"exactly one of n_chunks and chunk_size is needed, got {n_chunks} and {chunk_size}"
        )
    size = _size(x)
    if n_chunks is None:
        count = math.ceil(size / _at_least_one("chunk_size", chunk_size))
    else:
        count = min(_at_least_one("n_chunks", n_chunks), size)
    if not size:
        return np.empty(0, dtype=np.int32)
    numbers = np.arange(size, dtype=np.int32) % np.int32(count) + np.int32(1)
    if shuffle:
        return np.random.default_rng(seed).permutation(numbers)
    return np.sort(numbers)


def lpt(x: Iterable[float], n_chunks: int = 1) -> NDArray[np.int32]:
    """Spread elements over chunks with like sums: longest processing time first.

    Parameters
    ----------
    x
        The weight of each element, such as its estimated run time; finite and not negative.
    n_chunks
        How many chunks; never more than elements.

    Returns
    -------
    numpy.ndarray
        The chunk of each element, from 1.

    Examples
    --------
    >>> lpt([5, 4, 3, 3, 3], n_chunks=2).tolist()
    [1, 2, 2, 1, 2]
    """
    return _core.lpt(_weights(x), _at_least_one("n_chunks", n_chunks))


def binpack(x: Iterable[float], chunk_size: float | None = None) -> NDArray[np.int32]:
    """Pack elements into as few chunks as first-fit decreasing finds.

    Parameters
    ----------
    x
        The weight of each element, such as its estimated run time; finite and not negative.
    chunk_size
        What a chunk holds; the largest weight by default.

    Returns
    -------
    numpy.ndarray
        The chunk of each element, from 1.

    Examples
    --------
    >>> binpack([5, 4, 3, 3, 3], chunk_size=8).tolist()
    [1, 2, 1, 2, 3]
    """
    weights = _weights(x)
    largest = float(weights.max()) if len(weights) else 0.0
    if chunk_size is None:
        return _core.binpack(weights, largest)
    if isinstance(chunk_size, bool) or not isinstance(cast("object", chunk_size), Real):
        raise TypeError(f"chunk_size is a number, not {chunk_size!r}")
    if not (0 < chunk_size < math.inf):
        raise ValueError(f"chunk_size is a finite number above 0, not {chunk_size}")
    if largest > chunk_size:
        raise ValueError(
            f"the largest element ({largest:g}) does not fit into a chunk of {chunk_size:g}: "
            "raise chunk_size"
        )
    return _core.binpack(weights, float(chunk_size))


def _size(x: Iterable[Any]) -> int:
    return len(x) if isinstance(x, Sized) else sum(1 for _ in x)


def _at_least_one(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} is at least 1, not {value}")
    return int(value)


def _weights(x: Any) -> NDArray[np.float64]:
    import numpy as np

    values = x if hasattr(x, "__array__") or isinstance(x, Sized) else list(x)
    weights = np.asarray(values, dtype=np.float64)
    if weights.ndim != 1:
        raise TypeError(f"weights come in one dimension, not in {weights.ndim}")
    wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
    if len(wrong):
        raise ValueError(f"weights are finite and not negative, not {wrong[0]:g}")
    return np.ascontiguousarray(weights)
