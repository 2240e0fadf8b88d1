"""Templates: where they are found, what they give, and that no value becomes a command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import batchwright as bw
from batchwright import templates

CHUNK = "0123456789abcdef0123456789abcdef"
SHIPPED = sorted(path.stem for path in templates.SHIPPED.glob("*.tmpl"))
ASKED = {
    "walltime": 4000,
    "memory": 1000.5,
    "ncpus": 4,
    "partition": "main",
    "modules": ["gcc/12"],
    "setup": ["export A=$(hostname)", "ulimit -c 0"],
}


def collection(tmp_path: Path = Path("/r"), **fields: object) -> bw.JobCollection:
    given: dict[str, object] = {
        "job_hash": CHUNK,
        "job_name": CHUNK,
        "n_jobs": 2,
        "uri": tmp_path / "jobs" / "01" / f"{CHUNK}.bwc",
        "file_dir": tmp_path,
        "work_dir": tmp_path,
        "log_file": tmp_path / "logs" / "01" / f"{CHUNK}.out",
        "command": ("/opt/exec", "run", "/r/c.bwc"),
        "array_var": "SLURM_ARRAY_TASK_ID",
    }
    return bw.JobCollection(**(given | fields))  # pyright: ignore[reportArgumentType]


def rendered(text: str, tmp_path: Path, **fields: object) -> str:
    path = tmp_path / "x.tmpl"
    path.write_text(text)
    return templates.render(path, collection(**fields))


SNAPSHOTS = {
    "slurm": """#!/bin/bash -l
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=1001M
#SBATCH --time=67
#SBATCH --signal=B:USR1@90
#SBATCH --partition=main
#SBATCH --array=1-3
module load gcc/12
export A=$(hostname)
ulimit -c 0
exec /opt/exec run /r/c.bwc --task "${SLURM_ARRAY_TASK_ID}"
""",
    "sge": """#!/bin/bash -l
#$ -S /bin/bash
#$ -pe smp 4
#$ -l mem_free=251M
#$ -l h_rt=4000
#$ -q main
#$ -t 1-3
module load gcc/12
export A=$(hostname)
ulimit -c 0
exec /opt/exec run /r/c.bwc --task "${SLURM_ARRAY_TASK_ID}"
""",
    "torque": """#!/bin/bash -l
#PBS -l nodes=1:ppn=4
#PBS -l mem=1001mb
#PBS -l walltime=1:06:40
#PBS -q main
#PBS -t 1-3
cd /r || exit 1
module load gcc/12
export A=$(hostname)
ulimit -c 0
exec /opt/exec run /r/c.bwc --task "${SLURM_ARRAY_TASK_ID}"
""",
    "lsf": """#!/bin/bash -l
#BSUB -n 4
#BSUB -R span[hosts=1]
#BSUB -M 1001
#BSUB -R rusage[mem=1001]
#BSUB -W 67
#BSUB -q main
# An array of 3 tasks, which bsub was told together with the name.
module load gcc/12
export A=$(hostname)
ulimit -c 0
exec /opt/exec run /r/c.bwc --task "${SLURM_ARRAY_TASK_ID}"
""",
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_what_the_shipped_ones_give(name: str) -> None:
    jc = collection(resources=ASKED, array_jobs=3)
    made = templates.render(templates.find_template(name), jc, {"dialect": "torque"})
    assert made == SNAPSHOTS[name]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("dialect", ["torque", "pbs"])
def test_the_shipped_ones_are_shell_with_and_without_resources(name: str, dialect: str) -> None:
    everything = ASKED | {
        "account": "a",
        "qos": "q",
        "gpus": 2,
        "constraint": "c",
        "requeue": False,
        "project": "p",
        "max_concurrent_jobs": 5,
    }
    for resources in ({}, everything):
        for tasks in (0, 1, 7):
            jc = collection(resources=resources, array_jobs=tasks)
            made = templates.render(templates.find_template(name), jc, {"dialect": dialect})
            subprocess.run(["bash", "-n"], input=made, text=True, check=True)


HOSTILE = [
    "a b",
    "$(touch planted)",
    "`touch planted`",
    "'; touch planted; '",
    '"; touch planted; "',
    "x; touch planted",
    "x && touch planted",
    "| touch planted",
    "> planted",
    "../../planted",
    "-n",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "\\",
    "*",
    "~",
    "#x",
    "ü€𝔘",
    "!!",
]
SHELLS = [shell for shell in ("sh", "bash", "zsh", "dash", "ksh") if Path("/bin", shell).exists()]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("shell", SHELLS)
def test_values_are_words(value: str, shell: str, tmp_path: Path) -> None:
    text = "#!/bin/sh\nprintf '%s\\n' x{{ resources.v }}\nprintf '%s\\n' {{ resources.w }}\n"
    made = rendered(text, tmp_path, resources={"v": value, "w": [value, value]})
    done = subprocess.run(
        [shell], input=made, text=True, capture_output=True, cwd=tmp_path, check=True
    )
    assert done.stdout == f"x{value}\n{value}\n{value}\n"
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("value", [v for v in HOSTILE if v not in ("-n", "../../planted")])
@pytest.mark.parametrize("prefix", ["#SBATCH", "#$", "#PBS", "#BSUB"])
def test_lines_of_the_scheduler_take_harmless_text_only(
    value: str, prefix: str, tmp_path: Path
) -> None:
    with pytest.raises(bw.TemplateError, match="cannot stand in the line"):
        rendered(
            f"#!/bin/sh\n{prefix} -q {{{{ resources.v }}}}\n", tmp_path, resources={"v": value}
        )


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\x02"])
@pytest.mark.parametrize(
    "use", ["{{ resources.v }}", "{{ resources.v | raw }}", "# {{ work_dir }}"]
)
def test_control_characters_are_refused(character: str, use: str, tmp_path: Path) -> None:
    value = f"a{character}touch planted"
    with pytest.raises(bw.TemplateError):
        rendered(f"#!/bin/sh\n{use}\n", tmp_path, resources={"v": value}, work_dir=Path(value))


def test_values_pass_through_macros_and_blocks_once(tmp_path: Path) -> None:
    text = (
        "#!/bin/sh\n{% macro m(x) %}echo {{ x }}{% endmacro %}{{ m(resources.v) }}\n"
        "{% set y %}{{ resources.v }}{% endset %}echo {{ y }}\n"
    )
    assert rendered(text, tmp_path, resources={"v": "a b"}) == "#!/bin/sh\necho 'a b'\necho 'a b'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/bin/sh\n{{ resources.nosuch }}\n", "line 2.*nosuch"),
        ("#!/bin/sh\n{{ nosuch }}\n", "'nosuch' is undefined; there are array_jobs"),
        ("#!/bin/sh\n{{ resources }}\n", "no word"),
        ("#!/bin/sh\n{% if %}\n", "line 2"),
        ("echo no script\n", "begin by #!"),
        ("#!/bin/sh\n{{ ''.__class__.__mro__ }}\n", "unsafe|undefined"),
        ("#!/bin/sh\n{{ exec_command.__class__ }}\n", "unsafe|undefined"),
        ("#!/bin/sh\n{{ jobs.__init__.__globals__ }}\n", "unsafe|undefined"),
        ("#!/bin/sh\n{% for i in range(10**9) %}x{% endfor %}\n", "Range too big|OverflowError"),
        ("#!/bin/sh\n{{ 'x' | minutes }}\n", "could not convert"),
        ("#!/bin/sh\n\x1b[0m", "control characters"),
    ],
)
def test_wrong_templates_say_where(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(bw.TemplateError, match=message):
        rendered(text, tmp_path)


def test_jobs_can_be_read(registry: bw.Registry, tmp_path: Path) -> None:
    path = tmp_path / "x.tmpl"
    path.write_text("#!/bin/sh\n# {{ n_jobs }} jobs{% for n in jobs['n'] %} {{ n }}{% endfor %}\n")
    registry.batch_map(abs, [1])
    registry.batch_map(lambda n: n, n=[5, 6], append=True)
    jc = registry.make_job_collection([2, 3])
    assert templates.render(path, jc) == "#!/bin/sh\n# 2 jobs 5 6\n"


def test_the_nearest_template_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, named, user = tmp_path / "here", tmp_path / "named", tmp_path / "home/config/batchwright"
    for folder in (here, named, user):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert bw.find_template("slurm").parent == templates.SHIPPED
    (user / "slurm.tmpl").touch()
    assert bw.find_template("slurm") == user / "slurm.tmpl"
    (here / "batchwright.slurm.tmpl").touch()
    assert bw.find_template("slurm") == here / "batchwright.slurm.tmpl"
    monkeypatch.setenv("BATCHWRIGHT_TEMPLATES", str(named))
    assert bw.find_template("slurm") == here / "batchwright.slurm.tmpl"
    (named / "slurm.tmpl").touch()
    assert bw.find_template("slurm") == named / "slurm.tmpl"
    assert bw.find_template(user / "slurm.tmpl") == user / "slurm.tmpl"


def test_a_template_that_others_may_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "batchwright.slurm.tmpl"
    path.touch()
    path.chmod(0o666)
    with pytest.raises(bw.TemplateError, match="anybody may write"):
        bw.find_template("slurm")


@pytest.mark.parametrize(
    "name", ["../slurm", "/etc/passwd.tmpl", "nosuch", "a b", "", "\n", "a\0b"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(bw.TemplateError):
        bw.find_template(name)


def test_the_script_lies_beside_the_collection(registry: bw.Registry) -> None:
    registry.batch_map(abs, [-1])
    jc = registry.make_job_collection()
    path = bw.render_script(registry, jc, "slurm")
    assert path == jc.uri.with_suffix(".job")
    assert path.read_text() == templates.render(templates.find_template("slurm"), jc)
    assert path.stat().st_mode & 0o777 == 0o600
