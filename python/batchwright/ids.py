"""Job ids: the set that finding verbs return, and what users may pass where ids are wanted.

Every verb resolves its `ids` argument here, so that all accept the same and refuse the same.
A set stays a set of ranges in the core; arrays appear only where an order has to be kept.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import chain
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast, final, overload

from batchwright import _core
from batchwright.columns import is_lazy
from batchwright.errors import UnknownJobError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchwright.store import Store

_MOST: Final = 2**32 - 1
"""The highest id there can be; larger numbers are well formed but name no job."""
_SHOWN_RANGES: Final = 6
_NAMED_IN_ERRORS: Final = 5


class SupportsArrowStream(Protocol):
    """A table of any library that speaks the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


@final
class JobIds(Set[int]):
    """An immutable, sorted set of job ids.

    What `find_*`, `batch_map` and `add_experiments` return. It behaves like a `frozenset` of
    ints that also knows its order: `ids[3]` is the fourth id, `ids[:10]` the set of the first ten.
    Numpy, pyarrow, pandas and polars take it without a loop in Python.

    Parameters
    ----------
    ids
        Ids in any order; duplicates are dropped.

    Examples
    --------
    >>> ids = JobIds(range(1, 11)) - {4, 5}
    >>> ids
    JobIds(8 jobs: 1–3, 6–10)
    >>> ids[-1], 4 in ids, ids[:2]
    (10, False, JobIds(2 jobs: 1–2))
    """

    __slots__ = ("_set",)
    _set: _core.IdSet

    def __init__(self, ids: Iterable[int] | _core.IdSet = ()) -> None:
        object.__setattr__(self, "_set", _id_set(ids))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"JobIds cannot be changed, not even its {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"JobIds cannot be changed, not even its {name}")

    @property
    def core(self) -> _core.IdSet:
        """The set as the extension holds it."""
        return self._set

    def __contains__(self, value: object, /) -> bool:
        # As in any set, what is equal to a member is a member: 3.0 and numpy's 3 too.
        if not isinstance(value, Real) or value != value:
            return False
        try:
            whole = int(cast("float", value))
        except OverflowError:
            return False
        return whole == value and 0 < whole <= _MOST and whole in self._set

    def __len__(self) -> int:
        return len(self._set)

    def __iter__(self) -> Iterator[int]:
        runs = self._set.ranges(len(self._set))
        return chain.from_iterable(range(first, last + 1) for first, last in runs)

    def __reversed__(self) -> Iterator[int]:
        runs = reversed(self._set.ranges(len(self._set)))
        return chain.from_iterable(range(last, first - 1, -1) for first, last in runs)

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice | Iterable[Any], /) -> JobIds: ...
    def __getitem__(self, key: object, /) -> int | JobIds:
        if isinstance(key, slice):
            return JobIds(self._set.slice(*key.indices(len(self))))
        if hasattr(key, "__index__") and not getattr(key, "ndim", 0):
            return self._set.select(self._position(index(cast("int", key))))
        return self._take(key)

    def _position(self, at: int) -> int:
        position = at + len(self) if at < 0 else at
        if not 0 <= position < len(self):
            raise IndexError(f"position {at} is out of range for {len(self)} job ids")
        return position

    def _take(self, key: object) -> JobIds:
        import numpy as np

        places = np.asarray(key)
        if places.ndim != 1 or (places.size and places.dtype.kind not in "biu"):
            raise TypeError(
                "JobIds takes a position, a slice, a mask or an array of positions, "
                f"not {_shown(key)}"
            )
        if not places.size and places.dtype.kind != "b":
            return JobIds()
        return JobIds(_core.IdSet.from_array(self._set.to_array()[places]))

    def __eq__(self, other: object, /) -> bool:
        if isinstance(other, JobIds):
            return self._set == other._set
        if not isinstance(other, Set):
            return NotImplemented
        members = cast("Set[object]", other)
        return len(self) == len(members) and all(member in self for member in members)

    def __hash__(self) -> int:
        # The formula of frozenset, so that equal sets hash alike; Set._hash does not fit large
        # sets, as it loops in Python.
        if len(self) < 64:
            return self._hash()
        return _frozenset_hash(self._set.to_array())

    def __le__(self, other: Set[Any], /) -> bool:
        if isinstance(other, JobIds):
            return self._set.is_subset(other._set)
        return super().__le__(other)

    def __ge__(self, other: Set[Any], /) -> bool:
        if isinstance(other, JobIds):
            return other._set.is_subset(self._set)
        return super().__ge__(other)

    def isdisjoint(self, other: Iterable[Any], /) -> bool:
        """Tell whether no id is in both."""
        if isinstance(other, JobIds):
            return self._set.is_disjoint(other._set)
        return not any(member in self for member in other)

    # The four operations take any set or iterable, as the mixins of `Set` do. `&` and `-` look
    # only for common members, hence the other side may hold anything.

    def __and__(self, other: Iterable[Any], /) -> JobIds:
        if not _is_iterable(other):
            return NotImplemented
        return JobIds(self._set.intersection(self._common(other)))

    def __sub__(self, other: Iterable[Any], /) -> JobIds:
        if not _is_iterable(other):
            return NotImplemented
        return JobIds(self._set.difference(self._common(other)))

    def __or__(self, other: Iterable[Any], /) -> JobIds:
        if not _is_iterable(other):
            return NotImplemented
        return JobIds(self._set.union(_id_set(other)))

    def __xor__(self, other: Iterable[Any], /) -> JobIds:
        if not _is_iterable(other):
            return NotImplemented
        return JobIds(self._set.symmetric_difference(_id_set(other)))

    def __rsub__(self, other: Iterable[Any], /) -> JobIds:
        if not _is_iterable(other):
            return NotImplemented
        return JobIds(_id_set(other).difference(self._set))

    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def _common(self, other: Iterable[Any]) -> _core.IdSet:
        if isinstance(other, JobIds):
            return other._set
        return _id_set([int(member) for member in other if member in self])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("job ids are held as ranges: an array of them is always a copy")
        array = self._set.to_array()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._set.__arrow_c_array__(requested_schema)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._set.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        count = len(self)
        what = f"{count} job" if count == 1 else f"{count} jobs"
        if not count:
            return f"JobIds({what})"
        return f"JobIds({what}: {in_words(self._set)})"

    def __copy__(self) -> JobIds:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> JobIds:
        return self

    def __reduce__(self) -> tuple[Callable[[bytes], JobIds], tuple[bytes]]:
        return _from_bytes, (self._set.to_bytes(),)


IdsLike: TypeAlias = int | Iterable[int] | JobIds | SupportsArrowStream | None
"""What a verb takes as ids: one id, several, or a table with a column `job_id`; None for its
default. Pandas may have `job_id` in its index."""


def selected(store: Store, ids: object, default: Callable[[], JobIds]) -> JobIds:
    """Give the jobs a user means, in ascending order.

    Parameters
    ----------
    store
        Where the jobs must exist.
    ids
        What the user passed (`IdsLike`).
    default
        Asked for the jobs that None means.
    """
    if ids is None:
        return default()
    if isinstance(ids, JobIds):
        found = ids
    else:
        array = _known_array(ids, store)
        found = JobIds(_core.IdSet.from_array(array))
    _refuse_unknown(found, store)
    return found


def as_passed(store: Store, ids: object, default: Callable[[], JobIds]) -> NDArray[np.int64]:
    """Give the jobs a user means as they were passed, in that order, duplicates and all."""
    if ids is None or isinstance(ids, JobIds):
        return selected(store, ids, default).core.to_array()
    array = _known_array(ids, store)
    _refuse_unknown(JobIds(_core.IdSet.from_array(array)), store)
    return array


def ordered(store: Store, ids: object, default: Callable[[], JobIds]) -> NDArray[np.int64]:
    """Give the jobs a user means in the order given, duplicates dropped."""
    import numpy as np

    array = as_passed(store, ids, default)
    _, first = np.unique(array, return_index=True)
    if len(first) == len(array):
        return array
    return array[np.sort(first)]


def held(ids: object) -> object:
    """Give what can be read more than once of ids, where columns beside them are read, too."""
    if is_lazy(ids):
        return cast("Any", ids).collect()
    if hasattr(ids, "read_all"):
        return cast("Any", ids).read_all()
    return list(cast("Iterator[object]", ids)) if isinstance(ids, Iterator) else ids


def single(store: Store, id: object) -> int:
    """Give the one job a user means."""
    if id is None:
        raise TypeError("exactly one job id is needed, got None")
    found = selected(store, id, JobIds)
    if len(found) != 1:
        raise ValueError(f"exactly one job id is needed, got {len(found)}: {found!r}")
    return found[0]


def all_jobs(store: Store) -> JobIds:
    """Give every job of the registry."""
    return JobIds(store.core.all_ids())


def in_words(ids: _core.IdSet, limit: int = _SHOWN_RANGES) -> str:
    """Write ids as ranges for people, the first `limit` of them."""
    runs = ids.ranges(limit + 1)
    words = [str(first) if first == last else f"{first}–{last}" for first, last in runs[:limit]]
    return ", ".join(words) + (", …" if len(runs) > limit else "")


def as_array(ids: object) -> NDArray[np.int64]:
    """Read what a user passed as ids into an array, in the order given.

    Raises `TypeError` or `ValueError` with the value that cannot be an id.
    """
    import numpy as np

    if isinstance(ids, JobIds):
        return ids.core.to_array()
    if isinstance(ids, range):
        return np.arange(ids.start, ids.stop, ids.step, dtype=np.int64)
    if is_lazy(ids):
        ids = cast("Any", ids).collect()
    ids = _scalar(ids)
    if isinstance(ids, str | bytes | bytearray):
        raise TypeError(f"job ids are whole numbers, not {_shown(ids)}")
    if isinstance(ids, Real):
        return _from_values([ids])
    column = _job_id_column(ids)
    if hasattr(column, "__array__"):
        return _from_numpy(np.asarray(column))
    if isinstance(column, Iterable):
        return _from_values(list(cast("Iterable[object]", column)))
    raise TypeError(f"job ids are whole numbers or a table with a column job_id, not {_shown(ids)}")


def _job_id_column(ids: Any) -> object:
    """Give the column `job_id` of anything that is a table, all else as it is."""
    if isinstance(ids, Mapping):
        return _named(cast("Mapping[str, object]", ids), list(cast("Mapping[str, object]", ids)))
    names = _column_names(ids)
    if names is not None:
        if "job_id" not in names and "job_id" in getattr(getattr(ids, "index", None), "names", ()):
            return ids.index.get_level_values("job_id")
        return _named(ids, names)
    if hasattr(ids, "__arrow_c_stream__") and not hasattr(ids, "__array__"):
        import pyarrow as pa

        table = pa.table(ids)
        return _named(table, table.column_names)
    return ids


def _column_names(ids: Any) -> list[str] | None:
    # pyarrow calls them column_names, pandas and polars columns; pandas.Index and Series have
    # neither. A pyarrow schema tells a RecordBatch from an Array in every version.
    if hasattr(ids, "column_names"):
        return list(ids.column_names)
    if hasattr(ids, "columns") and hasattr(ids, "shape"):
        return list(ids.columns)
    return None


def _named(table: Any, names: list[str]) -> object:
    if "job_id" not in names:
        known = ", ".join(map(str, names[:10])) or "none"
        raise ValueError(f"a table of jobs needs a column job_id; it has {known}")
    return table["job_id"]


def _from_numpy(array: NDArray[Any]) -> NDArray[np.int64]:
    import numpy as np

    flat = array.reshape(1) if array.ndim == 0 else array
    if flat.ndim != 1:
        raise TypeError(f"job ids come in one dimension, not in {flat.ndim}")
    if flat.dtype.kind == "O" or not flat.size:
        return _from_values(flat.tolist())
    if flat.dtype.kind == "b":
        raise TypeError(f"job ids are whole numbers, not {flat[0]}; select with ids[mask]")
    if flat.dtype.kind == "f":
        whole = np.isfinite(flat) & (np.floor(flat) == flat)
        if not whole.all():
            raise ValueError(f"a job id is a whole number, not {flat[~whole][0]}")
    elif flat.dtype.kind not in "iu":
        raise TypeError(f"job ids are whole numbers, not {_shown(flat[0])}")
    if flat.dtype.kind in "fu" and flat.dtype.itemsize == 8:
        # Larger numbers are no jobs anyway; cut before the cast can wrap them around.
        flat = np.minimum(flat, _MOST + 1)
    return flat.astype(np.int64)


def _from_values(values: list[Any]) -> NDArray[np.int64]:
    import numpy as np

    plain = set(map(type, values)) <= {int}
    whole = values if plain else [_whole(value) for value in values]
    for beyond in (max(whole, default=0), min(whole, default=0)):
        if not -(2**63) <= beyond < 2**63:
            raise UnknownJobError(f"1 job id is unknown: {beyond}; ids are 1 to {_MOST}")
    return np.array(whole, dtype=np.int64)


def _scalar(value: Any) -> Any:
    """Give the number in a scalar of pyarrow, all else as it is."""
    is_scalar = type(value).__module__.startswith("pyarrow") and hasattr(value, "as_py")
    return value.as_py() if is_scalar else value


def _whole(value: object) -> int:
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        # numpy's own bool is no Real, and neither are text, None or pandas' NA.
        raise TypeError(f"a job id is a whole number, not {_shown(value)}")
    number = cast("float", value)
    if number != number or math.isinf(number) or int(number) != number:
        raise ValueError(f"a job id is a whole number, not {value}")
    return int(number)


def _checked(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    if ids.size and ids.min() < 1:
        raise ValueError(f"a job id is a whole number from 1, not {ids[ids < 1][0]}")
    return ids


def _known_array(ids: object, store: Store) -> NDArray[np.int64]:
    """Give ids that a set can hold; others are no job's."""
    import numpy as np

    array = as_array(ids)
    beyond = np.unique(array[(array < 1) | (array > _MOST)])
    if beyond.size:
        raise _unknown(", ".join(map(str, beyond[:_NAMED_IN_ERRORS])), len(beyond), store)
    return array


def _refuse_unknown(ids: JobIds, store: Store) -> None:
    everything = store.core.all_ids()
    if not ids.core.is_subset(everything):
        unknown = ids.core.difference(everything)
        raise _unknown(in_words(unknown, _NAMED_IN_ERRORS), len(unknown), store)


def _unknown(which: str, count: int, store: Store) -> UnknownJobError:
    everything = store.core.all_ids()
    known = f"the registry has {in_words(everything)}" if len(everything) else "it has no jobs"
    what = "1 job id is" if count == 1 else f"{count} job ids are"
    return UnknownJobError(f"{what} unknown: {which}; {known}")


def _id_set(ids: Iterable[Any] | _core.IdSet) -> _core.IdSet:
    if isinstance(ids, _core.IdSet):
        return ids
    if isinstance(ids, JobIds):
        return ids.core
    if isinstance(ids, range) and ids.step == 1 and (ids.start > 0 or not ids):
        return _core.IdSet.from_range(ids.start, ids.stop - 1) if ids else _empty()
    return _core.IdSet.from_array(_checked(as_array(ids)))


def _empty() -> _core.IdSet:
    return _core.IdSet.from_range(1, 0)


def _from_bytes(data: bytes) -> JobIds:
    return JobIds(_core.IdSet.from_bytes(data))


def _is_iterable(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:59] + '…'}"


def _frozenset_hash(ids: NDArray[np.int64]) -> int:
    """Compute what `collections.abc.Set._hash` does, in arrays (a small int hashes to itself)."""
    import numpy as np

    mask = 2 * sys.maxsize + 1
    hashes = ids.astype(np.uint64)
    mixed = (hashes ^ (hashes << np.uint64(16)) ^ np.uint64(89869747)) * np.uint64(3644798167)
    total = (1927868237 * (len(ids) + 1)) & mask
    total ^= int(np.bitwise_xor.reduce(mixed))
    total ^= (total >> 11) ^ (total >> 25)
    total = (total * 69069 + 907133923) & mask
    if total > sys.maxsize:
        total -= mask + 1
    return 590923713 if total == -1 else total
