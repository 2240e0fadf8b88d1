"""One of two that want the same registry: `python rival.py FOLDER NAME breaks|waits|holds`.

It opens, writes and leaves again and again, or holds what it has, and tells what each verb
returned.
"""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import batchwright as bw


class Rival:
    """Writes to the registry under its name, and tells what was acknowledged."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, f"{name}.{os.getpid()}"
        self.number = 0

    def tell(self, *words: object) -> None:
        """Append a line at once: what is written before a kill stays."""
        path = self.folder / f"told-{self.name}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, (" ".join(map(str, words)) + "\n").encode())
        os.close(file)

    def open(self, *, break_lock: bool) -> bw.Registry | None:
        try:
            reg = bw.load_registry(
                self.folder / "registry",
                conf_file=None,
                make_default=False,
                writeable=True,
                break_lock=break_lock,
            )
        except bw.RegistryLockedError:
            self.tell("locked")
            time.sleep(random.uniform(0, 0.02))
            return None
        self.tell("opened")
        return reg

    def write(self, reg: bw.Registry) -> None:
        self.number += 1
        value = f"{self.name}.{self.number}"
        ids = reg.batch_map(str, [value], append=True)
        self.tell("defined", ids[0], value)
        reg.set_job_names(ids, [value])
        self.tell("named", ids[0], value)
        reg.add_job_tags(ids, value)
        self.tell("tagged", ids[0], value)
        if self.number % 9 == 0:
            reg.save_registry()

    def compete(self, *, breaks: bool) -> None:
        while True:
            reg = self.open(break_lock=breaks and random.random() < 0.3)
            if reg is None:
                continue
            with reg:
                try:
                    for _ in range(random.randrange(1, 6)):
                        self.write(reg)
                except bw.OwnershipLostError:
                    self.tell("lost")
            time.sleep(random.uniform(0, 0.02))

    def hold(self) -> None:
        """Write until that fails, then try what would harm whoever owns the registry now."""
        reg = self.open(break_lock=False)
        assert reg is not None
        try:
            while True:
                self.write(reg)
        except bw.OwnershipLostError:
            self.tell("lost")
        harmful: dict[str, Callable[[], object]] = {
            "map": lambda: reg.batch_map(str, ["late"], append=True),
            "submit": reg.submit_jobs,
            "kill": reg.kill_jobs,
            "reset": lambda: reg.reset_jobs([1]),
            "assign": lambda: setattr(reg, "seed", 1),
            "sweep": reg.sweep_registry,
            "clear": reg.clear_registry,
            "remove": lambda: reg.remove_registry(wait=0),
        }
        for what, verb in harmful.items():
            try:
                verb()
                self.tell("tried", what, "done")
            except bw.BatchwrightError as error:
                self.tell("tried", what, type(error).__name__)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    rival = Rival(Path(sys.argv[1]), sys.argv[2])
    if sys.argv[3] == "holds":
        rival.hold()
    else:
        rival.compete(breaks=sys.argv[3] == "breaks")
