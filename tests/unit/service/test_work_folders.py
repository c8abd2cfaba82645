"""Run folders: what a new start takes over."""

import hashlib
import os
from pathlib import Path

import pytest

from service.work_folders import WorkFolders, new_files


@pytest.fixture
def folders(tmp_path: Path) -> WorkFolders:
    return WorkFolders(tmp_path / "jobs")


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_first_start_is_empty(folders: WorkFolders, tmp_path: Path) -> None:
    assert folders.jobs() == []
    run = folders.open("job_1", 1, {})
    assert run.path == tmp_path / "jobs" / "job_1" / "run-1"
    assert list(run.path.iterdir()) == []
    assert run.stages == {}
    assert folders.jobs() == ["job_1"]


def test_sound_files_and_checkpoints_are_taken_over(folders: WorkFolders) -> None:
    old = folders.open("job_1", 3, {}).path
    stages = {
        "prepare": {"space.json": put(old / "space.json", "s"), "a/b": put(old / "a" / "b", "b")},
        "train": {"weights": put(old / "weights", "w")},
    }
    put(old / "checkpoints" / "step-1" / "state", "1")
    put(old / "checkpoints" / "step-2.tmp", "half")
    put(old / "stage.log", "log")
    put(old / "compressed.onnx", "unfinished")
    run = folders.open("job_1", 5, stages)
    assert run.stages == stages
    found = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert found == {"space.json", "a/b", "weights", "checkpoints/step-1/state"}
    assert not old.exists()


def test_a_damaged_file_takes_its_stage_and_the_later_ones_along(folders: WorkFolders) -> None:
    old = folders.open("job_1", 1, {}).path
    stages = {name: {name: put(old / name, name)} for name in ("prepare", "train", "export")}
    (old / "train").write_text("flipped")
    assert folders.open("job_1", 2, stages).stages == {"prepare": stages["prepare"]}


def test_a_lost_folder_starts_from_nothing(folders: WorkFolders) -> None:
    run = folders.open("job_1", 2, {"prepare": {"space.json": "ab"}})
    assert run.stages == {}


def test_a_file_that_a_later_stage_changed_counts_as_that_one_left_it(folders: WorkFolders) -> None:
    old = folders.open("job_1", 1, {}).path
    stages = {"export": {"report.json": "0" * 64}}
    stages["verify"] = {"report.json": put(old / "report.json", "final")}
    assert folders.open("job_1", 2, stages).stages == stages


def test_a_start_that_was_killed_while_it_took_over(folders: WorkFolders, tmp_path: Path) -> None:
    old = folders.open("job_1", 1, {}).path
    stages = {"prepare": {"x": put(old / "x", "x")}}
    put(tmp_path / "jobs" / "job_1" / "building-2" / "x", "half")
    put(tmp_path / "jobs" / "job_1" / "run-2" / "x", "of an unknown start")
    assert folders.open("job_1", 2, stages).stages == stages


def test_without_links_files_are_copied(
    folders: WorkFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "not supported")

    old = folders.open("job_1", 1, {}).path
    stages = {"prepare": {"x": put(old / "x", "x")}}
    monkeypatch.setattr(os, "link", refuse)
    run = folders.open("job_1", 2, stages)
    assert (run.path / "x").read_text() == "x"


def test_everything_of_a_job_is_removed(folders: WorkFolders) -> None:
    folders.open("job_1", 1, {})
    folders.remove("job_1")
    folders.remove("job_1")
    assert folders.jobs() == []


def test_new_and_changed_files() -> None:
    known = {"prepare": {"a": "1", "b": "2"}, "train": {"b": "3"}}
    assert new_files(known, {"a": "1", "b": "3", "c": "4"}) == {"c": "4"}
    assert new_files(known, {"a": "9", "b": "2"}) == {"a": "9", "b": "2"}


def test_a_checkpoint_that_a_zombie_prunes_meanwhile_is_not_missed(
    folders: WorkFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folders.open("job_1", 1, {})
    for name in ("a", "b"):
        put(first.path / "checkpoints" / name, name)
    link = os.link

    def losing(source: Path, target: Path) -> None:
        if source.name == "a":
            source.unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", losing)
    second = folders.open("job_1", 2, {})
    assert [path.name for path in (second.path / "checkpoints").iterdir()] == ["b"]
