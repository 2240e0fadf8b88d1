"""How the program ends: codes, messages, pipes and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import batchwright as bw

Invoke = Callable[..., Result]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
PROGRAM = [sys.executable, "-m", "batchwright"]
READING = [
    ["status"],
    ["watch"],
    ["log", "1"],
    ["grep", "x"],
    ["errors"],
    ["table"],
    ["results"],
    ["doctor"],
    ["test", "1"],
    ["submit", "--dry-run"],
]
WRITING = [["submit"], ["kill"], ["reset", "--ids", "1"], ["sweep"], ["remove", "--yes"]]


@pytest.mark.parametrize("arguments", [*READING, *WRITING], ids=lambda words: words[0])
def test_without_a_registry(invoke: Invoke, folder: Path, arguments: list[str]) -> None:
    (folder / "precious").mkdir()
    (folder / "precious" / "file").touch()
    (folder / "plain").touch()
    for name in ("nowhere", "precious", "plain", "pre\x1b[31mcious"):
        result = invoke(*arguments, "-r", name, code=3)
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert "hint: make one by `batchwright init`" in result.stderr
        assert "\x1b" not in result.stderr
    assert (folder / "precious" / "file").exists()


def test_the_registry_is_named_by_option_or_environment(
    invoke: Invoke, study: bw.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("registry").rename("renamed")
    invoke("status", code=3)
    assert "4 jobs" in invoke("status", "-r", "renamed").stdout
    monkeypatch.setenv("BATCHWRIGHT_REGISTRY", "renamed")
    assert "4 jobs" in invoke("status").stdout
    invoke("status", "--registry", "nowhere", code=3)


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["--frobnicate"], ["status", "--frobnicate"], ["status", "more"], ["log"]],
    ids=" ".join,
)
def test_wrong_use(invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "--help` shows" in result.stderr


def test_no_verb_shows_the_help(invoke: Invoke) -> None:
    assert "Exit codes" in invoke(code=2).output


def test_verbs_wait_for_each_other_and_reading_ones_do_not_wait(
    invoke: Invoke, study: bw.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchwright.cli.opening._PATIENCE", 0.3)
    code = (
        "import sys, batchwright as bw\n"
        "reg = bw.load_registry('registry', writeable=True)\n"
        "print('owned', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdin is not None
        owner.stdout.readline()
        assert "4 jobs" in invoke("status").stdout
        result = invoke("submit", code=5)
        assert "hint: end that process" in result.stderr
        owner.stdin.close()
    invoke("submit", "--wait")


def test_tracebacks_only_when_debugging(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = run("status", "--where", "x", "-r", "nowhere", code=3)
    assert "Traceback" not in quiet.stderr
    env = {**os.environ, "BATCHWRIGHT_DEBUG": "1"}
    loud = subprocess.run(
        [*PROGRAM, "status", "-r", "nowhere"], env=env, capture_output=True, text=True, check=False
    )
    assert loud.returncode == 3
    assert "Traceback" in loud.stderr


def test_a_reader_that_goes_away(study: bw.Registry, folder: Path) -> None:
    with bw.make_registry("many", conf_file=None, make_default=False) as reg:
        reg.batch_map(abs, np.arange(50_000))
    script = '"$@" | head -n 1; echo "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *PROGRAM, "table", "-r", "many"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0].startswith("job_id\t")
    assert done.stdout.splitlines()[1] == "141"
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_output_is_output_that_nobody_wants(study: bw.Registry, closed: str) -> None:
    for arguments, code in ((["status"], 0), (["results"], 0), (["log", "9"], 7)):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {closed}', "bash", *PROGRAM, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["results"], ["table", "--json"], ["status"]], ids=str)
def test_a_full_disk(study: bw.Registry, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 13
    assert done.stderr.startswith("error: No space left on device")


def test_jobs_that_vanished_end_a_watch(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchwright.cli.watching._STILL", 0.5)
    Path("slow.py").write_text(
        "import os, time\n"
        "def nap(s):\n"
        "    open('pids', 'w').write(f'{os.getpid()} {os.getppid()}')\n"
        "    time.sleep(s)\n"
    )
    invoke("init", "slow.py:nap", "s=60")
    invoke("submit")
    deadline = time.monotonic() + 20
    while not Path("pids").exists() or len(Path("pids").read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # The executor first, which would report the end of its worker.
    for pid in reversed(Path("pids").read_text().split()):
        os.kill(int(pid), signal.SIGKILL)
    assert invoke("watch", "--timeout", "60", code=1).stdout.endswith("1 job: 1 expired\n")
    assert "lost" in invoke("table", "--state", "expired").stdout


def test_logs_reach_a_pipe_as_they_are(run: Run, folder: Path) -> None:
    Path("colours.py").write_text("def f(x):\n    print('\\x1b[31m→\\x1b[0m')\n")
    run("init", "colours.py:f", "x=1")
    run("submit", "--wait")
    assert run("log", "1").stdout == "\x1b[31m→\x1b[0m\n"
    assert run("grep", "31m").stdout == "1:\x1b[31m→\x1b[0m\n"
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    poor = subprocess.run([*PROGRAM, "log", "1"], env=env, capture_output=True, check=True)
    assert poor.stdout == b"\x1b[31m\\u2192\x1b[0m\n"


def test_ctrl_c(folder: Path, run: Run) -> None:
    Path("slow.py").write_text("import time\ndef nap(s):\n    time.sleep(s)\n")
    run("init", "slow.py:nap", "s=60")
    run("submit")
    with subprocess.Popen(
        [*PROGRAM, "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        time.sleep(0.2)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=20) == 130
        assert watching.stderr.read() == ""
    killed = run("kill", "--json")
    assert '"killed": true' in killed.stdout
    assert "1 job stopped" in killed.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["status"]], ids=lambda w: w[0])
def test_heavy_packages_are_not_imported(
    study: bw.Registry, folder: Path, arguments: list[str]
) -> None:
    code = (
        "import sys\n"
        "from batchwright.cli.main import program\n"
        "try:\n"
        f"    program({arguments!r})\n"
        "finally:\n"
        "    heavy = {'numpy', 'pyarrow', 'rich', 'jinja2', 'cloudpickle'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
