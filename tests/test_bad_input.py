"""What is refused, by which error, and that nothing half-made stays behind."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import batchwright as bw


def test_errors_have_their_built_in_parents() -> None:
    parents = {
        bw.RegistryExistsError: FileExistsError,
        bw.RegistryNotFoundError: FileNotFoundError,
        bw.UnknownJobError: KeyError,
        bw.DefinitionError: ValueError,
        bw.ConfigError: ValueError,
        bw.TemplateError: ValueError,
        bw.ReadOnlyRegistryError: PermissionError,
        bw.NoDefaultRegistryError: LookupError,
        bw.SubmitError: RuntimeError,
        bw.OwnershipLostError: bw.RegistryLockedError,
        bw.JobError: bw.JobNotDoneError,
    }
    for error, parent in parents.items():
        assert issubclass(error, parent)
        assert issubclass(error, bw.BatchwrightError)
        assert str(error("a sentence")) == "a sentence"


def test_without_a_registry_verbs_say_how_to_make_one() -> None:
    with pytest.raises(bw.NoDefaultRegistryError, match="make_registry"):
        bw.get_status()


def test_verbs_of_the_package_take_no_registry(registry: bw.Registry) -> None:
    bw.set_default_registry(registry)
    with pytest.raises(TypeError, match=r"reg\.find_done"):
        bw.find_done(registry)  # type: ignore
    with pytest.raises(TypeError, match=r"reg\.find_done"):
        bw.find_done(reg=registry)  # type: ignore
    assert bw.batch_map(lambda reg: reg, reg=[1, 2]) == {1, 2}
    with pytest.raises(TypeError, match="not str 'there'"):
        bw.set_default_registry("there")  # type: ignore


def test_a_registry_cannot_be_pickled(registry: bw.Registry) -> None:
    with pytest.raises(TypeError, match="load_registry"):
        pickle.dumps(registry)
    with pytest.raises(bw.DefinitionError, match="load_registry"):
        registry.batch_map(lambda x: registry.find_jobs(), [1])


def test_a_removed_registry_says_so(registry: bw.Registry) -> None:
    registry.remove_registry(wait=0)
    with pytest.raises(bw.RegistryNotFoundError, match="was removed"):
        registry.batch_map(abs, [1])


def test_an_existing_folder_is_refused(registry: bw.Registry, tmp_path: Path) -> None:
    with pytest.raises(bw.RegistryExistsError):
        bw.make_registry(registry.file_dir, conf_file=None)
    with pytest.raises(bw.RegistryExistsError):
        bw.make_registry(registry.file_dir / "inside", conf_file=None)


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 0},
        {"seed": 2**31},
        {"seed": "one"},
        {"work_dir": "nowhere"},
        {"access": "everybody"},
        {"imports": 3},
        {"conf_file": "nowhere.toml"},
    ],
    ids=str,
)
def test_bad_arguments_make_no_folder(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(bw.ConfigError):
        bw.make_registry(tmp_path / "r", **{"conf_file": None, **arguments})
    assert not (tmp_path / "r").exists()


def test_a_folder_that_is_no_registry_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(bw.RegistryNotFoundError):
        bw.load_registry(tmp_path, conf_file=None)
    with pytest.raises(bw.RegistryNotFoundError):
        bw.load_registry(tmp_path / "nothing", conf_file=None)


def with_job(x: int, job: object) -> None: ...


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (([1], [2]), {}),
        ((), {"z": [1]}),
        ((), {"job": [1]}),
        ((), {"job_id": [1], "x": [1]}),
        (([1, 2],), {"more_args": {"x": 1}}),
        (([1, 2],), {"args": {"x": [1, 2]}}),
        ((), {}),
    ],
    ids=str,
)
def test_calls_that_do_not_fit_are_found_at_once(
    registry: bw.Registry, columns: tuple[Any, ...], names: dict[str, Any]
) -> None:
    if not columns and not names:
        columns = ([1, 2, 3], [1, 2])
    with pytest.raises(bw.DefinitionError):
        registry.batch_map(with_job, *columns, **names)
    assert len(registry.find_jobs()) == 0


def test_columns_of_different_lengths(registry: bw.Registry) -> None:
    with pytest.raises(bw.DefinitionError, match=r"`x` has 2.*`y` has 3"):
        registry.batch_map(lambda x, y: x, x=[1, 2], y=[1, 2, 3])
    with pytest.raises(bw.DefinitionError):
        registry.batch_map(lambda x, y: x, x=[], y=[1, 2])
    with pytest.raises(bw.DefinitionError, match="ended after 1"):
        registry.batch_map(lambda x, y: x, x=[1, 2], y=iter([1]))


def test_a_table_by_position_is_a_type_error(registry: bw.Registry) -> None:
    with pytest.raises(TypeError, match="args="):
        registry.batch_map(lambda x: x, pd.DataFrame({"x": [1]}))


TABLES = [pd.DataFrame({"a": [1]}), pl.LazyFrame({"a": [1]}), pa.table({"a": [1]})]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_no_column(registry: bw.Registry, table: Any) -> None:
    with pytest.raises(TypeError, match=r"a table .* as `args="):
        registry.batch_map(abs, table)
    with pytest.raises(TypeError, match=r"a table .* as the column `x`"):
        registry.batch_map(lambda x: x, x=table)
    with pytest.raises(TypeError, match=r"a table .* as the column `x`"):
        bw.grid(x=table)


def test_jobs_are_added_only_when_asked_for(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1])
    with pytest.raises(bw.DefinitionError, match="append"):
        registry.batch_map(abs, [1])


def test_what_cannot_be_pickled_is_named(registry: bw.Registry) -> None:
    with pytest.raises(bw.DefinitionError, match="`x`"):
        registry.batch_map(lambda x: x, x=[(i for i in ())])
    with pytest.raises(bw.DefinitionError, match="more_args"):
        registry.batch_map(lambda x, f: x, x=[1], more_args={"f": (i for i in ())})
    assert len(registry.find_jobs()) == 0


@pytest.mark.parametrize(
    "resources",
    [
        {"walltime": 0},
        {"walltime": "1h"},
        {"walltime": float("nan")},
        {"memory": -1},
        {"ncpus": 1.5},
        {"ncpus": True},
        {"retries": -1},
        {"env": ["A=1"]},
        {"env": {"A B": "1"}},
        {"python": ""},
        {"modules": 3},
        {"array": 1},
        {"anything": 1j},
        ["walltime"],
    ],
    ids=str,
)
def test_impossible_resources(registry: bw.Registry, resources: Any) -> None:
    registry.batch_map(abs, [1])
    with pytest.raises(bw.ConfigError):
        registry.submit_jobs(resources=resources)
    assert registry.get_status().submitted == 0


@pytest.mark.parametrize("value", ["a\nb", "a\x00", "a\x1b[31m"], ids=ascii)
def test_control_characters_enter_no_script(registry: bw.Registry, value: str) -> None:
    registry.batch_map(abs, [1])
    for resources in ({"partition": value}, {"env": {"A": value}}, {"mine": [value]}):
        with pytest.raises(bw.TemplateError):
            registry.submit_jobs(resources=resources)


@pytest.mark.parametrize(
    "setting",
    [
        ("seed", 0),
        ("max_chunks", 0),
        ("expire_after", 0),
        ("sleep", -1),
        ("max_concurrent_jobs", "many"),
        ("default_resources", {"walltime": -1}),
        ("cluster_functions", "slurm"),
        ("work_dir", "/nowhere/at/all"),
        ("imports", [1]),
    ],
    ids=str,
)
def test_impossible_settings(registry: bw.Registry, setting: tuple[str, Any]) -> None:
    name, value = setting
    before = getattr(registry, name)
    with pytest.raises(bw.ConfigError, match=name):
        setattr(registry, name, value)
    assert getattr(registry, name) == before


def test_settings_that_do_not_exist(registry: bw.Registry) -> None:
    with pytest.raises(AttributeError):
        registry.default_resource = {}  # type: ignore


def test_unknown_jobs(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1, 2])
    for verb in (registry.submit_jobs, registry.kill_jobs, registry.reset_jobs):
        with pytest.raises(bw.UnknownJobError, match="7"):
            verb([1, 7])
    with pytest.raises(bw.UnknownJobError):
        registry.test_job(3)


@pytest.mark.parametrize(
    "chunking",
    [
        {"chunks": [1], "chunk_size": 2},
        {"chunk_size": 1, "n_chunks": 1},
        {"chunks": [1]},
        {"chunks": 1},
        {"chunks": "12"},
        {"chunks": [1.5, 2]},
        {"chunks": ["a", "b"]},
        {"chunks": [None, 1]},
    ],
    ids=str,
)
def test_impossible_chunks(registry: bw.Registry, chunking: dict[str, Any]) -> None:
    registry.batch_map(abs, [1, 2])
    with pytest.raises(bw.SubmitError):
        registry.submit_jobs(**chunking)
    assert registry.get_status().submitted == 0


def test_chunk_sizes_are_positive(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1, 2])
    for chunking in ({"chunk_size": 0}, {"n_chunks": -1}, {"chunk_size": 1.5}):
        with pytest.raises(ValueError):
            registry.submit_jobs(**chunking)  # type: ignore


def test_too_many_chunks_name_a_size(registry: bw.Registry) -> None:
    registry.max_chunks = 4
    registry.batch_map(abs, np.arange(10))
    with pytest.raises(bw.SubmitError, match="chunk_size=3"):
        registry.submit_jobs()
    assert registry.get_status().submitted == 0


def test_a_reader_changes_nothing(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1])
    reader = bw.load_registry(registry.file_dir, conf_file=None)
    changes = (
        lambda: reader.batch_map(abs, [1], append=True),
        reader.submit_jobs,
        lambda: reader.reset_jobs(1),
        reader.kill_jobs,
        reader.clear_registry,
        lambda: reader.remove_registry(wait=0),
        lambda: setattr(reader, "seed", 3),
        lambda: reader.batch_export({"a": 1}),
    )
    for change in changes:
        with pytest.raises(bw.ReadOnlyRegistryError, match="writeable=True"):
            change()
    assert reader.save_registry() is False


def test_a_forked_child_does_not_write(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1])
    child = os.fork()
    if child == 0:
        try:
            registry.reset_jobs(1)
        except bw.ReadOnlyRegistryError:
            os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    code = f"""
import batchwright as bw
reg = bw.make_registry({str(tmp_path / "r")!r}, conf_file=None)
print("ready", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        with pytest.raises(bw.RegistryLockedError, match="break_lock"):
            bw.load_registry(tmp_path / "r", conf_file=None, writeable=True)
        assert not bw.load_registry(tmp_path / "r", conf_file=None).writeable
        with pytest.warns(UserWarning, match=f"taken over from .*{owner.pid}"):
            bw.load_registry(tmp_path / "r", conf_file=None, writeable=True, break_lock=True)
        owner.communicate("\n")
    assert bw.get_default_registry().writeable


def test_removing_needs_a_registry(registry: bw.Registry) -> None:
    (registry.file_dir / "registry.json").rename(registry.file_dir / "other.json")
    with pytest.raises(bw.RegistryNotFoundError):
        registry.remove_registry(wait=0)
    assert registry.file_dir.is_dir()


def test_backends_without_arrays_refuse_them(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1, 2])
    with pytest.raises(bw.SubmitError, match="arrays"):
        registry.submit_jobs(resources={"chunks_as_arrayjobs": True})
