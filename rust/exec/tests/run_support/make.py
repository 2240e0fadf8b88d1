"""Makes objects and rows of a test's collection: reads a script, prints JSON.

The script defines `fun` and `rows` (tuples of parameters), and may use `root` and define
`more_args`, `exports`, `hooks`, `positional`, `names`, `job`, `version` and `header` (more of the
header's `python`).
"""

import hashlib
import json
import pickle
import sys
from pathlib import Path

import cloudpickle

root = Path(sys.argv[1])
scope = {"__name__": "__main__", "root": root}
exec(sys.stdin.read(), scope)


def stored(value):
    data = value if isinstance(value, bytes) else cloudpickle.dumps(value, 5)
    name = hashlib.blake2b(data, digest_size=16).hexdigest()
    path = root / "objects" / name[:2] / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def packed(value):
    return b"R" + stored(value).encode() if isinstance(value, bytearray) else value


rows = scope["rows"]
width = len(rows[0]) if rows else 0
call = {
    "kind": "map",
    "fun": stored(scope["fun"]),
    "more_args": stored(scope["more_args"]) if "more_args" in scope else None,
    "names": scope.get("names", [f"x{i}" for i in range(width)]),
    "positional": scope.get("positional", width),
    "pickled": scope.get("pickled", []),
    "job": scope.get("job", False),
}
print(
    json.dumps(
        {
            "python": {
                "version": scope.get("version", list(sys.version_info[:2])),
                "sys_path": [],
                "imports": [],
                "source": [],
                "load": [],
                "exports": {k: stored(v) for k, v in scope.get("exports", {}).items()},
                "hooks": {k: stored(v) for k, v in scope.get("hooks", {}).items()},
                "calls": [call],
                "debug": False,
                "versions": {},
                **scope.get("header", {}),
            },
            "rows": [list(pickle.dumps(tuple(packed(v) for v in row), 5)) for row in rows],
        }
    )
)
