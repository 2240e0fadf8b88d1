"""Tables cross the boundary of Rust and Python in both directions without a copy."""

from __future__ import annotations

import gc

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from batchwright import _core


def addresses(table: pa.Table) -> list[list[int | None]]:
    return [
        [None if buffer is None else buffer.address for buffer in chunk.buffers()]
        for column in table.columns
        for chunk in column.chunks
    ]


@pytest.fixture
def table() -> pa.Table:
    times = pa.array([0, None, 2], pa.timestamp("us", "UTC"))
    names = pa.array(["a", None, "ccc"], pa.large_string())
    states = pa.array(["done", "done", "error"]).dictionary_encode()
    lists = pa.array([[1], [], None], pa.list_(pa.int64()))
    first = pa.table({"id": [1, 2, 3], "time": times, "name": names, "state": states, "l": lists})
    return pa.concat_tables([first, first]).replace_schema_metadata({"origin": "test"})


def test_round_trip_is_equal_and_shares_every_buffer(table: pa.Table) -> None:
    back = pa.table(_core.ArrowTable(table))
    assert back.schema.equals(table.schema, check_metadata=True)
    assert back.equals(table)
    assert addresses(back) == addresses(table)


def test_export_survives_its_source_and_can_be_repeated(table: pa.Table) -> None:
    held = _core.ArrowTable(pa.concat_tables([table]))
    gc.collect()
    assert held.num_rows == 6
    assert pa.table(held).equals(table)
    assert pa.table(held).equals(table)


def test_freeing_the_table_frees_the_memory() -> None:
    before = pa.total_allocated_bytes()
    held = _core.ArrowTable(pa.table({"x": pa.array(range(1_000_000))}))
    assert pa.total_allocated_bytes() - before >= 8_000_000
    del held
    gc.collect()
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_record_batch_comes_by_the_array_protocol(table: pa.Table) -> None:
    class OnlyArray:
        def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
            return table.to_batches()[0].__arrow_c_array__()

    assert pa.table(_core.ArrowTable(OnlyArray())).equals(table.slice(0, 3))


def test_polars_and_pandas_are_sources_and_targets() -> None:
    frame = pl.DataFrame({"x": [1, 2], "s": ["a", "b"]})
    assert pl.DataFrame(_core.ArrowTable(frame)).equals(frame)
    table = pa.table(_core.ArrowTable(pd.DataFrame({"x": [1.5, 2.5]})))
    assert table.column("x").to_pylist() == [1.5, 2.5]


def test_schema_alone_and_table_without_rows() -> None:
    empty = pa.schema([("x", pa.int64())]).empty_table()
    held = _core.ArrowTable(empty)
    assert pa.schema(held) == empty.schema
    assert pa.table(held).equals(empty)


def test_table_without_columns_keeps_its_rows() -> None:
    batch = pa.table({"x": [1, 2, 3]}).select([]).to_batches()[0]
    assert _core.ArrowTable(batch).num_rows == 3


def test_misaligned_buffers_are_taken() -> None:
    raw = pa.py_buffer(b"\0" + (7).to_bytes(8, "little"))
    column = pa.Array.from_buffers(pa.int64(), 1, [None, raw.slice(1)])
    assert pa.table(_core.ArrowTable(pa.table({"x": column}))).to_pydict() == {"x": [7]}


def test_errors_of_a_stream_reach_the_caller() -> None:
    def batches():
        yield pa.record_batch({"x": [1]})
        raise RuntimeError("the source failed")

    schema = pa.schema([("x", pa.int64())])
    with pytest.raises(ValueError, match="the source failed"):
        _core.ArrowTable(pa.RecordBatchReader.from_batches(schema, batches()))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"x": [1]}, TypeError),
        (pa.array([1, 2]), ValueError),
        (pa.array([{"x": 1}, None]), ValueError),
        (pa.chunked_array([[1]]), ValueError),
    ],
)
def test_what_is_no_table_is_refused(data: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        _core.ArrowTable(data)
