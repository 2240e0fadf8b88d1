"""joblib: the same jobs without a registry, and with each result kept in a file."""

from __future__ import annotations

import sys
from pathlib import Path

from joblib import Memory, Parallel, delayed
from measuring import measured, put_on_disk


def job(x: int, k: float) -> dict[str, int]:
    return {"x": 2 * x}


def main(step: str, n: int, folder: Path) -> None:
    jobs = range(n)
    Parallel(n_jobs=2)(delayed(job)(x, 0.0) for x in range(4))
    if step == "run":
        with measured("run", n) as figure:
            Parallel(n_jobs=2)(delayed(job)(x, 0.0) for x in jobs)
        figure.emit()
        return
    kept = Memory(folder / "memory", verbose=0).cache(job)
    with measured("run, results kept", n) as figure:
        Parallel(n_jobs=2)(delayed(kept)(x, 0.0) for x in jobs)
    put_on_disk(figure, folder / "memory")
    figure.emit()
    with measured("collect list", n) as figure:
        found = [kept(x, 0.0) for x in jobs]
    assert found[-1] == {"x": 2 * (n - 1)}
    figure.emit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
