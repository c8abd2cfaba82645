"""All stages on a real network: what comes out, and that stopping changes nothing."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import onnx
import onnxruntime
import pytest

import exporters.reporting as reporting
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES
from service.compression import RunDirectory, run_stage
from service.compression.machine import num_cpus
from service.demo import MODEL_PATH
from service.storage import sha256_of
from tests.unit.optimizer.bridge.folded_networks import removable
from tests.unit.service.compression.runs import (
    Lines,
    digits_run,
    make_run,
    only,
    recipe,
    run_all,
    some_digits,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Lines]:
    run = digits_run(tmp_path_factory.mktemp("run") / "run")
    return run, run_all(run, recipe())


def report_of(run: RunDirectory) -> dict[str, Any]:
    return dict(json.loads(run.report.read_text()))


def test_the_model_is_smaller_and_runs_at_any_batch_size(
    finished: tuple[RunDirectory, Lines],
) -> None:
    run, _ = finished
    whole, small = (analyze(load_model(path)) for path in (run.model, run.compressed))
    macs = [found.macs(Solution.of(found.space, {})) for found in (whole, small)]
    assert macs[1] <= 0.25 * macs[0]
    session = onnxruntime.InferenceSession(run.compressed)
    (scores,) = session.run(None, {"image": np.zeros((5, 1, 8, 8), np.float32)})
    assert scores.shape == (5, 10)
    before, after = (onnx.load(path) for path in (run.model, run.compressed))
    assert before.opset_import == after.opset_import
    assert before.graph.input == after.graph.input
    assert before.graph.output == after.graph.output


def test_the_report_is_about_the_files(finished: tuple[RunDirectory, Lines]) -> None:
    run, _ = finished
    report = report_of(run)
    assert report["model"]["before"]["sha256"] == sha256_of(run.model)
    assert report["model"]["after"]["sha256"] == sha256_of(run.compressed)
    assert report["model"]["after"]["bytes"] == run.compressed.stat().st_size
    assert report["removed"]["channel"] > 0
    assert report["evaluated_on"] == "test"
    assert report["model"]["before"]["accuracy"] > 0.9
    assert report["proof"]["passed"]
    assert report["proof"]["real_samples"] == 16
    assert report["proof"] == json.loads(run.proof.read_text())
    threads = sorted({1, num_cpus()})
    latency = report["model"]["after"]["latency"]
    measured = [(entry["batch"], entry["threads"]) for entry in latency]
    assert measured == [(batch, number) for batch in (1, 32) for number in threads]
    assert report["configuration"]["multiple"] == 8
    assert report["training_summary"]["steps"] == 40
    assert report["training"][-1]["step"] == 40


def test_the_report_is_as_its_schema_says(finished: tuple[RunDirectory, Lines]) -> None:
    schema = Path(reporting.__file__).with_name("report.schema.json").read_text()
    validator = jsonschema_rs.Draft202012Validator(json.loads(schema))
    report = report_of(finished[0])
    assert [str(error) for error in validator.iter_errors(report)] == []
    assert report["model"]["after"]["peak_memory"] < report["model"]["before"]["peak_memory"]
    assert report["hashes"]["compressed model"] == sha256_of(finished[0].compressed)
    assert report["hashes"]["data set"] == sha256_of(finished[0].dataset)
    assert report["machine"]["cores"] == num_cpus()
    assert report["training"][-1]["macs"] == report["ratios"]["macs"]


def test_every_group_of_the_report_has_the_saliency_that_the_search_saw(
    finished: tuple[RunDirectory, Lines],
) -> None:
    run, _ = finished
    removed = json.loads(run.solution.read_text())["removed"]
    for group in report_of(run)["groups"]:
        saliency = group["saliency"]
        assert saliency is not None, group["id"]
        if saliency["lowest"] is not None:
            assert saliency["lowest"] <= saliency["median"] <= saliency["highest"]
        if saliency["highest_removed"] is not None:
            assert removed[group["id"]]


def test_the_page_shows_what_the_report_says(finished: tuple[RunDirectory, Lines]) -> None:
    run, _ = finished
    page, report = run.page.read_text(), report_of(run)
    assert page.startswith("<!doctype html>")
    assert report["hashes"]["compressed model"] in page
    assert "proof passed" in page
    states = [entry["state"] for entry in report["segments"]]
    assert f"{states.count('erased')} erased" in page
    assert "picture was not drawn" not in page


def test_kept_widths_are_multiples_of_eight(finished: tuple[RunDirectory, Lines]) -> None:
    run, _ = finished
    widths = [group["after"] for group in report_of(run)["groups"] if group["kind"] == "channel"]
    assert [width for width in widths if width > 8 and width % 8] == []


def test_the_space_names_what_the_solution_removes(
    finished: tuple[RunDirectory, Lines],
) -> None:
    run, _ = finished
    space = json.loads(run.space.read_text())
    removed = json.loads(run.solution.read_text())["removed"]
    assert set(removed) <= {group["id"] for group in space["groups"]}


def test_progress_goes_up_in_every_stage(finished: tuple[RunDirectory, Lines]) -> None:
    _, lines = finished
    progress = lines.of("progress")
    assert [line["stage"] for line in progress if line["step"] == 1] == [
        "prepare",
        "train",
        "export",
        "verify",
    ]
    assert all(0 <= line["fraction"] <= 1 for line in progress)
    trained = [line for line in progress if line["stage"] == "train" and line["step"]]
    steps = [line["step"] for line in trained]
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, 41))
    assert {line["phase"] for line in trained} >= {"warm-up", "search", "converged"}
    assert trained[-1]["metrics"]["macs_ratio"] <= 0.25
    assert {"search-space", "trained", "proved"} <= set(lines.codes)


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(
    finished: tuple[RunDirectory, Lines], tmp_path: Path
) -> None:
    reference, _ = finished
    run = digits_run(tmp_path / "run")
    only("prepare", run, recipe())
    first = Lines()
    run_stage(
        "train",
        run,
        recipe(),
        report=first,
        should_stop=lambda: first.steps >= 17,
    )
    assert first.steps == 17
    assert not run.weights.exists()
    assert first.of("checkpoint")[-1]["step"] == 17
    second = only("train", run, recipe())
    assert second.of("resumed")[0]["step"] == 17
    assert next(line["step"] for line in second.of("progress") if line["step"]) == 18
    for stage in ("export", "verify"):
        only(stage, run, recipe())
    assert sha256_of(run.compressed) == sha256_of(reference.compressed)
    ours, theirs = report_of(run), report_of(reference)
    for report in (ours, theirs):
        for measured in ("latency", "peak_memory"):
            for figures in (report["ratios"], *report["model"].values()):
                figures.pop(measured)
        report["machine"].pop("load")
    assert ours == theirs


def test_another_seed_gives_another_model(
    finished: tuple[RunDirectory, Lines], tmp_path: Path
) -> None:
    run = digits_run(tmp_path / "run")
    run_all(run, recipe(seed=1), until="export")
    assert sha256_of(run.compressed) != sha256_of(finished[0].compressed)


def test_unlabelled_data_is_enough(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run", y_train=None, y_val=None, y_test=None)
    run_all(run, recipe(epochs=2))
    report = report_of(run)
    assert report["model"]["after"]["accuracy"] is None
    assert report["evaluated_on"] is None
    assert report["ratios"]["macs"] <= 0.25


def test_a_fixed_batch_size_that_can_be_freed_is_not_trained_at(tmp_path: Path) -> None:
    model = onnx.load(digits_run(tmp_path / "free").model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 16
    with np.load(tmp_path / "free" / "dataset.npz") as arrays:
        run = make_run(tmp_path / "fixed", model, dict(arrays))
    lines = run_all(run, recipe(epochs=1))
    said = next(one for one in lines.of("event") if one["data"]["code"] == "batch-size-fixed")
    assert said["data"] == {"code": "batch-size-fixed", "batch_size": 16, "trained_with": 32}
    assert "fixes its batch size at 16; training takes up to 32 samples" in said["message"]
    latency = report_of(run)["model"]["after"]["latency"]
    assert {entry["batch"] for entry in latency} == {16}


def test_there_are_four_stages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no stage is called 'polish'"):
        only("polish", RunDirectory(tmp_path), recipe())


def with_odd_outputs() -> onnx.ModelProto:
    """The demo's network with a table and a scalar as further outputs: neither counts samples."""
    model = onnx.load(MODEL_PATH)
    anchors = np.arange(12, dtype=np.float32).reshape(6, 2)
    model.graph.initializer.append(onnx.numpy_helper.from_array(anchors, "anchors"))
    model.graph.node.append(onnx.helper.make_node("Identity", ["anchors"], ["table"], name="table"))
    model.graph.node.append(
        onnx.helper.make_node("ReduceMean", ["logits"], ["average"], name="average", keepdims=0)
    )
    for name, shape in (("table", [6, 2]), ("average", [])):
        kind = onnx.TensorProto.FLOAT
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return model


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_folded_normalisations_are_put_back_for_training_only(tmp_path: Path, setting: str) -> None:
    """The proof compares files, so what was put in has left no trace in them but the weights."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 96)
    x = rng.standard_normal((96, 3, 8, 8)).astype(np.float32) + labels[:, None, None, None]
    run = make_run(tmp_path / "run", removable(), {"x_train": x, "y_train": labels})
    chosen = recipe(target_macs=0.5, multiple=1, renormalise=setting)
    lines = run_all(run, chosen)
    report, expected = report_of(run), 5 if setting == "auto" else 0
    assert ("renormalised" in lines.codes) == bool(expected)
    assert report["training_summary"]["renormalised"] == expected
    assert report["configuration"]["renormalise"] == setting
    assert report["proof"]["passed"]
    assert not any(n.op_type == "BatchNormalization" for n in onnx.load(run.compressed).graph.node)


def test_outputs_that_do_not_count_samples_are_trained_and_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", with_odd_outputs(), some_digits())
    run_all(run, recipe(epochs=2))
    session = onnxruntime.InferenceSession(run.compressed)
    scores, table, mean = session.run(None, {"image": np.zeros((5, 1, 8, 8), np.float32)})
    assert (scores.shape, mean.shape) == ((5, 10), ())
    assert table.tolist() == np.arange(12).reshape(6, 2).tolist()
    assert report_of(run)["ratios"]["macs"] <= 0.25


def test_what_is_not_done_is_said(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run", x_val=None, y_val=None, x_test=None, y_test=None)
    lines = run_all(run, recipe(epochs=2, target_macs=0.6, kinds="operator"))
    assert {"accuracy-not-measured", "validation-held-out"} <= set(lines.codes)
    (held,) = (e for e in lines.of("event") if e["data"]["code"] == "validation-held-out")
    assert "32 of the 320" in held["message"]
    assert report_of(run)["evaluated_on"] is None


def test_nothing_is_said_where_nothing_is_left_out(finished: tuple[RunDirectory, Lines]) -> None:
    codes = set(finished[1].codes)
    assert not codes & {"accuracy-not-measured", "validation-held-out", "labels-not-used"}


def test_less_than_was_asked_for_is_said(tmp_path: Path) -> None:
    """With one structure to choose from, the target is passed by a wide margin."""
    model = HARD_CASES["residual_add"]()
    shape = [dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.standard_normal((64, *shape[1:])).astype(np.float32)}
    run = make_run(tmp_path / "run", model, arrays)
    lines = run_all(run, recipe(target_macs=0.95, kinds="operator", epochs=8), until="train")
    (event,) = (e for e in lines.of("event") if e["data"]["code"] == "target-overshot")
    assert event["data"]["remaining"] < 0.9


@pytest.mark.parametrize("setting", ["on", "off"])
def test_zeros_are_cut_out_during_training_and_the_proof_is_of_the_same_file(
    tmp_path: Path, setting: str
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 96)
    x = rng.standard_normal((96, 3, 8, 8)).astype(np.float32) + labels[:, None, None, None]
    run = make_run(tmp_path / "run", removable(), {"x_train": x, "y_train": labels})
    chosen = recipe(target_macs=0.5, multiple=1, cut_during_training=setting)
    lines = run_all(run, chosen)
    report = report_of(run)
    assert ("cut" in lines.codes) == (setting == "on")
    assert "cutting-skipped" not in lines.codes
    assert report["configuration"]["cut_during_training"] == setting
    assert report["proof"]["passed"]
