"""OpenLava: LSF's commands of an earlier time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from batchwright.clusters.base import Completed
from batchwright.clusters.lsf import LSF, cause_of
from batchwright.clusters.scheduler import FS_LATENCY, SCHEDULER_LATENCY

if TYPE_CHECKING:
    from batchwright.registry import Registry


class OpenLava(LSF):
    """OpenLava, version 2.2 or later.

    Parameters
    ----------
    template, array_jobs, nodename, scheduler_latency, fs_latency
        As for `LSF`. It starts jobs in rounds, mostly of ten seconds.

    Examples
    --------
    >>> OpenLava()
    OpenLava()
    """

    name = "OpenLava"
    has_description: ClassVar[bool] = False

    def __init__(
        self,
        template: str | os.PathLike[str] = "openlava",
        array_jobs: bool = True,
        nodename: str = "localhost",
        *,
        scheduler_latency: float = SCHEDULER_LATENCY,
        fs_latency: float = FS_LATENCY,
        hooks: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        super().__init__(
            template,
            array_jobs,
            nodename,
            scheduler_latency=scheduler_latency,
            fs_latency=fs_latency,
            hooks=hooks,
        )

    def account(self, reg: Registry, gone: Mapping[str, bool]) -> Mapping[str, str | None]:
        """Ask what became of jobs that are still remembered."""
        return parse_account(self.run(["bjobs", "-l", *sorted(gone)]), gone)


def parse_account(done: Completed, gone: Mapping[str, bool]) -> dict[str, str | None]:
    """Read bjobs' long report, whose lines are folded at eighty characters."""
    found: dict[str, str | None] = {}
    for text in re.split(r"^Job <", done.stdout, flags=re.MULTILINE)[1:]:
        said = re.sub(r"\n {21}", "", text)
        batch = re.match(r"(\d+(?:\[\d+\])?)>", said)
        if batch is None or batch[1] not in gone:
            continue
        state = re.search(r"Status <(\w+)>", said)
        began = gone[batch[1]]
        code = re.search(r"Exited with exit code (\d+)", said)
        if state is None or state[1] not in ("DONE", "EXIT"):
            found[batch[1]] = None
        elif state[1] == "DONE":
            found[batch[1]] = "storage" if began else "not_started"
        else:
            found[batch[1]] = cause_of(code[1] if code else "", said, began=began)
    return found
