"""The demo's network: the committed file is what the script makes, and worth compressing."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from exporters.measure import accuracy as measured_accuracy
from service.demo import MODEL_PATH, pretrain
from service.demo.digits import digits
from service.demo.network import DigitsNet
from service.demo.pretrain import accuracy, export, train


@pytest.fixture(scope="module")
def committed() -> onnx.ModelProto:
    return onnx.load(MODEL_PATH)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_committed_file_is_small_and_good(committed: onnx.ModelProto) -> None:
    arrays = digits()
    assert MODEL_PATH.stat().st_size < 1_000_000
    assert measured_accuracy(committed, {"": arrays["x_test"]}, arrays["y_test"]) >= 0.98


def test_committed_file_has_every_structure_that_compression_must_respect(
    committed: onnx.ModelProto,
) -> None:
    found = operators(committed)
    assert found["BatchNormalization"] == 14  # not folded into the convolutions
    assert found["Add"] >= 4
    assert (found["Concat"], found["Sigmoid"], found["Mul"]) == (1, 1, 1)
    groups = [
        attribute.i
        for node in committed.graph.node
        for attribute in node.attribute
        if attribute.name == "group"
    ]
    assert 128 in groups  # depthwise


def test_committed_file_has_named_ends_and_a_free_batch(committed: onnx.ModelProto) -> None:
    (image,), (logits,) = committed.graph.input, committed.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert image.type.tensor_type.shape.dim[0].dim_param
    assert committed.opset_import[0].version >= 17
    assert all(not node.metadata_props for node in committed.graph.node)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch's exporter, not ours
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the same
def test_export_equals_the_network_and_makes_the_committed_graph(
    tmp_path: Path, committed: onnx.ModelProto
) -> None:
    torch.manual_seed(0)
    network = DigitsNet().eval()
    path = tmp_path / "net.onnx"
    export(network, path)
    x = digits()["x_test"][:5]
    (logits,) = ort.InferenceSession(path).run(None, {"image": x})
    expected = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    made = onnx.load(path)
    assert [node.name for node in made.graph.node] == [n.name for n in committed.graph.node]
    shapes = [(entry.name, list(entry.dims)) for entry in made.graph.initializer]
    assert shapes == [(entry.name, list(entry.dims)) for entry in committed.graph.initializer]


def first_images(count: int) -> dict[str, np.ndarray]:
    return {name: values[:count] for name, values in digits().items()}


def test_training_is_repeatable() -> None:
    few = first_images(128)
    first, second = (train(few, epochs=2, seed=1) for _ in range(2))
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(left, right) for left, right in states)
    assert not first.training


def test_training_learns() -> None:
    few = first_images(320)
    network = train(few, epochs=8, seed=1)
    assert accuracy(network, few["x_train"], few["y_train"]) > 0.5  # guessing gives a tenth


@pytest.mark.parametrize(("reached", "code"), [(0.99, 0), (0.97, 1)])
def test_main_writes_the_file_and_fails_below_98_percent(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    reached: float,
    code: int,
) -> None:
    path = tmp_path / "net.onnx"
    monkeypatch.setattr(pretrain, "MODEL_PATH", path)
    monkeypatch.setattr(pretrain, "train", lambda arrays: DigitsNet().eval())
    monkeypatch.setattr(pretrain, "accuracy", lambda *_: reached)
    monkeypatch.setattr(pretrain, "export", lambda network, target: target.write_bytes(b"onnx"))
    assert pretrain.main() == code
    assert path.read_bytes() == b"onnx"
    assert f"test accuracy {reached:.4f}, 4 bytes" in capsys.readouterr().err
