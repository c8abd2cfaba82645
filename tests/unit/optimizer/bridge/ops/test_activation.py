import numpy as np
import onnx
import pytest
import torch

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import assert_like_ort, floats, one_node, run_imported

UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Elu Erf Exp Floor HardSigmoid LeakyRelu "
    "Log Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh "
    "ThresholdedRelu IsNaN IsInf HardSwish Celu Shrink"
)


@pytest.mark.parametrize("op_type", UNARY.split())
def test_functions_of_one_tensor(op_type: str) -> None:
    x = floats(2, 3, 4)
    if op_type in {"Acos", "Asin", "Atanh"}:
        x = np.tanh(x)
    if op_type == "Acosh":
        x = np.abs(x) + 1
    if op_type in {"Log", "Sqrt"}:
        x = np.abs(x)
    assert_like_ort(op_type, [x])


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Elu", {"alpha": 0.5}),
        ("Celu", {"alpha": 2.0}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.2}),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
        ("Selu", {"alpha": 1.1, "gamma": 2.0}),
        ("Shrink", {"lambd": 0.2, "bias": 0.1}),
        ("ThresholdedRelu", {"alpha": 0.2}),
    ],
)
def test_attributes_are_passed_on(op_type: str, attributes: dict[str, float]) -> None:
    assert_like_ort(op_type, [floats(3, 4)], **attributes)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    assert_like_ort("Gelu", [floats(3, 4)], opset=20, approximate=approximate)


@pytest.mark.parametrize(("positive", "negative"), [(1, 1), (1, 0), (0, 1)])
def test_infinities_of_the_wanted_sign(positive: int, negative: int) -> None:
    x = np.array([1, np.inf, -np.inf, np.nan], np.float32)
    assert_like_ort("IsInf", [x], detect_positive=positive, detect_negative=negative)


@pytest.mark.parametrize(
    "slope",
    [(3, 1, 1), (1,), (3, 4, 5), (5,), (1, 1, 5)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_prelu_broadcasts_its_slope_and_trains_it(slope: tuple[int, ...]) -> None:
    inputs = [floats(2, 3, 4, 5), floats(*slope, seed=1)]
    assert_like_ort("PRelu", inputs, constant=[1])
    model, _ = one_node("PRelu", inputs, constant=[1])
    imported = import_model(model)
    imported.module(torch.from_numpy(inputs[0])).sum().backward()
    assert isinstance(imported.tensors["x1"], torch.nn.Parameter)
    assert imported.tensors["x1"].grad is not None


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_swish(alpha: float) -> None:
    if onnx.defs.onnx_opset_version() < 24:
        pytest.skip("this onnx has no Swish")
    model, _ = one_node("Swish", [floats(3, 4)], opset=24, alpha=alpha)
    x = torch.from_numpy(floats(3, 4))
    torch.testing.assert_close(import_model(model).module(x), x * torch.sigmoid(alpha * x))


def test_slopes_of_channels_before_broadcasting() -> None:
    x, slope = floats(2, 3, 4, 5), np.array([0.1, 0.5, -0.3], np.float32)
    for array in (slope, slope[:1]):  # ONNX Runtime has no version before 7
        model, feeds = one_node("PRelu", [x, array], constant=[1], opset=6)
        (found,) = run_imported(import_model(model), feeds)
        np.testing.assert_allclose(found, np.where(x < 0, x * array[:, None, None], x), rtol=1e-6)
