"""The written file is what is judged: a wrong one is not handed out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters.errors import ProofFailedError
from service.compression import QualityGateError, RunDirectory, judging, verifying
from service.compression.weights_file import read_weights, write_weights
from tests.unit.service.compression.runs import digits_run, only, recipe, run_all


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = digits_run(tmp_path_factory.mktemp("run") / "run")
    run_all(run, recipe(epochs=2), until="export")
    return run


@pytest.fixture
def untouched(exported: RunDirectory) -> RunDirectory:
    for path in (exported.proof, exported.report):
        path.unlink(missing_ok=True)
    return exported


def test_one_changed_weight_in_the_file_fails_the_proof(untouched: RunDirectory) -> None:
    good = untouched.compressed.read_bytes()
    model = onnx.load_from_string(good)
    tensor = max(model.graph.initializer, key=lambda entry: len(entry.dims))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    untouched.compressed.write_bytes(model.SerializeToString())
    try:
        with pytest.raises(ProofFailedError, match="G3"):
            only("verify", untouched, recipe(epochs=2))
    finally:
        untouched.compressed.write_bytes(good)
    assert not untouched.report.exists()


def test_accuracy_is_counted_on_the_file_and_gates_it(untouched: RunDirectory) -> None:
    baseline = json.loads(untouched.baseline.read_text())
    untouched.baseline.write_text(json.dumps({**baseline, "accuracy": 1.5}))
    try:
        with pytest.raises(QualityGateError, match=r"accuracy fell from 1\.5000 to 0\.") as caught:
            only("verify", untouched, recipe(epochs=2, max_accuracy_drop=0.1))
    finally:
        untouched.baseline.write_text(json.dumps(baseline))
    assert (caught.value.code, caught.value.exit_code) == ("quality-gate-failed", 3)
    assert not untouched.report.exists()


def test_a_small_drop_passes_the_gate(untouched: RunDirectory) -> None:
    only("verify", untouched, recipe(epochs=2, max_accuracy_drop=0.999))
    assert untouched.report.exists()


def test_a_network_that_takes_long_is_timed_on_single_samples_only(
    untouched: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_LATENCY_SECONDS", 1e-9)
    only("verify", untouched, recipe(epochs=2))
    latency = json.loads(untouched.report.read_text())["model"]["before"]["latency"]
    assert [(entry["batch"], entry["runs"]) for entry in latency] == [(1, 1)]


def test_weights_survive_the_file_bit_for_bit(tmp_path: Path) -> None:
    import ml_dtypes

    rng = np.random.default_rng(0)
    weights = {
        "a.b/c": rng.standard_normal((3, 2)).astype(np.float32),
        "half": rng.standard_normal(5).astype(np.float16),
        "brain": rng.standard_normal(5).astype(ml_dtypes.bfloat16),
        "scalar": np.array(2.5),
    }
    write_weights(tmp_path / "weights.safetensors", weights)
    found = read_weights(tmp_path / "weights.safetensors")
    assert set(found) == set(weights)
    for name, array in weights.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_accuracy_is_counted_on_the_written_file(
    untouched: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bytes] = []
    measure = judging.accuracy

    def spy(model: onnx.ModelProto, *arguments: Any, **settings: Any) -> float:
        judged.append(model.SerializeToString())
        return measure(model, *arguments, **settings)

    monkeypatch.setattr(judging, "accuracy", spy)
    only("verify", untouched, recipe(epochs=2))
    assert judged == [onnx.load(untouched.compressed).SerializeToString()]


def test_rounding_does_not_fail_the_gate() -> None:
    verifying._check_quality(recipe(max_accuracy_drop=0.01), 0.95, 0.94)
    with pytest.raises(QualityGateError):
        verifying._check_quality(recipe(max_accuracy_drop=0.01), 0.95, 0.939)
