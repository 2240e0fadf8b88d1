"""Docker's answers, as a real swarm gave them."""

from __future__ import annotations

import pytest

import batchwright as bw
from batchwright.clusters import docker

NAME = docker.service_name("0" * 32)


def said(code: int, out: str = "", err: str = "") -> bw.Completed:
    return bw.Completed(("docker",), code, out, err)


def test_accepted() -> None:
    warning = "image x could not be accessed on a registry to record\nits digest.\n"
    answer = docker.parse_submit(said(0, "j2gv8yjsqe7bt24bzem1yyxtw\n", warning), NAME)
    assert (answer.status, list(answer.batch_ids)) == (0, [NAME])
    conflict = (
        "Error response from daemon: rpc error: code = AlreadyExists desc = name conflicts with "
        "an existing object: service s1 already exists"
    )
    assert docker.parse_submit(said(1, err=conflict), NAME).status == 0


def test_refused_and_in_doubt() -> None:
    assert docker.parse_submit(said(1, err="Cannot connect to the Docker daemon"), NAME).status == 1
    assert docker.parse_submit(said(125, err="unknown flag: --bogus"), NAME).status == 101
    with pytest.raises(bw.SchedulerError):
        docker.parse_submit(said(1, err="context deadline exceeded"), NAME)
    with pytest.raises(bw.SchedulerError):
        docker.parse_submit(said(0, "hello"), NAME)


def test_tasks() -> None:
    out = (
        f'{NAME}.1|Pending 6 seconds ago|"no suitable node (insufficient resources on 1 node)"\n'
        f'{NAME}.1|Failed 2 minutes ago|"task: non-zero exit (137)"\n'
    )
    rows = docker.parse_tasks(said(0, out))
    assert rows == {NAME: ("pending", "no suitable node (insufficient resources on 1 node)")}
    for wrong in (said(0, "hello"), said(1, err="no such service: x")):
        with pytest.raises(bw.SchedulerError):
            docker.parse_tasks(wrong)


def test_causes() -> None:
    error = "task: non-zero exit (137)"
    assert docker.cause_of("failed", error, began=True, out_of_memory=True) == "oom"
    assert docker.cause_of("failed", error, began=True) == "killed"
    assert docker.cause_of("failed", "task: non-zero exit (1)", began=True) == "crashed"
    assert docker.cause_of("remove", "", began=True) == "killed"
    assert docker.cause_of("rejected", "No such image: x", began=False) == "setup"
    assert docker.cause_of("running", "", began=True) is None


STARVED, STRUCK = docker.service_name("1" * 32), docker.service_name("2" * 32)


def test_only_docker_tells_whether_a_sigkill_was_for_want_of_memory(
    registry: bw.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = '|Failed 5 seconds ago|"task: non-zero exit (137)"\n'
    answers = {
        "service ls": f"{STARVED}\n{STRUCK}\n",
        "{{.Name}}|": f"{STARVED}.1{killed}{STRUCK}.1{killed}",
        "{{.Name}} {{.ID}}": (
            f"{STARVED}.1 wdg9ms72l8ivig1hz1daf2ak9\n{STRUCK}.1 r8z31ry2vom0uu0rkthx6dngy\n"
        ),
        "inspect --type task": (
            "wdg9ms72l8ivig1hz1daf2ak9 "
            "092a9efc094ae9eca114ad378519d173a43b978ce1d90c06a55407e637d0f954\n"
            "r8z31ry2vom0uu0rkthx6dngy "
            "7bdb908193abb8ef3038f7ba78fd9f9996d6797518dab622bcc65219e1ecc2ff\n"
        ),
        "inspect --type container": (
            "092a9efc094ae9eca114ad378519d173a43b978ce1d90c06a55407e637d0f954 true\n"
            "7bdb908193abb8ef3038f7ba78fd9f9996d6797518dab622bcc65219e1ecc2ff false\n"
        ),
    }

    def run_command(words: list[str], **_: object) -> bw.Completed:
        line = " ".join(words)
        return said(0, next(answer for part, answer in answers.items() if part in line))

    monkeypatch.setattr(docker, "run_command", run_command)
    gone = {STARVED: True, STRUCK: True}
    backend = bw.Docker("image")
    assert backend.account(registry, gone) == {STARVED: "oom", STRUCK: "killed"}
    answers["inspect --type container"] = ""  # the containers were another node's
    assert backend.account(registry, gone) == {STARVED: "killed", STRUCK: "killed"}


@pytest.mark.parametrize("image", ["", "-v", "a\nb", None, 3])
def test_images_that_are_none(image: object) -> None:
    with pytest.raises((bw.ConfigError, bw.TemplateError)):
        bw.Docker(image)  # pyright: ignore[reportArgumentType]
