"""Making and loading registries: defaults, settings, configuration, moving."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import batchwright as bw


def test_the_newest_registry_is_the_default(tmp_path: Path) -> None:
    first = bw.make_registry(tmp_path / "a", conf_file=None)
    second = bw.make_registry(tmp_path / "b", conf_file=None, make_default=False)
    assert bw.get_default_registry() is first
    bw.set_default_registry(second)
    bw.batch_map(abs, [1, 2])
    assert (len(first.find_jobs()), len(second.find_jobs())) == (0, 2)


def test_package_verbs_have_the_signature_without_the_registry() -> None:
    import inspect

    assert next(iter(inspect.signature(bw.submit_jobs).parameters)) == "ids"
    assert bw.submit_jobs.__doc__ == bw.Registry.submit_jobs.__doc__


def test_importing_is_quick_and_takes_nothing_heavy_along() -> None:
    code = "import sys, batchwright; print([m for m in ('numpy', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_of_the_package_exists() -> None:
    for name in bw.__all__:
        assert getattr(bw, name) is not None


def test_seed_is_drawn_and_stored(tmp_path: Path) -> None:
    with bw.make_registry(tmp_path / "r", conf_file=None) as reg:
        seed = reg.seed
    assert 1 <= seed < 2**31
    assert bw.load_registry(tmp_path / "r", conf_file=None).seed == seed


def test_settings_are_durable_at_once_and_immutable(registry: bw.Registry) -> None:
    registry.default_resources = {"walltime": 60, "env": {"A": "1"}}
    registry.imports = ["math"]  # type: ignore
    registry.max_chunks = 7
    registry.sleep = 0.5
    registry.cluster_functions = bw.Multicore(3)
    found = bw.load_registry(registry.file_dir, conf_file=None)
    assert found.default_resources == {"walltime": 60, "env": {"A": "1"}}
    assert (found.imports, found.max_chunks, found.sleep) == (("math",), 7, 0.5)
    assert repr(found.cluster_functions) == "Multicore(ncpus=3)"
    with pytest.raises(TypeError):
        found.default_resources["walltime"] = 3  # type: ignore


def test_a_context_saves_lets_go_and_leaves_a_reader(tmp_path: Path) -> None:
    with bw.make_registry(tmp_path / "r", conf_file=None) as reg:
        reg.batch_map(abs, [-1])
    assert not reg.writeable
    assert len(reg.find_jobs()) == 1
    with bw.load_registry(tmp_path / "r", conf_file=None, writeable=True) as again:
        assert again.writeable


def test_a_dropped_registry_lets_go(tmp_path: Path) -> None:
    reg = bw.make_registry(tmp_path / "r", conf_file=None, make_default=False)
    del reg
    assert bw.load_registry(tmp_path / "r", conf_file=None, writeable=True).writeable


def test_in_one_process_the_newest_owner_wins(registry: bw.Registry) -> None:
    other = bw.load_registry(registry.file_dir, conf_file=None, writeable=True)
    other.batch_map(abs, [1])
    with pytest.raises((bw.OwnershipLostError, bw.ReadOnlyRegistryError)):
        registry.batch_map(abs, [1])
    assert not registry.writeable
    assert registry.get_status().defined == 1


def test_a_reader_sees_what_the_owner_does(registry: bw.Registry) -> None:
    reader = bw.load_registry(registry.file_dir, conf_file=None)
    registry.batch_map(abs, [1, 2])
    assert reader.get_status().defined == 2


def test_repr_sums_up(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1, 2])
    assert "2 defined" in repr(registry)
    assert "<table" in registry._repr_html_()


def test_a_moved_registry_works_and_sets_local_settings_aside(
    registry: bw.Registry, tmp_path: Path
) -> None:
    registry.batch_map(abs, [-1])
    registry.default_resources = {"walltime": 60}
    registry.seed = 5
    registry.store.close()
    moved = shutil.copytree(registry.file_dir, tmp_path / "moved")
    with pytest.warns(UserWarning, match="default_resources"):
        found = bw.load_registry(moved, conf_file=None, writeable=True)
    assert found.default_resources == {}
    assert found.seed == 5
    assert found.test_job(1) == 1


def test_temporary_registries_go_with_their_process(tmp_path: Path) -> None:
    conf = tmp_path / "c.toml"
    conf.write_text(f'temp_dir = "{tmp_path / "scratch"}"\n')
    code = (
        f"import batchwright as bw; print(bw.make_registry(None, conf_file={str(conf)!r}).file_dir)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path / "scratch")
    assert not folder.exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_temporary_registry_can_be_loaded_again() -> None:
    reg = bw.make_registry(None, conf_file=None)
    reg.batch_map(abs, [-1])
    reg = bw.load_registry(reg.file_dir, conf_file=None, writeable=True)
    gc.collect()
    reg.submit_jobs()
    assert reg.wait_for_jobs()
    assert reg.load_result(1) == 1


def test_jobs_of_dropped_temporary_registries_end_with_the_process(tmp_path: Path) -> None:
    code = f"""
import os, time, batchwright as bw
def run(x):
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    time.sleep(600)
reg = bw.make_registry(None, conf_file=None)
reg.batch_map(run, [1])
reg.submit_jobs()
path = reg.file_dir
reg = bw.make_registry(None, conf_file=None)
for _ in range(600):
    if os.path.exists({str(tmp_path / "pid")!r}) and open({str(tmp_path / "pid")!r}).read():
        break
    time.sleep(0.1)
assert path.exists()
print(path)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# -- configuration


def test_where_configuration_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bw.find_conf_file() is None
    user = tmp_path / "home" / "config" / "batchwright" / "config.toml"
    user.parent.mkdir(parents=True)
    for path in (user, tmp_path / "batchwright.toml", tmp_path / "batchwright.conf.py"):
        path.write_text("")
        assert bw.find_conf_file() == path
    other = tmp_path / "other.toml"
    other.write_text("")
    monkeypatch.setenv("BATCHWRIGHT_CONF", str(other))
    assert bw.find_conf_file() == other
    other.unlink()
    with pytest.raises(bw.ConfigError, match="BATCHWRIGHT_CONF"):
        bw.find_conf_file()


def test_precedence_is_argument_assigned_configuration_default(tmp_path: Path) -> None:
    conf = tmp_path / "c.toml"
    conf.write_text(
        "seed = 11\nmax_chunks = 5\nexpire_after = 9\n"
        "[default_resources]\nwalltime = 60\n"
        '[cluster_functions]\nkind = "multicore"\nncpus = 2\n'
    )
    reg = bw.make_registry(tmp_path / "r", conf_file=conf, seed=3)
    assert (reg.seed, reg.max_chunks, reg.default_resources) == (3, 5, {"walltime": 60})
    assert repr(reg.cluster_functions) == "Multicore(ncpus=2)"
    reg.max_chunks = 6
    conf.write_text("max_chunks = 8\nexpire_after = 4\n")
    found = bw.load_registry(tmp_path / "r", conf_file=conf)
    assert (found.max_chunks, found.expire_after, found.seed) == (6, 4, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_chunk = 3", "max_chunks"),
        ("max_chunks = 0", "max_chunks"),
        ("not toml", "no TOML"),
        ('[cluster_functions]\nkind = "multicor"', "multicore"),
        ('[cluster_functions]\nkind = "multicore"\nncores = 2', "ncores"),
        ("[cluster_functions]\nncpus = 2", "kind"),
        ("[default_resources]\nwalltime = -1", "walltime"),
    ],
)
def test_mistakes_in_configuration_are_named(tmp_path: Path, text: str, said: str) -> None:
    conf = tmp_path / "c.toml"
    conf.write_text(text)
    with pytest.raises(bw.ConfigError, match=said):
        bw.make_registry(tmp_path / "r", conf_file=conf)
    assert not (tmp_path / "r").exists()


def test_configuration_in_python_reads_and_extends_what_is_there(tmp_path: Path) -> None:
    conf = tmp_path / "c.py"
    conf.write_text(
        "reg.cluster_functions = bw.Interactive()\n"
        "reg.imports = (*reg.imports, 'json')\n"
        "reg.default_resources = {'walltime': 5}\n"
    )
    reg = bw.make_registry(tmp_path / "r", conf_file=conf, imports=["math"])
    assert repr(reg.cluster_functions) == "Interactive()"
    assert reg.imports == ("math", "json")
    without = bw.load_registry(tmp_path / "r", conf_file=None)
    assert (without.imports, without.default_resources) == (("math",), {})


def test_a_failing_configuration_leaves_nothing(tmp_path: Path) -> None:
    conf = tmp_path / "c.py"
    conf.write_text("1 / 0")
    with pytest.raises(bw.ConfigError, match="ZeroDivisionError"):
        bw.make_registry(tmp_path / "r", conf_file=conf)
    assert not (tmp_path / "r").exists()


def test_code_that_others_could_have_written_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    conf = folder / "batchwright.conf.py"
    conf.write_text("raise SystemExit")
    conf.chmod(0o666)
    monkeypatch.chdir(folder)
    with pytest.raises(bw.ConfigError, match="chmod"):
        bw.make_registry("r")


# -- ends of a registry


def test_clearing_leaves_a_registry_as_new(registry: bw.Registry) -> None:
    registry.cluster_functions = bw.Interactive()
    registry.batch_map(abs, [-1, -2])
    registry.submit_jobs()
    registry.clear_registry()
    assert registry.get_status().defined == 0
    assert registry.batch_map(abs, [-5]) == {1}
    registry.submit_jobs()
    assert registry.load_result(1) == 5


def test_removing_unsets_the_default(registry: bw.Registry) -> None:
    registry.remove_registry(wait=0)
    assert not registry.file_dir.exists()
    with pytest.raises(bw.NoDefaultRegistryError):
        bw.get_default_registry()


def test_debugging_is_silent_unless_asked_for(tmp_path: Path) -> None:
    code = (
        "import batchwright as bw\n"
        "reg = bw.make_registry(None, conf_file=None)\n"
        "reg.cluster_functions = bw.Interactive()\n"
        "reg.batch_map(abs, [1])\n"
        "reg.submit_jobs()\n"
    )
    said = {
        value: subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "BATCHWRIGHT_DEBUG": value},
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        for value in ("0", "1")
    }
    assert said["0"] == ""
    assert "submitting" in said["1"]


def test_who_holds_a_registry_is_told(tmp_path: Path) -> None:
    reg = bw.make_registry(tmp_path / "registry", conf_file=None)
    code = (
        "import sys, batchwright as bw\n"
        "bw.load_registry(sys.argv[1], conf_file=None, writeable=True)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(reg.file_dir)], capture_output=True, text=True, check=False
    )
    user = pwd.getpwuid(os.getuid()).pw_name
    assert f"{user}@{socket.gethostname()}, pid {os.getpid()}" in other.stderr
