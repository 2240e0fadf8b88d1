"""The extension: batchwright's core for the owner's process. Only `store`, `ids`, and the
in-process backend import it; everything else goes through them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, final

import numpy as np
from numpy.typing import NDArray

__version__: Final[str]

@final
class IdSet:
    """An immutable, sorted set of job ids (1 … 2**32 - 1), held as compressed ranges."""

    @staticmethod
    def from_range(first: int, last: int) -> IdSet:
        """Ids from `first` to `last`, both included; empty if `last < first`."""
    @staticmethod
    def from_array(ids: NDArray[np.int64]) -> IdSet:
        """Any order, duplicates dropped. `ValueError` names a value that cannot be an id."""
    @staticmethod
    def from_bytes(data: bytes) -> IdSet: ...
    def to_bytes(self) -> bytes: ...
    def to_array(self) -> NDArray[np.int64]: ...
    def ranges(self, limit: int) -> list[tuple[int, int]]:
        """The first `limit` runs as (first, last), both included."""
    def __len__(self) -> int: ...
    def __contains__(self, value: int, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def union(self, other: IdSet, /) -> IdSet: ...
    def intersection(self, other: IdSet, /) -> IdSet: ...
    def difference(self, other: IdSet, /) -> IdSet: ...
    def symmetric_difference(self, other: IdSet, /) -> IdSet: ...
    def is_subset(self, other: IdSet, /) -> bool: ...
    def is_disjoint(self, other: IdSet, /) -> bool: ...
    def select(self, index: int, /) -> int:
        """The id at `index` ≥ 0 in ascending order; `IndexError` beyond the end."""
    def slice(self, start: int, stop: int, step: int, /) -> IdSet:
        """Normalised positions as `slice.indices` gives them; a negative step is fine."""
    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

@final
class ArrowTable:
    """Record batches for any Arrow consumer; `pyarrow.table(x)` copies nothing."""

    def __new__(cls, data: object) -> ArrowTable:
        """A copy-free view of anything with `__arrow_c_stream__` or `__arrow_c_array__`."""
    @property
    def num_rows(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...

State = Literal[
    "defined",
    "submitted",
    "not_submitted",
    "started",
    "not_started",
    "done",
    "not_done",
    "error",
    "expired",
    "on_system",
    "running",
    "queued",
    "ended",
]
"""Predicates of `Store.where`, with batchtools' meaning; `ended` is done, error or expired."""

@final
class Store:
    """An opened registry folder: tables, journal, ownership. Thread-safe; every call that can
    take long releases the GIL. Raises the classes of `batchwright.errors`.
    """

    @staticmethod
    def create(
        path: str,
        kind: str,
        seed: int,
        access: str,
        user: str = "",
        lease_seconds: float | None = None,
    ) -> Store:
        """Makes the folder, which must not exist (`RegistryExistsError`, also below another
        registry), and owns it. Nothing half-made stays behind after an error.
        """
    @staticmethod
    def open(
        path: str,
        writeable: bool,
        break_lock: bool,
        user: str = "",
        lease_seconds: float | None = None,
    ) -> Store:
        """`RegistryNotFoundError`, `RegistryLockedError`, `RegistryVersionError`,
        `CorruptRegistryError`.
        """
    @property
    def file_system(self) -> tuple[str, str, bool] | None:
        """Type, mount options, whether there are hard links; None where nobody looked."""
    @property
    def path(self) -> str: ...
    @property
    def uuid(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def version(self) -> str:
        """Of the program that made the registry."""
    @property
    def seed(self) -> int:
        """As made; an assigned `seed` setting overrides it."""
    @property
    def access(self) -> str: ...
    @property
    def writeable(self) -> bool:
        """False once ownership was lost."""
    def require_owner(self) -> None:
        """Raise unless this process owns the registry at this moment."""
    @property
    def displaced(self) -> str:
        """Whom `break_lock` displaced ("user@host, pid 7"); empty if nobody."""
    @property
    def epoch(self) -> int: ...
    def refresh(self) -> bool:
        """For readers: takes over what the owner has written since. True if anything was."""
    def save(self, force: bool) -> bool:
        """Snapshot (if the journal outgrew the last one, or `force`). False if read-only."""
    def close(self) -> None:
        """Syncs and releases ownership; the object is unusable afterwards. Idempotent."""

    # -- settings: JSON texts by name, durable when `assign` returns
    def settings(self) -> dict[str, str]: ...
    def assign(self, name: str, value: str | None) -> None: ...

    # -- content-addressed objects
    def put_object(self, data: bytes) -> str: ...
    def get_object(self, hash: str) -> bytes:
        """Checked against its hash; `CorruptRegistryError`, `RegistryNotFoundError`."""
    def exports(self) -> dict[str, str]:
        """Name → object hash."""
    def export(self, put: dict[str, str], remove: Sequence[str]) -> None: ...

    # -- definitions
    @property
    def n_jobs(self) -> int:
        """The highest id ever given."""
    def define(self, columns: object, call: str) -> tuple[int, int]:
        """Adds one job a row of `columns` (anything with `__arrow_c_stream__`), all by one
        `call` (JSON, kept verbatim). Returns first and last id. Column types: null, bool, int64,
        float64, (large_)utf8, (large_)binary, date32, timestamp[us] (naive or with a zone),
        duration[us], lists of them; large_binary with field metadata `{"pickled": "1"}` holds
        `b"P" + pickle` or `b"R" + object hash`, also as dictionary<int32, large_binary>.
        """
    def segments(self) -> list[tuple[int, int]]:
        """(first id, last id) of each definition or block of experiments, ascending."""
    def call(self, segment: int) -> str:
        """The JSON by which nodes call the functions of a segment."""
    def parameters(self, segment: int, ids: IdSet | None) -> ArrowTable:
        """The columns of one segment as defined, with `job_id` first. For experiments `problem`,
        `algorithm` and `repl` follow, then the columns of both designs, `prob_pars.` and
        `algo_pars.` before their names.
        """
    def row(self, job: int) -> tuple[int, bytes]:
        """(segment, pickle of the tuple of parameters) as a node gets it."""

    # -- experiments
    def problems(self) -> dict[str, str]:
        """JSON by name."""
    def algorithms(self) -> dict[str, str]: ...
    def put_problem(self, name: str, spec: str) -> None: ...
    def put_algorithm(self, name: str, spec: str) -> None: ...
    def remove_named(self, problems: Sequence[str], algorithms: Sequence[str]) -> IdSet:
        """Takes them away with their experiments, and gives those."""
    def remove_experiments(self, ids: IdSet) -> None: ...
    def add_experiments(
        self,
        problems: Sequence[tuple[str, object | None, int]],
        algorithms: Sequence[tuple[str, object | None]],
        bind: bool,
    ) -> tuple[int, list[tuple[str, str, int, int, int]]]:
        """Adds what is new of all pairs of designs, all of it or nothing. A design is a table as
        for `define`, or None for one row without parameters. Beside a pickled column lies one
        whose name ends in `KEY_SUFFIX` (`segments.py`), the 16 bytes that identify each value;
        one that ends in `GIVEN_SUFFIX` tells which rows have the parameter. Problems come with
        their replications. Returns the first id, and for each pair: problem, algorithm, how many
        are new, known, equal to others of the call.
        """
    def blocks(self) -> list[Block]:
        """The segments of a registry of experiments."""
    def designs(self, segment: int) -> tuple[ArrowTable, ArrowTable]:
        """The rows of the problem's and of the algorithm's design."""
    def select_experiments(
        self,
        segment: int,
        problems: NDArray[np.bool_] | None,
        algorithms: NDArray[np.bool_] | None,
        pairs: NDArray[np.bool_] | None,
        repls: IdSet | None,
        ids: IdSet | None,
    ) -> IdSet:
        """The jobs of a block that fit all masks: one truth a row of each design, one a pair of
        rows. None stands for all.
        """
    def group_experiments(
        self,
        segment: int,
        problems: NDArray[np.uint32],
        algorithms: NDArray[np.uint32],
        by_repl: bool,
        ids: IdSet | None,
    ) -> ArrowTable:
        """The groups of a block's jobs, by a code a row of each design: `problem` and `algorithm`
        (the codes), `repl` (0 unless `by_repl`), `count`, and `first`, the first job.
        """

    # -- ids, names, tags
    def all_ids(self) -> IdSet: ...
    def where(self, state: State, ids: IdSet | None, cause: str | None) -> IdSet: ...
    def counts(self, ids: IdSet | None) -> dict[str, int]:
        """defined, submitted, queued, started, running, done, error, expired, system."""
    def names(self, ids: IdSet) -> dict[int, str]:
        """Those of these jobs that have a name, ascending."""
    def set_names(self, ids: NDArray[np.int64], names: object) -> None:
        """`names` has one column of texts, in the order of `ids`; null takes a name away."""
    def tag(self, ids: IdSet, tags: Sequence[str]) -> None: ...
    def untag(self, ids: IdSet, tags: Sequence[str]) -> IdSet:
        """The ids that lost a tag."""
    def tags(self) -> dict[str, IdSet]: ...

    # -- tables
    def status(self, ids: IdSet | None) -> ArrowTable:
        """`job_id`, then the sixteen status columns of the job table in its order, then
        `resources` (JSON text, null where never submitted) and `tags` (list of text).
        """

    # -- submitting
    def intend(
        self,
        chunks: Sequence[str],
        ids: NDArray[np.int64],
        offsets: NDArray[np.int64],
        header: str,
        resources: Sequence[str],
        limits: Sequence[str],
        resource_of: NDArray[np.int32],
        backend: str,
        array_tasks: bool,
    ) -> None:
        """Publishes one collection a chunk (jobs `ids[offsets[c]:offsets[c + 1]]`) and records
        the intent, synced. `header` is the JSON of the collection's header without what the core
        fills in (job_hash, job_name, jobs, tasks, resources, limits). `resources` and `limits`
        are distinct JSON texts, `resource_of[c]` the index of chunk c's. With `array_tasks` each
        job is the array task of its place (from 1). `chunks` are new ids (32 hex digits). The jobs
        are then `submitted`, in a new attempt. `JobsOnSystemError` if one is unfinished.
        """
    def submitted(self, chunk: str, batch_ids: Sequence[str], log_file: str | None) -> None:
        """What the scheduler calls the chunk (one id a task of an array). Durable within 50 ms
        or at the next `flush`, `sync` or `close`.
        """
    def flush(self) -> None: ...
    def take_back(self, chunks: Sequence[str]) -> list[str]:
        """Voids chunks that were never accepted: their jobs are as before the intent. Returns
        those that an executor had claimed after all, which stay submitted.
        """
    def withdraw(self, chunks: Sequence[str]) -> None:
        """Takes back the jobs of chunks that were never handed over; no void is needed."""

    # -- looking
    @property
    def n_open(self) -> int:
        """How many tasks are not over."""
    def open_chunks(self) -> list[tuple[str, str, str]]:
        """(chunk, backend, batch id; empty while unknown) of each unfinished task."""
    def ask(self, backend: str, has_accounts: bool) -> None:
        """A look at a backend begins: tasks that were stopped stay open until it has spoken, and
        its accounting, if it keeps any.
        """
    def stopped(self) -> list[str]:
        """Batch ids of tasks that were stopped and that the newest look does not show."""
    def account_for(self, causes: Mapping[str, str | None]) -> None:
        """What accounting says of all that `stopped` gave; None: it is not gone."""
    def observe(self, backend: str, listing: Sequence[tuple[str, bool, str]] | None) -> None:
        """One complete look: (batch id, is running, reason) of every job on the system of that
        backend; None where the backend cannot list. Begin it before the `sync` that follows.
        """
    def sync(self) -> bool:
        """Merges what run files say; True if anything changed. Readers do it in memory."""
    def vanished(self, looks: int) -> list[tuple[str, str, bool]]:
        """(chunk, batch id, whether it was claimed) of what `expire` would give up."""
    def outputs_of(self, batch_ids: set[str]) -> list[tuple[str, str, int, str | None]]:
        """(batch id, chunk, array task, log file) of these; the file where it is recorded."""
    def claimed_by(self, chunk: str) -> dict[str, str] | None:
        """What the scheduler told the executor of a chunk as variables; None if none ran."""
    def runs_of(self, job: int) -> list[str]:
        """JSON of each run of the job's newest attempt: `run`, `claim`, `void`, `closed`."""
    def expire(
        self,
        looks: int,
        causes: Mapping[str, str | None],
        *,
        listing: float,
        accounting: float,
    ) -> IdSet:
        """Gives up chunks absent in `looks` looks in a row and silent, if the void is won.
        `causes` by batch id; None: it is on its way, and not given up. What nobody ever showed is
        given `listing` seconds, what `causes` lacks `accounting` seconds.
        """
    def give_up(self, chunks: Sequence[str], requested: IdSet, cause: str) -> None:
        """After a kill: unfinished jobs among `requested` become defined, siblings expired."""
    def void(self, chunks: Sequence[str]) -> None:
        """Tells executors of these chunks to stop or not to start; before the scheduler is."""
    def reset(self, ids: IdSet) -> None: ...
    def chunk_of(self, job: int) -> tuple[str, str, str] | None:
        """(chunk, batch id, backend) of the newest attempt."""
    def chunks_of(self, ids: IdSet) -> list[tuple[str, str, str, IdSet]]:
        """(chunk, batch id, backend, its unfinished jobs) of each chunk on the system."""

    # -- results, failures, logs
    def results(self, ids: NDArray[np.int64]) -> ResultReader:
        """Results in the order given; all must be done (`JobNotDoneError`)."""
    def result_table(self, ids: NDArray[np.int64]) -> ArrowTable | None:
        """Plain results as columns, unpickling nothing: dicts of scalars by key, other scalars
        as `result`. None if a result is anything else or the types of a column disagree.
        """
    def failures(self, ids: IdSet) -> ArrowTable:
        """`job_id, terminated: bool, error: bool, message: text or null` (whole, with its
        traceback).
        """
    def failure(self, job: int) -> tuple[str, str, str, str]:
        """(cause, type, message, traceback) of a job that is `error`."""
    def same_as(self, other: Store, ids: IdSet) -> IdSet:
        """Those of `ids` with the same call and the same parameters in another registry."""
    def log(self, job: int) -> bytes | None:
        """What the newest attempt printed; None if it was never started or has no log."""
    def logs(self, ids: IdSet) -> LogReader: ...
    def sweep(self) -> int:
        """Removes files that no job refers to; returns how many."""
    def clear(self) -> None:
        """As new: no jobs, ids start at 1."""

@final
class ResultReader:
    def next_batch(self) -> list[bytes] | None:
        """Pickles of the next results, at most some MB unless one alone is larger; None at
        the end. Checksums are verified.
        """

@final
class LogReader:
    def next_batch(self) -> list[tuple[int, bytes]] | None: ...

@final
class Collection:
    """A job collection read on the owner's side, for running it in this process."""

    @staticmethod
    def open(path: str) -> Collection: ...
    @property
    def header(self) -> str:
        """JSON."""
    def rows(self) -> list[tuple[int, int, int, int, bytes]]:
        """(job, task, attempt, call, parameters) of each job."""

@final
class Run:
    """One run of a collection in this process: claims it, writes its journal and log."""

    @staticmethod
    def claim(path: str) -> Run | None:
        """None where a void stands: nothing may run."""
    @property
    def log_file(self) -> str: ...
    def started(self, job: int) -> None: ...
    def done(
        self, job: int, started: int, ended: int, peak_kib: int, cpu_us: int, result: bytes
    ) -> None: ...
    def failed(
        self,
        job: int,
        cause: str,
        started: int,
        ended: int,
        peak_kib: int,
        cpu_us: int,
        type: str,
        message: str,
        traceback: str,
    ) -> None: ...
    def take_over(self, source: Store, ids: IdSet) -> None:
        """How jobs ended in another registry becomes what this run tells."""
    def log(self, job: int, output: bytes) -> None: ...
    def close(self, cause: str | None = None) -> None:
        """What was not run is given back for this cause."""

@final
class Block:
    """Experiments of one problem and one algorithm that one call has added."""

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def problem(self) -> str: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def problem_design(self) -> tuple[int, int]:
        """Names the design: equal names, the same rows."""
    @property
    def algorithm_design(self) -> tuple[int, int]: ...
    @property
    def problem_rows(self) -> int: ...
    @property
    def algorithm_rows(self) -> int: ...
    @property
    def is_bound(self) -> bool: ...
    @property
    def first_repl(self) -> int: ...
    @property
    def last_repl(self) -> int: ...

def key_of(encoded: bytes) -> bytes:
    """The 16 bytes that identify an encoded value (`batchwright/keys.py`)."""

def is_sealed(bytes: bytes) -> bool | None:
    """Whether a file fits the checksum inside it; None if there is none."""

def wait_for_interrupt(seconds: float) -> None: ...

# -- hosts without a scheduler (in-process halves of `batchwright-exec host`)
def host_request(
    store: Store,
    chunk: str,
    cores: int,
    host_cores: int,
    max_concurrent: int,
    host: str | None = None,
) -> None:
    """Appends the chunk to a host's queue, this one's by default, synced."""

def host_listing(path: str) -> list[str]:
    """JSON of each chunk of a registry on this host, as `batchwright-exec host list` prints."""

def host_serves(path: str) -> bool:
    """Whether a process serves a registry's queue on this host."""

def host_name() -> str: ...

# -- packing; numbers from 1
def lpt(weights: NDArray[np.float64], n_chunks: int) -> NDArray[np.int32]: ...
def binpack(weights: NDArray[np.float64], chunk_size: float) -> NDArray[np.int32]: ...
