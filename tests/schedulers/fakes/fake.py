"""A small queue that really runs scripts, and answers as TORQUE, OpenPBS, LSF or OpenLava do.

The commands beside this file call it. What it keeps lies in `$FAKE_DIR`: a file a task, and a lock
a slot. `$FAKE_SLOTS` tasks run at once (4). `$FAKE_MISBEHAVE` is `down` (no server), `full` (a
limit on jobs), `hang`, or `garble`. `fake.py requeue ID` loses a node under a job. Texts and exit
codes were recorded from the real programs.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

FOLDER = Path(os.environ.get("FAKE_DIR", "/nonexistent"))
SLOTS = int(os.environ.get("FAKE_SLOTS", "4"))
HOW = os.environ.get("FAKE_MISBEHAVE", "")


# -- the queue


def new_number() -> int:
    with (FOLDER / "number").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or "0") + 1
        file.seek(0)
        file.truncate()
        file.write(str(number))
    return number


def path_of(number: int, task: int) -> Path:
    return FOLDER / f"{number}.{task}.json"


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def change(path: Path, **fields: object) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({**read(path), **fields}))
    fresh.replace(path)


def tasks(*, number: int | None = None) -> list[dict]:
    found = [read(p) for p in FOLDER.glob("*.*.json")]
    found.sort(key=lambda job: (job["number"], job["task"]))
    return [job for job in found if number in (None, job["number"])]


def submit(
    script: str, name: str, log: str, count: int, variables: dict[str, str], most: str | None
) -> int:
    number = new_number()
    (FOLDER / f"{number}.script").write_text(script)
    (FOLDER / f"{number}.script").chmod(0o755)
    for task in range(1, count + 1) if count else [0]:
        values = {k: v.format(number=number, task=task) for k, v in variables.items()}
        job = {
            "number": number,
            "task": task,
            "name": name,
            "log": log.format(task=task),
            "state": "waiting",
            "code": None,
            "pid": None,
            "variables": values,
            "most": int(most or "0"),
        }
        path_of(number, task).write_text(json.dumps(job))
    for task in range(1, count + 1) if count else [0]:
        subprocess.Popen(
            [sys.executable, __file__, "run", str(number), str(task)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return number


def run(number: int, task: int) -> None:
    """Wait for a slot, then run the task; what is deleted meanwhile is not begun."""
    path = path_of(number, task)
    most = read(path)["most"]
    throttle = any_of([f"{number}.at-once{n}" for n in range(most)]) if most else nullcontext()
    with throttle, any_of([f"slot{slot}" for slot in range(SLOTS)]):
        if read(path)["state"] == "waiting":
            run_now(path)


@contextmanager
def any_of(names: list[str]) -> Iterator[None]:
    """Hold one of some locks."""
    while True:
        for name in names:
            with (FOLDER / name).open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield
                return
        time.sleep(0.05)


def run_now(path: Path) -> None:
    job = read(path)
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    with Path(job["log"]).open("ab") as log:
        process = subprocess.Popen(
            [FOLDER / f"{job['number']}.script"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment | job["variables"],
            cwd=environment["HOME"],
            start_new_session=True,
        )
        change(path, state="running", pid=process.pid)
        code = process.wait()
    if read(path)["state"] == "requeued":
        change(path, state="waiting", pid=None)
        return run_now(path)
    change(path, state="ended", code=code if code >= 0 else 128 - code)


def requeue(job: dict) -> None:
    """Lose the node: what ran is gone without a word, and is run again under its name."""
    change(path_of(job["number"], job["task"]), state="requeued")
    os.killpg(job["pid"], signal.SIGKILL)


def kill(job: dict) -> None:
    path = path_of(job["number"], job["task"])
    if job["state"] == "waiting":
        change(path, state="ended", code=None)
    elif job["pid"]:
        try:
            os.killpg(job["pid"], signal.SIGTERM)
        except ProcessLookupError:
            return


def chosen(text: str) -> list[dict]:
    found = re.match(r"(\d+)(?:\[(\d*)\])?", text)
    if found is None:
        return []
    jobs = tasks(number=int(found[1]))
    return [job for job in jobs if not found[2] or job["task"] == int(found[2])]


def option(words: list[str], name: str, default: str = "") -> str:
    return words[words.index(name) + 1] if name in words else default


def directive(script: str, prefix: str, name: str) -> str:
    found = re.search(rf"^#{prefix} {name} (.*)$", script, re.MULTILINE)
    return found[1].strip() if found else ""


def fail(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


# -- TORQUE and OpenPBS


def pbs_down(command: str, dialect: str) -> int:
    if dialect == "torque":
        return fail(
            "Unable to communicate with host(ADDR)\nCannot connect to specified server host "
            f"'host'.\n{command}: cannot connect to server host (errno=111) Connection refused",
            111,
        )
    said = f"{command}: cannot connect to server host (errno=15010)"
    if command == "qdel":
        said = "Couldn't connect to cluster: host"
    return fail(f"Connection refused\n{said}", 255 if command == "qstat" else 162)


def qsub(dialect: str, words: list[str]) -> int:
    script = sys.stdin.read()
    if HOW == "full":
        if dialect == "torque":
            return fail(
                "qsub: submit error (Maximum number of jobs already in queue for user MSG=total "
                "number of current user's jobs exceeds the queue limit: user joe@host, queue "
                "batch)",
                228,
            )
        return fail("qsub: would exceed queue generic's per-user limit", 38)
    if "\r" in script:
        return fail("qsub: script contains cr, lf", 1)
    if directive(script, "PBS", "-q") == "nosuch":
        if dialect == "torque":
            return fail("qsub: submit error (Unknown queue MSG=requested queue not found)", 172)
        return fail("qsub: Unknown queue", 170)
    wrong, right = ("-J", "-t") if dialect == "torque" else ("-t", "-J")
    if directive(script, "PBS", wrong):
        return fail(f"qsub: illegal {wrong} value", 2)
    array = directive(script, "PBS", right)
    found = re.fullmatch(r"1-(\d+)(?:%(\d+))?", array)
    count = int(found[1]) if found else 0
    if dialect == "pbspro" and count == 1:
        return fail("qsub: illegal -J value", 2)
    log, variables = option(words, "-o"), {"PBS_JOBID": "{number}.host"}
    if count:
        variables = {"PBS_JOBID": "{number}[{task}].host"}
        variables["PBS_ARRAYID" if dialect == "torque" else "PBS_ARRAY_INDEX"] = "{task}"
        log = log.replace("^array_index^", "{task}") if "^" in log else f"{log}-{{task}}"
    most = found[2] if found else None
    number = submit(script, option(words, "-N", "STDIN"), log, count, variables, most)
    print(f"{number}[].host" if count else f"{number}.host")
    return 0


def qstat(dialect: str, words: list[str]) -> int:
    if "--version" in words:
        if dialect == "torque":
            print("Version: 6.1.3.h5\nCommit: unknown", file=sys.stderr)
        else:
            print("pbs_version = 23.06.06")
        return 0
    if "-f" in words:
        return qstat_full(dialect, [w for w in words if not w.startswith("-")])
    rows = []
    seen = set()
    for job in tasks():
        letter = {"waiting": "Q", "running": "R", "ended": "C" if dialect == "torque" else "F"}
        state = letter[job["state"]]
        number, task = job["number"], job["task"]
        if task and number not in seen:
            seen.add(number)
            alive = [j for j in tasks(number=number) if j["state"] != "ended"]
            if alive or dialect == "torque":
                whole = ("R" if dialect == "torque" else "B") if alive else "C"
                rows.append((f"{number}[].host", job["name"], whole))
        if task and "-t" not in words:
            continue
        if state == "F" and not task:
            continue  # OpenPBS forgets at once
        name = f"{job['name']}-{task}" if task and dialect == "torque" else job["name"]
        if state == "F":
            state = "X"
        rows.append((f"{number}[{task}].host" if task else f"{number}.host", name, state))
    if not rows:
        return 0
    if dialect == "torque":
        print("Job ID                    Name             User            Time Use S Queue")
        print("------------------------- ---------------- --------------- -------- - -----")
        for number, name, state in rows:
            short = name if len(name) <= 16 else f"...{name[-13:]}"
            print(f"{number:<26} {short:<16} joe             00:00:00 {state} batch          ")
    else:
        print("Job id            Name             User              Time Use S Queue")
        print("----------------  ---------------- ----------------  -------- - -----")
        for number, name, state in rows:
            print(f"{number[:17]:<17} {name[:16]:<16} joe                      0 {state} workq ")
    return 0


def qstat_full(dialect: str, words: list[str]) -> int:
    code = 0
    for word in words:
        jobs = chosen(word)
        if not jobs:
            error = "Unknown Job Id Error" if dialect == "torque" else "Unknown Job Id"
            code = fail(f"qstat: {error} {word}.host", 153)
        for job in jobs:
            print(f"Job Id: {word}.host\n    Job_Name = {job['name']}")
            letter = {"waiting": "Q", "running": "R"}.get(
                job["state"], "C" if dialect == "torque" else "F"
            )
            print(f"    job_state = {letter}")
            if job["code"] is not None:
                key = "exit_status" if dialect == "torque" else "Exit_status"
                print(f"    {key} = {job['code']}")
            print()
    return code


def qdel(dialect: str, words: list[str]) -> int:
    code = 0
    for word in words:
        jobs = chosen(word)
        if not jobs:
            text = f"nonexistent job id: {word}" if dialect == "torque" else "Unknown Job Id "
            code = fail(f"qdel: {text}{'' if dialect == 'torque' else word + '.host'}", 153)
        elif all(job["state"] == "ended" for job in jobs):
            if dialect == "torque":
                said = "Request invalid for state of job MSG=invalid state for job - COMPLETE"
                code = fail(f"qdel: {said} {word}.host", 170)
            else:
                code = fail(f"qdel: Unknown Job Id {word}.host", 153)
        for job in jobs:
            kill(job)
    return code


# -- LSF and OpenLava


def lsf_down(command: str) -> int:
    if command == "bsub" and os.environ.get("LSB_NTRIES"):
        return fail("Connection refused by server. Job not submitted.", 255)
    return fail("batch system daemon not responding ... still trying", 255)


def bsub(dialect: str, words: list[str]) -> int:
    script = sys.stdin.read()
    if HOW == "full":
        if dialect == "lsf" and not os.environ.get("LSB_NTRIES"):
            time.sleep(3600)
        return fail("User <joe>: Pending job threshold reached. Job not submitted.", 255)
    if dialect == "openlava" and ("-Jd" in words or "-cwd" in words):
        return fail("bsub: illegal option", 255)
    if directive(script, "BSUB", "-q") == "nosuch":
        return fail("nosuch: No such queue. Job not submitted.", 255)
    name = option(words, "-J", "unnamed")
    found = re.fullmatch(r"(.*)\[1-(\d+)\](?:%(\d+))?", name)
    count = int(found[2]) if found else 0
    log = option(words, "-o").replace("%I", "{task}")
    variables = {"LSB_JOBID": "{number}", "LSB_JOBINDEX": "{task}"}
    most = found[3] if found else None
    number = submit(script, found[1] if found else name, log, count, variables, most)
    print(f"Job <{number}> is submitted to default queue <normal>.")
    return 0


def bjobs(dialect: str, words: list[str]) -> int:
    names = [w for w in words if re.fullmatch(r"\d+(\[\d+\])?", w)]
    if "-o" in words:
        if dialect == "openlava":
            return fail("bjobs: illegal option -- o", 255)
        return bjobs_fields(names)
    if "-l" in words:
        return bjobs_long(names)
    jobs = [job for job in tasks() if "-a" in words or job["state"] != "ended"]
    if not jobs:
        text = "No job found" if "-a" in words else "No unfinished job found"
        return fail(text, 254 if dialect == "openlava" else 255)
    print("JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME")
    for job in jobs:
        name = f"{job['name']}[{job['task']}]" if job["task"] else job["name"]
        print(f"{job['number']:<7} joe     {stat(job):<5} normal     host        host        "
              f"{name:<10} Nov 25 02:37")  # fmt: skip
    return 0


def stat(job: dict) -> str:
    if job["state"] == "ended":
        return "DONE" if job["code"] == 0 else "EXIT"
    return "PEND" if job["state"] == "waiting" else "RUN"


def bjobs_fields(names: list[str]) -> int:
    for name in names:
        jobs = chosen(name)
        if not jobs:
            fail(f"Job <{name}> is not found", 255)
        for job in jobs:
            code = "-" if not job["code"] else job["code"]
            reason = "TERM_OWNER: job killed by owner" if job["code"] is None else "-"
            print(f"{job['number']}|{job['task']}|{stat(job)}|{code}|{reason}")
    return 0


def bjobs_long(names: list[str]) -> int:
    for name in names:
        for job in chosen(name):
            head = f"Job <{name}>, Job Name <{job['name']}>, User <joe>, Project <default>, Status "
            text = f"{head}<{stat(job)}>, Queue <normal>, Command <script>"
            print("\n" + text[:80] + "\n" + " " * 21 + text[80:])
            if job["code"]:
                print(f"Wed Nov 25 02:38:48: Exited with exit code {job['code']}.")
    return 0


def bkill(dialect: str, words: list[str]) -> int:
    code = 0
    for word in words:
        jobs = chosen(word)
        if not jobs:
            code = fail(f"Job <{word}>: No matching job found", 255)
        elif all(job["state"] == "ended" for job in jobs):
            code = fail(f"Job <{word}>: Job has already finished", 255)
        else:
            print(f"Job <{word}> is being terminated")
        for job in jobs:
            kill(job)
    return code


def main(dialect: str, command: str, words: list[str]) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    if dialect == "run":
        run(int(command), int(words[0]))
        return 0
    if dialect == "requeue":
        for job in chosen(command):
            requeue(job)
        return 0
    if HOW == "hang":
        time.sleep(3600)
    if HOW == "garble":
        print("\x1b[1mwelcome to the cluster")
        return 0
    is_pbs = dialect in ("torque", "pbspro")
    if HOW == "down":
        return pbs_down(command, dialect) if is_pbs else lsf_down(command)
    return globals()[command](dialect, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
