"""The Rust core, as Python sees it."""

from typing import Any, Final, final

__all__ = ["ArrowTable", "__version__", "wait_for_interrupt"]

__version__: Final[str]

@final
class ArrowTable:
    """A table that pyarrow, polars and pandas read in place."""

    def __new__(cls, data: Any) -> ArrowTable: ...
    @property
    def num_rows(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any: ...
    def __arrow_c_schema__(self) -> Any: ...

def wait_for_interrupt(seconds: float) -> None:
    """Work for `seconds` unless interrupted, so that the tests can see Ctrl-C arrive."""
