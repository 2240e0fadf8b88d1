"""Submit commands that accept and do not say so, on real schedulers: none lost or twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import batchwright as bw
from batchwright.clusters import base

WRAPPER = Path(__file__).parent / "wrapped_submit.sh"
SYSTEMS = [
    pytest.param(("Slurm", "sbatch", "SLURM_CONF"), marks=pytest.mark.slurm),
    pytest.param(("SGE", "qsub", "SGE_ROOT"), marks=pytest.mark.sge),
]
OWNER = """
import sys
import batchwright as bw
from test_doubt import appended
reg = bw.make_registry(sys.argv[1], work_dir="/", conf_file=None)
reg.cluster_functions = getattr(bw, sys.argv[2])(scheduler_latency=1, fs_latency=2)
reg.batch_map(appended, [sys.argv[1] + ".ran"] * 4)
reg.submit_jobs(chunk_size=1, resources={"array": sys.argv[3] == "array"})
"""


def appended(path: str, job: bw.JobCollection) -> None:
    with Path(path).open("a") as file:
        file.write(f"{job.id}\n")


@pytest.fixture(params=SYSTEMS)
def misbehaving(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Put a submit command on PATH that misbehaves once; give the name of the backend."""
    name, command, needs = request.param
    if not (os.environ.get(needs) and shutil.which(command)):
        pytest.skip(f"no {name} here")
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(WRAPPER, folder / command)

    def misbehave(how: str) -> str:
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        monkeypatch.setenv("WRAPPED_HOW", how)
        monkeypatch.setenv("WRAPPED_CALLS", str(tmp_path / "calls"))
        return name

    return misbehave


def _backend(name: str) -> bw.ClusterFunctions:
    return getattr(bw, name)(scheduler_latency=1, fs_latency=2)


@pytest.mark.parametrize("array", ["array", "single"])
@pytest.mark.parametrize("how", ["kills-the-owner", "kills-the-owner-first"])
def test_the_owner_dies(
    misbehaving: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    array: str,
) -> None:
    name = misbehaving(how)
    monkeypatch.syspath_prepend(str(WRAPPER.parent))
    path = tmp_path / "registry"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(WRAPPER.parent), os.environ.get("PYTHONPATH", "")])
    }
    ended = subprocess.run(
        [sys.executable, "-c", OWNER, str(path), name, array], env=environment, check=False
    )
    assert ended.returncode == -9
    with bw.load_registry(path, conf_file=None, writeable=True, make_default=False) as reg:
        reg.sleep = 0.5
        if how == "kills-the-owner-first" or array == "single":
            with pytest.warns(UserWarning, match="defined again"):
                reg.wait_for_jobs(timeout=60)
            left = reg.find_not_submitted()
            assert len(left) == (4 if how == "kills-the-owner-first" else 3)
            reg.submit_jobs(left)
        assert reg.wait_for_jobs(timeout=60)
        assert reg.find_done() == {1, 2, 3, 4}
    assert sorted(Path(f"{path}.ran").read_text().split()) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    "how", ["accepts-and-hangs", "accepts-and-fails", "accepts-and-babbles", "refuses-and-hangs"]
)
def test_an_answer_in_doubt(
    misbehaving: Callable[[str], str],
    registry: bw.Registry,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr(
        "batchwright.clusters.scheduler.run_command", partial(base.run_command, timeout=4)
    )
    registry.cluster_functions = _backend(misbehaving(how))
    registry.sleep = 0.5
    ran = registry.file_dir.parent / "ran"
    registry.batch_map(appended, [str(ran)] * 3)
    if how == "refuses-and-hangs":
        with pytest.warns(UserWarning, match="not known yet|defined again"):
            registry.submit_jobs(resources={"array": False})
            registry.wait_for_jobs(timeout=60)
        assert registry.find_not_submitted() == {1}
        registry.submit_jobs([1])
    else:
        registry.submit_jobs(resources={"array": False})
    assert registry.wait_for_jobs(timeout=60)
    assert sorted(ran.read_text().split()) == ["1", "2", "3"]
