"""A registry is checked: each kind of damage is found, and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import batchwright as bw
from batchwright.checking import check_folder


def double(x: int, big: Any = None) -> Any:
    print("double", x)
    if x < 0:
        raise ValueError(x)
    return bytes(10_000) if x == 9 else 2 * x


def instance(job: bw.Job, data: Any) -> Any:
    return data


def solve(job: bw.Job, data: Any, instance: Any, k: Any) -> Any:
    assert job.external_dir.is_dir()
    return k


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with every kind of file, let go of by its owner."""
    folder = tmp_path_factory.mktemp("healthy") / "registry"
    with bw.make_registry(folder, conf_file=None, make_default=False) as reg:
        reg.cluster_functions = bw.Multicore(2)
        reg.batch_map(double, [1, -2, 9], more_args={"big": "b" * 400_000})
        reg.batch_export({"thing": {1, 2}})
        reg.submit_jobs()
        reg.wait_for_jobs()
    with opened(folder, writeable=True) as reg:
        reg.add_job_tags([1], "later")
        reg.save_registry()
        reg.add_job_tags([2], "last")
    return folder


@pytest.fixture
def folder(healthy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy, tmp_path / "registry"))


def opened(folder: Path, **options: Any) -> bw.Registry:
    return bw.load_registry(folder, conf_file=None, make_default=False, **options)


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path, by: int) -> None:
    os.truncate(path, path.stat().st_size - by)


def flip_near_end(path: Path, before: int) -> None:
    flip(path, path.stat().st_size - before)


def found(report: bw.Report, folder: Path, path: Path) -> bw.Finding:
    assert not report.ok
    name = path.relative_to(folder).as_posix()
    (finding, *_) = [one for one in report.findings if one.file == name]
    assert finding.repair
    assert name in str(report)
    return finding


def test_a_healthy_registry_has_no_faults(folder: Path) -> None:
    report = opened(folder).check_registry()
    assert report.findings == ()
    assert report.ok
    assert str(report) == "No faults"
    with opened(folder, writeable=True) as reg:
        assert reg.check_registry().ok
        bw.set_default_registry(reg)
        assert bw.check_registry().ok


def test_registries_in_use_have_no_faults(registry: bw.Registry) -> None:
    assert registry.check_registry().ok
    registry.batch_map(time.sleep, [0.3] * 4)
    registry.submit_jobs()
    assert registry.check_registry().findings == ()
    assert opened(registry.file_dir).check_registry().findings == ()
    registry.wait_for_jobs()
    registry.submit_jobs([1, 2])
    registry.wait_for_jobs()
    registry.sweep_registry()
    assert registry.check_registry().findings == ()
    registry.clear_registry()
    registry.batch_map(abs, [1])
    assert registry.check_registry().findings == ()


@pytest.mark.parametrize("access", ["private", "group", "public"])
def test_experiments_have_no_faults(tmp_path: Path, access: str) -> None:
    reg = bw.make_experiment_registry(
        tmp_path / "e", conf_file=None, make_default=False, access=access
    )
    reg.cluster_functions = bw.Multicore(2)
    reg.add_problem("p", data=[1], fun=instance, seed=1, cache=True)
    reg.add_algorithm("a", solve)
    reg.add_experiments(algo_designs={"a": {"k": [1, {2}, b"3" * 300_000]}}, repls=2)
    reg.submit_jobs()
    assert reg.wait_for_jobs()
    assert reg.check_registry().findings == ()
    object_of_a_value = max((tmp_path / "e" / "objects").rglob("*.pkl"), key=os.path.getsize)
    object_of_a_value.unlink()
    assert "missing" in found(reg.check_registry(), reg.file_dir, object_of_a_value).what
    design = one(tmp_path / "e", "defs/*")
    cut(design, 20)
    found(reg.check_registry(), reg.file_dir, design)


FRAMED = ["journal-*", "runs/*/*.bwj", "jobs/*/*.bwc", "queue/*/requests-*", "queue/*/host-*.bwj"]


@pytest.mark.parametrize("pattern", [*FRAMED, "snapshot-*"])
@pytest.mark.parametrize("where", ["head", "middle"])
def test_a_flipped_byte_in_framed_files(folder: Path, pattern: str, where: str) -> None:
    reg = opened(folder)
    path = one(folder, pattern)
    flip(path, 2 if where == "head" else path.stat().st_size // 2)
    finding = found(reg.check_registry(), folder, path)
    if where == "middle" and not pattern.startswith("jobs"):
        assert finding.offset is not None
        assert 0 < finding.offset <= path.stat().st_size // 2
    # It is found, too, if it is in the way of opening the registry.
    found(check_folder(folder), folder, path)


@pytest.mark.parametrize("pattern", FRAMED)
def test_cut_files(folder: Path, pattern: str) -> None:
    path = one(folder, pattern)
    size = path.stat().st_size
    reg = opened(folder)
    cut(path, 5)
    finding = found(reg.check_registry(), folder, path)
    if not pattern.startswith("jobs"):
        assert finding.offset is not None
        assert finding.offset < size - 5


def test_an_owner_sees_that_its_journal_was_cut(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1, 2])
    path = one(registry.file_dir, "journal-*")
    cut(path, 5)
    report = registry.check_registry()
    assert "0 jobs instead of 2" in found(report, registry.file_dir, path).what
    assert any("it was cut" in finding.what for finding in report.findings)


def test_an_owner_repairs_its_journal_by_a_snapshot(registry: bw.Registry) -> None:
    registry.batch_map(abs, [1, 2])
    path = one(registry.file_dir, "journal-*")
    flip(path, 100)
    report = registry.check_registry()
    assert any("cannot be loaded" in finding.what for finding in report.findings)
    assert "save_registry" in found(report, registry.file_dir, path).repair
    registry.save_registry()
    repair = found(registry.check_registry(), registry.file_dir, path).repair
    assert repair.startswith("none is needed")
    assert len(opened(registry.file_dir).find_jobs()) == 2


def test_results(folder: Path) -> None:
    path = one(folder, "runs/*/*.res")
    flip(path, 100)
    finding = found(opened(folder).check_registry(), folder, path)
    assert "job 3" in finding.what
    assert str(folder) not in finding.what
    assert finding.repair == "submit it again"
    cut(path, 5_000)
    assert "cut short" in found(opened(folder).check_registry(), folder, path).what
    path.unlink()
    assert "job 3" in found(opened(folder).check_registry(), folder, path).what


def test_results_in_run_files(folder: Path) -> None:
    reg = opened(folder)
    paths = list(folder.glob("runs/*/*.bwj"))
    for path in paths:
        path.unlink()
    report = reg.check_registry()
    assert {finding.file for finding in report.findings} <= {
        path.relative_to(folder).as_posix() for path in paths
    }
    assert sum("no result of job" in finding.what for finding in report.findings) == 2


def test_objects(folder: Path) -> None:
    path = one(folder, "objects/*/*.pkl")
    flip(path, 3)
    assert "does not fit its name" in found(opened(folder).check_registry(), folder, path).what
    path.unlink()
    assert "missing" in found(opened(folder).check_registry(), folder, path).what


@pytest.mark.parametrize(
    "damage",
    [flip_near_end, cut],
)
def test_definitions(folder: Path, damage: Callable[[Path, int], None]) -> None:
    path = one(folder, "defs/*.arrow")
    damage(path, 20)
    found(opened(folder).check_registry(), folder, path)


def test_definitions_with_other_rows(folder: Path) -> None:
    import pyarrow as pa

    path = one(folder, "defs/*.arrow")
    with pa.ipc.open_file(path.read_bytes()) as reader:
        table = reader.read_all()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.slice(0, 2))
    found(opened(folder).check_registry(), folder, path)
    path.unlink()
    found(opened(folder).check_registry(), folder, path)


@pytest.mark.parametrize("name", ["registry.json", "owner/0000000001"])
def test_json(folder: Path, name: str) -> None:
    reg = opened(folder)
    (folder / name).write_text("{}")
    assert "lacks" in found(reg.check_registry(), folder, folder / name).what
    for text in ("{", "[]", "1"):
        (folder / name).write_text(text)
        assert "cannot be read" in found(reg.check_registry(), folder, folder / name).what


FLIPS = 300


@pytest.mark.slow
def test_a_flipped_bit_is_found_or_changes_nothing(healthy: Path, tmp_path: Path) -> None:
    draw = random.Random(4)
    paths = [path.relative_to(healthy) for path in sorted(healthy.rglob("*"))]
    # What jobs printed is for people, and not checked.
    paths = [p for p in paths if (healthy / p).is_file() and p.parts[0] != "logs"]
    paths = [p for p in paths if (healthy / p).stat().st_size]
    expected = shown(Path(shutil.copytree(healthy, tmp_path / "whole")))
    kinds: dict[str, int] = {}
    unfound: list[str] = []
    for number in range(FLIPS):
        folder = Path(shutil.copytree(healthy, tmp_path / str(number)))
        path = draw.choice(paths)
        data = bytearray((folder / path).read_bytes())
        bit = draw.randrange(8 * len(data))
        data[bit // 8] ^= 1 << (bit % 8)
        (folder / path).write_bytes(data)
        kinds[path.parts[0]] = kinds.get(path.parts[0], 0) + 1
        if check_folder(folder).ok:
            unfound.append(f"{path} bit {bit}")
            assert shown(folder) == expected, unfound[-1]
        shutil.rmtree(folder)
    assert len(kinds) > 6, kinds
    print(f"{FLIPS} flips, {len(unfound)} not found and harmless: {unfound}")


def shown(folder: Path) -> list[object]:
    """Give what users see of a registry."""
    reg = opened(folder)
    table = reg.get_job_table().to_pylist()
    errors = reg.get_error_messages().to_pylist()
    results = list(reg.iter_results())
    jobs = [reg.make_job(row["job_id"]) for row in table]
    pars = [job.pars for job in jobs]
    return [table, errors, results, pars, reg.get_used_job_tags(), reg.seed, repr(reg.access)]


def test_a_registry_of_no_known_kind(folder: Path) -> None:
    reg, path = opened(folder), folder / "registry.json"
    path.write_text(path.read_text().replace('"plain"', '"plaid"'))
    whats = [one.what for one in reg.check_registry().findings]
    assert any("kind is 'plaid'" in what for what in whats)
    assert any("does not match its checksum" in what for what in whats)


def test_strange_files(folder: Path) -> None:
    reg = opened(folder)
    (folder / "external" / "1").mkdir(parents=True)
    (folder / "external" / "1" / "anything").touch()
    recent = folder / ".registry.json.0123456789abcdef0123456789abcdef"
    recent.touch(0o600)
    assert reg.check_registry().ok
    os.utime(recent, (0, 0))
    wrong = ["notes.txt", "defs/x.arrow", "runs/ab/x", "strange/", "objects/ab/" + "c" * 32]
    for name in wrong:
        path = folder / name
        path.parent.mkdir(0o700, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch(0o600)
    files = {finding.file for finding in reg.check_registry().findings}
    assert files == {recent.name, *(name.rstrip("/") for name in wrong)}


def test_modes(folder: Path) -> None:
    objects = sorted(folder.glob("objects/*/*.pkl"))
    for path in objects:
        path.chmod(0o644)
    (folder / "runs").chmod(0o755)
    report = opened(folder).check_registry()
    first = found(report, folder, objects[0])
    assert "644 instead of 600" in first.what
    assert f"{len(objects) - 1} more" in first.what
    assert found(report, folder, folder / "runs").repair == "chmod 700"
    assert len(report.findings) == 2


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str]]]:
    from click.testing import CliRunner

    from batchwright.cli.main import program

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(program, ["doctor", *arguments])
        return result.exit_code, result.stdout

    yield call


def test_doctor(folder: Path, invoke: Callable[..., tuple[int, str]]) -> None:
    assert invoke("-r", str(folder)) == (0, "")
    code, text = invoke("-r", str(folder), "--json")
    assert (code, json.loads(text)) == (0, {"ok": True, "findings": []})
    (folder / "notes.txt").touch()
    (folder / "notes.txt").chmod(0o600)
    expected = {"file": "notes.txt", "offset": None, "what": "no file of a registry"}
    code, text = invoke("-r", str(folder), "--json")
    assert code == 1
    assert json.loads(text)["findings"] == [{**expected, "repair": "move it elsewhere"}]
    code, text = invoke("-r", str(folder))
    assert code == 1
    assert "notes.txt: no file of a registry\n  repair: move it elsewhere" in text


def test_doctor_where_nothing_can_be_opened(
    folder: Path, invoke: Callable[..., tuple[int, str]]
) -> None:
    for path in folder.glob("journal-*"):
        flip(path, 50)
    for path in folder.glob("snapshot-*"):
        flip(path, 50)
    with pytest.raises(bw.CorruptRegistryError):
        opened(folder)
    code, text = invoke("-r", str(folder), "--json")
    assert code == 1
    assert any("cannot be loaded: " in entry["what"] for entry in json.loads(text)["findings"])
    assert str(folder) not in text
