"""LSTM, GRU and RNN against ONNX Runtime, in the fused form and step by step."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from graph_analysis.testing import random_recurrent_network
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.ops.recurrent import run_fused, run_stepwise
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    model_of,
    one_node,
    run_imported,
    run_ort,
)

STEPS, BATCH, WIDTH, HIDDEN = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LENGTHS = np.array([5, 2, 3], np.int32)
CASES: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (), {}),
    "lstm without biases": ("LSTM", ("-bias",), {}),
    "lstm with states": ("LSTM", ("states",), {}),
    "lstm reverse": ("LSTM", ("states",), {"direction": "reverse"}),
    "lstm bidirectional": ("LSTM", ("states",), {"direction": "bidirectional"}),
    "lstm peepholes": ("LSTM", ("states", "peepholes"), {"direction": "reverse"}),
    "lstm coupled": ("LSTM", ("states", "peepholes"), {"input_forget": 1}),
    "lstm clip": ("LSTM", ("states",), {"clip": 0.4}),
    "lstm clip coupled": ("LSTM", ("states", "peepholes"), {"clip": 0.3, "input_forget": 1}),
    "lstm lengths": ("LSTM", ("lengths", "states"), {"direction": "bidirectional"}),
    "lstm lengths reverse": ("LSTM", ("lengths", "states"), {"direction": "reverse"}),
    "gru lengths reverse": (
        "GRU",
        ("lengths",),
        {"direction": "reverse", "linear_before_reset": 1},
    ),
    "rnn lengths": ("RNN", ("lengths", "states"), {"direction": "reverse"}),
    "lstm lengths coupled": ("LSTM", ("lengths", "states"), {"input_forget": 1}),
    "lstm activations": (
        "LSTM",
        ("-bias",),
        {
            "activations": ["HardSigmoid", "Softsign", "LeakyRelu"],
            "activation_alpha": [0.3, 0.2],
            "activation_beta": [0.4],
        },
    ),
    "gru reset after": ("GRU", ("states",), {"linear_before_reset": 1}),
    "gru reset before": ("GRU", ("states",), {}),
    "gru without biases": ("GRU", ("-bias",), {}),
    "gru reverse": ("GRU", ("states",), {"direction": "reverse", "linear_before_reset": 1}),
    "gru bidirectional": ("GRU", (), {"direction": "bidirectional", "linear_before_reset": 1}),
    "gru both before": ("GRU", ("lengths",), {"direction": "bidirectional"}),
    "gru lengths": ("GRU", ("lengths", "states"), {"linear_before_reset": 1}),
    "gru clip": ("GRU", ("states",), {"clip": 0.3}),
    "gru activations": (
        "GRU",
        (),
        {
            "direction": "bidirectional",
            "activations": ["Sigmoid", "ScaledTanh", "HardSigmoid", "Elu"],
            "activation_alpha": [0.9, 0.25, 0.8],
            "activation_beta": [1.2, 0.45],
        },
    ),
    "rnn": ("RNN", ("states",), {}),
    "rnn relu": ("RNN", ("states",), {"activations": ["Relu"], "direction": "reverse"}),
    "rnn bidirectional": ("RNN", (), {"direction": "bidirectional"}),
    "rnn two kinds": ("RNN", (), {"direction": "bidirectional", "activations": ["Relu", "Tanh"]}),
    "rnn clip": ("RNN", ("lengths", "states"), {"clip": 0.5}),
}


def _inputs(
    op_type: str, parts: tuple[str, ...] = (), *, directions: int = 1, dtype: type = np.float32
) -> list[np.ndarray | None]:
    rows = GATES[op_type] * HIDDEN
    inputs: list[np.ndarray | None] = [
        floats(STEPS, BATCH, WIDTH, dtype=dtype),
        floats(directions, rows, WIDTH, seed=1, dtype=dtype),
        floats(directions, rows, HIDDEN, seed=2, dtype=dtype) / 2,
        None if "-bias" in parts else floats(directions, 2 * rows, seed=3, dtype=dtype),
        LENGTHS if "lengths" in parts else None,
    ]
    if "states" in parts:
        count = 2 if op_type == "LSTM" else 1
        inputs += [
            floats(directions, BATCH, HIDDEN, seed=4 + part, dtype=dtype) for part in range(count)
        ]
    if "peepholes" in parts:
        inputs.append(floats(directions, 3 * HIDDEN, seed=6, dtype=dtype))
    return inputs


@pytest.mark.parametrize("name", CASES)
def test_like_onnx_runtime(name: str) -> None:
    op_type, parts, attributes = CASES[name]
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    inputs = _inputs(op_type, parts, directions=directions)
    outputs = 3 if op_type == "LSTM" else 2
    assert_like_ort(op_type, inputs, outputs=outputs, hidden_size=HIDDEN, **attributes)


@pytest.mark.parametrize(
    ("activation", "settings"),
    [
        ("Affine", {"activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("Affine", {}),
        ("Elu", {}),
        ("HardSigmoid", {}),
        ("LeakyRelu", {}),
        ("ScaledTanh", {"activation_alpha": [0.5], "activation_beta": [2.0]}),
        ("Sigmoid", {}),
        ("Softplus", {}),
        ("Softsign", {}),
        ("ThresholdedRelu", {}),
        ("ThresholdedRelu", {"activation_alpha": [0.7]}),
    ],
)
def test_activations(activation: str, settings: dict[str, Any]) -> None:
    inputs = _inputs("RNN")
    settings = {"activations": [activation], **settings}
    assert_like_ort("RNN", inputs, outputs=2, hidden_size=HIDDEN, **settings)


@pytest.mark.parametrize("op_type", GATES)
def test_half_precision(op_type: str) -> None:
    inputs = _inputs(op_type, dtype=np.float16)
    model, feeds = (
        one_node(op_type, inputs, hidden_size=HIDDEN, linear_before_reset=1)
        if (op_type == "GRU")
        else one_node(op_type, inputs, hidden_size=HIDDEN)
    )
    found = run_imported(import_model(model), feeds)
    np.testing.assert_allclose(found[0], run_ort(model, feeds)[0], atol=5e-3)


@pytest.mark.parametrize("op_type", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("lengths", [None, (5, 0, 3)])
def test_the_fused_form_is_the_stepwise_one(
    op_type: str, direction: str, layout: int, lengths: tuple[int, ...] | None
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    inputs = _inputs(op_type, ("states",), directions=directions, dtype=np.float64)
    x, weight, recurrence, bias, _, *states = (
        None if array is None else torch.from_numpy(array) for array in inputs
    )
    if layout:
        x, states = x.transpose(0, 1), [state.transpose(0, 1) for state in states]
    states += [None] * (2 - len(states))
    steps = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    operands = (x, weight, recurrence, bias, *states, steps)
    names = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
    activations = [[(name, None, None) for name in names[op_type]]] * directions
    fused = run_fused(op_type, names[op_type][0], *operands, direction, layout)
    stepwise = run_stepwise(
        op_type,
        *operands,
        None,
        direction,
        layout,
        activations,
        clip=0.0,
        coupled=False,
        reset_first=False,
    )
    assert len(fused) == len(stepwise) == (3 if op_type == "LSTM" else 2)
    for left, right in zip(fused, stepwise, strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_are_like_onnx_runtime(seed: int) -> None:
    model = random_recurrent_network(seed)
    steps = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    feeds = {"x": floats(BATCH, steps, 5)}
    assert_same(run_imported(import_model(model), feeds), run_ort(model, feeds))


def _layer(op_type: str, **attributes: Any) -> tuple[ImportedModule, dict[str, np.ndarray]]:
    inputs = _inputs(op_type, ("states", *(("peepholes",) if op_type == "LSTM" else ())))
    states = {"LSTM": (5, 6, 7), "GRU": (5,), "RNN": (5,)}[op_type]
    model, feeds = one_node(
        op_type, inputs, constant=(1, 2, 3, *states), hidden_size=HIDDEN, **attributes
    )
    return import_model(model), feeds


@pytest.mark.parametrize("op_type", GATES)
def test_gradients_reach_every_weight_and_state(op_type: str) -> None:
    imported, feeds = _layer(op_type)
    imported.module.train()(torch.from_numpy(feeds["x0"])).square().sum().backward()
    parameters = dict(imported.module.named_parameters())
    assert len(parameters) == {"LSTM": 6, "GRU": 4, "RNN": 4}[op_type]
    for parameter in parameters.values():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("op_type", GATES)
def test_the_batch_is_free_when_the_state_is_zero_at_the_batch_of_the_file(op_type: str) -> None:
    _, weight, recurrence, bias, _ = _inputs(op_type)
    x = floats(BATCH, STEPS, WIDTH)
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node(op_type, ["steps", "w", "r", "b", "", "zeros"], ["y"], hidden_size=HIDDEN),
        helper.make_node("Transpose", ["y"], ["out"], perm=[2, 0, 1, 3]),
    ]
    weights = {
        "w": weight,
        "r": recurrence,
        "b": bias,
        "zeros": np.zeros((1, 1, HIDDEN), np.float32),
    }
    model = model_of(nodes, {"x": (1, STEPS, WIDTH)}, ["out"], weights)
    imported = import_model(model)
    assert imported.batch_is_free
    assert "zeros" in imported.fixed
    alone = [run_ort(model, {"x": x[place : place + 1]})[0] for place in range(BATCH)]
    assert_same(run_imported(imported, {"x": x}), [np.concatenate(alone)])


@pytest.mark.parametrize("attributes", [{"activations": ["Erf"]}, {"activations": ["Tanh"] * 2}])
def test_what_is_not_covered_is_refused(attributes: dict[str, Any]) -> None:
    model, _ = one_node("RNN", _inputs("RNN"), hidden_size=HIDDEN, **attributes)
    with pytest.raises(UnsupportedOperatorsError, match="RNN"):
        import_model(model)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, at a graph break
@pytest.mark.parametrize("parts", [(), ("lengths",), ("lengths", "peepholes")])
def test_compiled_is_the_same(parts: tuple[str, ...]) -> None:
    inputs = _inputs("LSTM", ("states", *parts))
    model, feeds = one_node("LSTM", inputs, constant=(1, 2, 3), hidden_size=HIDDEN, outputs=3)
    imported = import_model(model)
    arguments = [torch.from_numpy(feeds[name]) for name in imported.input_names]
    compiled = torch.compile(imported.module, backend="eager")
    for left, right in zip(compiled(*arguments), imported.module(*arguments), strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
def test_mixed_precision_is_the_same_network(op_type: str, dtype: torch.dtype) -> None:
    gates = GATES[op_type]
    weights = [floats(1, gates * HIDDEN, WIDTH), floats(1, gates * HIDDEN, HIDDEN)]
    model, feeds = one_node(
        op_type, [floats(STEPS, BATCH, WIDTH), *weights], constant=[1, 2], hidden_size=HIDDEN
    )
    imported = import_model(model)
    x = torch.from_numpy(feeds["x0"])
    with torch.autocast("cpu", dtype=dtype):
        found = imported.module(x)
    found.float().sum().backward()
    for parameter in imported.module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    np.testing.assert_allclose(found.detach().float(), run_ort(model, feeds)[0], atol=0.05)
