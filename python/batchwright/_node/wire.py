"""The messages between executor and worker; ``run/wire.rs`` is the other end."""

from __future__ import annotations

from struct import Struct

INIT = ord("I")
JOB = ord("J")
BYE = ord("B")

REQUEST = Struct("<BBHHxxI")
"""Kind, whether the parameters follow, attempt, call, job."""

APART = Struct("<QQ")
"""Offset and length of parameters in the collection's file."""

LONGEST_INIT = 1 << 18
LONGEST_REQUEST = REQUEST.size + (1 << 15)

ANSWER = Struct("<IB3xIIqqQ")
"""Length of the body, kind, job, peak memory in KiB, start, end, CPU time."""

STORED = Struct("<QQI")
"""Offset, length and checksum of a result in the worker's own file."""

READY = 1
SETUP_FAILED = 2
RESULT = 3
STORED_RESULT = 4
FAILED = 5
STORAGE_FAILED = 6
