"""``secateur export`` as a user meets it, on the demo's network and data."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.cli import main
from service.demo import MODEL_PATH
from service.demo.digits import digits

LOSSY = ("float16", "int8", "int8-weights")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, fewer of them."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, **{name: values[:200] for name, values in digits().items()})
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for outputs; temporary files go beside it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def export(form: str, output: Path, *more: object, model: Path = MODEL_PATH) -> int:
    return main(["export", str(model), "--to", form, "-o", str(output), *map(str, more)])


def nothing_left(folder: Path, *names: str) -> bool:
    left = list((folder.parent / "temporary").iterdir())
    return not left and sorted(path.name for path in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("form", LOSSY)
def test_a_file_with_its_differences_and_accuracy(
    form: str, folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(form, folder / "out.onnx", "--data", data, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == form
    assert found["bytes"]["after"] == (folder / "out.onnx").stat().st_size
    assert (
        found["bytes"]["after"] < (0.55 if form == "float16" else 0.35) * found["bytes"]["before"]
    )
    assert [entry["source"] for entry in found["differences"]] == ["random", "real"]
    assert found["differences"][1]["samples"] == 200
    assert found["compared_on"] == "test"
    quality = found["quality"]
    assert quality["measure"] == "accuracy"
    assert quality["before"] > 0.97
    assert quality["drop"] == quality["before"] - quality["after"] <= 0.01
    onnx.checker.check_model(onnx.load(folder / "out.onnx"), full_check=True)
    assert nothing_left(folder, "out.onnx")


def test_people_get_lines(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("float16", folder / "out.onnx", "--data", data) == 0
    text = capsys.readouterr().out
    assert "200 real samples" in text
    assert "accuracy   " in text
    assert f"written    {folder / 'out.onnx'}" in text


def test_what_loses_more_than_is_allowed_is_not_written(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = np.load(data)
    arrays = {name: broken[name] for name in broken.files}
    arrays["x_train"] = arrays["x_train"] * 0.01  # ranges far below those of the test images
    np.savez(folder.parent / "dark.npz", **arrays)
    assert export("int8", folder / "out.onnx", "--data", folder.parent / "dark.npz") == 3
    assert "int8 loses too much: accuracy goes from" in capsys.readouterr().err
    assert nothing_left(folder)
    more = ("--data", folder.parent / "dark.npz", "--max-export-drop", "1")
    assert export("int8", folder / "out.onnx", *more) == 0
    assert nothing_left(folder, "out.onnx")


def test_without_labels_the_agreement_counts(
    folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(data) as arrays:
        np.savez(folder.parent / "plain.npz", x_train=arrays["x_train"])
    assert export("int8", folder / "o.onnx", "--data", folder.parent / "plain.npz", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["quality"]["measure"] == "agreement"
    assert found["quality"]["after"] == found["differences"][1]["top1"] >= 0.99
    assert found["compared_on"] == "train"


def test_ort_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("ort", folder / "out.ort", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"][0]["relative"] < 1e-5
    assert found["quality"] is None
    assert (folder / "out.ort").read_bytes()[4:8] == b"ORTM"
    assert nothing_left(folder, "out.ort")


def test_a_bundle_whose_client_runs_on_the_data(folder: Path, data: Path) -> None:
    report = folder.parent / "report"
    report.mkdir()
    (report / "report.json").write_text('{"schema": "secateur/report/1"}')
    assert export("bundle", folder / "digits", "--data", data, "--report", report) == 0
    assert (folder / "digits" / "1" / "model.onnx").read_bytes() == MODEL_PATH.read_bytes()
    assert (folder / "digits" / "report.json").read_text() == (report / "report.json").read_text()
    assert 'name: "digits"' in (folder / "digits" / "config.pbtxt").read_text()
    command = [sys.executable, "-I", folder / "digits" / "client.py", data, folder / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as found:
        chosen = found["logits"].argmax(axis=1)
    assert np.mean(chosen == digits()["y_test"][:200]) > 0.97
    assert nothing_left(folder, "digits", "out.npz")


@pytest.mark.parametrize(
    "form, more, words",
    [
        ("int7", (), "--to is one of float16, int8, int8-weights, ort, bundle, got 'int7'"),
        ("int8", (), "give --data"),
        ("int8", ("--data", "missing.npz"), "is no file"),
        ("ort", ("--report", "x"), "--report does nothing with --to ort"),
        ("bundle", ("--report", "missing"), "cannot use"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line(
    form: str,
    more: tuple[str, ...],
    words: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(form, folder / "out", *more) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert nothing_left(folder)


def test_outputs_that_would_replace_something_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = folder / "model.onnx"
    model.write_bytes(MODEL_PATH.read_bytes())
    assert export("float16", model, model=model) == 2
    assert "is read by this command" in capsys.readouterr().err
    (folder / "there").mkdir()
    assert export("bundle", folder / "there", model=model) == 2
    assert "is there already" in capsys.readouterr().err
    assert export("ort", folder / "no" / "out.ort", model=model) == 2
    assert "does not exist" in capsys.readouterr().err
    for name in ("report.json", "client.py"):
        (folder / name).write_text("{}")
    more = ("--report", folder / "client.py")
    assert export("bundle", folder / "new", *more, model=model) == 2
    assert "would replace another file of the bundle" in capsys.readouterr().err


def test_weights_in_another_file_are_taken_in(folder: Path) -> None:
    model = onnx.load(MODEL_PATH)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data")
    assert export("bundle", folder / "b", model=folder / "m.onnx") == 0
    alone = onnx.load(folder / "b" / "1" / "model.onnx", load_external_data=False)
    assert all(t.data_location != onnx.TensorProto.EXTERNAL for t in alone.graph.initializer)
    assert export("float16", folder / "h.onnx", model=folder / "m.onnx") == 0
