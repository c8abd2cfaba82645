"""``secateur compress`` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.cli import main
from service.commands.compress import dataset_uri
from service.demo import MODEL_PATH
from tests.unit.service.compression.runs import some_digits

QUICK = ("--target-macs", "0.4", "--epochs", "2", "--batch-size", "32")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and a data set; temporary files go into one beside it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.onnx").write_bytes(MODEL_PATH.read_bytes())
    np.savez(work / "data.npz", **some_digits())  # type: ignore[arg-type]
    return work


def compress(folder: Path, *more: str, data: str = "data.npz", output: str = "out.onnx") -> int:
    where = ("--data", str(folder / data), "-o", str(folder / output))
    return main(["compress", str(folder / "model.onnx"), *where, *(more or QUICK)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_behind(folder: Path) -> list[str]:
    """Our own temporary files; torch makes a folder for a cache of its own."""
    return [name for name in names(folder.parent / "temporary") if "torch" not in name]


def test_model_report_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(folder, *QUICK, "--report", str(folder / "report")) == 0
    out, err = capsys.readouterr()
    assert "MACs" in out
    assert "proof: passed" in out
    assert "train: " in err
    onnx.checker.check_model(onnx.load(folder / "out.onnx"), full_check=True)
    assert names(folder) == ["data.npz", "model.onnx", "out.onnx", "report"]
    expected = ["proof.json", "report.json", "solution.json", "space.json"]
    assert names(folder / "report") == expected
    assert left_behind(folder) == []


def test_machines_get_one_json_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(folder, *QUICK, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["output"] == str(folder / "out.onnx")
    assert result["ratios"]["macs"] <= 0.4
    assert result["configuration"]["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--target-macs", "0.001"), 3, "cannot be reached"),
        (("--target-macs", "1.5"), 2, "target_macs"),
        ((), 2, "exactly one of"),
        (("--target-macs", "0.5", "--target-params", "0.5"), 2, "exactly one of"),
        (("--target-macs", "0.5", "--optimizer", "lion"), 2, "sgd, adam, adamw"),
        (("--target-macs", "0.5", "--kinds", "neuron"), 2, "kinds is a list"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    text: str,
) -> None:
    given = arguments or ("--seed", "1")
    assert compress(folder, *given, "--report", str(folder / "report")) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert text in last
    assert names(folder) == ["data.npz", "model.onnx"]
    assert left_behind(folder) == []


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("model.onnx", "choose another output"),
        ("missing/out.onnx", "does not exist"),
        (".", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], output: str, text: str
) -> None:
    assert compress(folder, output=output) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_a_report_folder_that_is_a_file_is_refused_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress(folder, *QUICK, "--report", str(folder / "data.npz")) == 2
    assert "not a folder" in capsys.readouterr().err


def test_missing_data_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(folder, data="other.npz") == 2
    assert "other.npz is no file" in capsys.readouterr().err


def test_a_bad_model_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.onnx").write_bytes(MODEL_PATH.read_bytes()[:1000])
    assert compress(folder) == 2
    assert "truncated" in capsys.readouterr().err
    assert names(folder) == ["data.npz", "model.onnx"]


def test_addresses_stay_and_paths_become_addresses(tmp_path: Path) -> None:
    assert dataset_uri("https://example.org/a.npz") == "https://example.org/a.npz"
    (tmp_path / "a b.npz").touch()
    assert dataset_uri(str(tmp_path / "a b.npz")) == (tmp_path / "a b.npz").as_uri()
