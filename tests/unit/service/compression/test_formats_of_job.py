"""Further formats of a job: beside its model, in its report, and never the reason that it fails."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import onnx
import pytest

from exporters import reporting
from exporters.sessions import open_session
from service.compression import RunDirectory
from service.export_names import FORMATS, beside
from tests.unit.service.compression.runs import (
    Lines,
    digits_run,
    only,
    recipe,
    run_all,
    some_digits,
)

ALL = recipe(exports=",".join(FORMATS), epochs=6, target_macs=0.4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Lines]:
    run = digits_run(tmp_path_factory.mktemp("run") / "run")
    return run, run_all(run, ALL)


def entries(run: RunDirectory) -> dict[str, dict[str, Any]]:
    return {entry["format"]: entry for entry in json.loads(run.report.read_text())["exports"]}


def test_every_format_is_made_of_the_cut_model(finished: tuple[RunDirectory, Lines]) -> None:
    run, lines = finished
    paths = beside(run.compressed, FORMATS)
    assert all(path.is_file() for path in paths.values())
    assert lines.codes.count("exported") == len(FORMATS)
    found = entries(run)
    assert set(found) == {"float16", "int8", "int8-weights", "ort"}
    size = run.compressed.stat().st_size
    for form, entry in found.items():
        assert entry["bytes"] == {"before": size, "after": paths[form].stat().st_size}
        assert entry["file"] == paths[form].name
        assert [figures["source"] for figures in entry["differences"]] == ["random", "real"]
    schema = json.loads(Path(reporting.__file__).with_name("report.schema.json").read_text())
    report = json.loads(run.report.read_text())
    assert not list(jsonschema_rs.Draft202012Validator(schema).iter_errors(report))
    assert all(f">{form}<" in run.page.read_text() for form in found)
    images = some_digits()["x_test"]
    for form in ("float16", "int8", "int8-weights"):
        (scores,) = open_session(paths[form].read_bytes()).run(None, {"image": images})
        right = float(np.mean(scores.argmax(axis=1) == some_digits()["y_test"]))
        assert found[form]["quality"]["after"] == pytest.approx(right)
        onnx.checker.check_model(str(paths[form]), full_check=True)


def test_the_bundle_holds_the_model_and_the_report(finished: tuple[RunDirectory, Lines]) -> None:
    run, _ = finished
    with zipfile.ZipFile(beside(run.compressed, ["bundle"])["bundle"]) as archive:
        assert archive.read("compressed/1/model.onnx") == run.compressed.read_bytes()
        assert archive.read("compressed/report.json") == run.report.read_bytes()
        assert b'name: "compressed"' in archive.read("compressed/config.pbtxt")


def test_a_format_that_loses_too_much_is_left_out_and_said(
    finished: tuple[RunDirectory, Lines], tmp_path: Path
) -> None:
    whole, _ = finished
    shutil.copytree(whole.path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    arrays = some_digits()
    np.savez(run.dataset, **(arrays | {"x_train": arrays["x_train"] * 0.01}))  # ranges too small
    lines = only("verify", run, ALL)
    refused = entries(run)["int8"]
    assert set(refused) == {"format", "refused"}
    assert "int8 loses too much: accuracy goes from" in refused["refused"]
    assert lines.codes.count("export-refused") == 1
    assert not beside(run.compressed, ["int8"])["int8"].exists()  # nor the one of before
    assert "refused" not in entries(run)["float16"]


def test_nothing_is_made_unasked(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    run_all(run, recipe(epochs=1))
    assert entries(run) == {}
    assert [p.name for p in run.path.glob("compressed*")] == ["compressed.onnx"]
