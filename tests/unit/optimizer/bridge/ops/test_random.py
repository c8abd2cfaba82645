import copy
import pickle  # noqa: TID251 - data-parallel workers receive modules so
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from optimizer.bridge.module import import_model
from optimizer.bridge.roles import trainable_initializers
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import floats, model_of, one_node, run_ort

LARGE = (40, 500)
X = np.zeros(LARGE, np.float32)


def _module(op_type: str, inputs: list[np.ndarray], **attributes: Any) -> torch.nn.Module:
    if inputs:
        return import_model(one_node(op_type, inputs, **attributes)[0]).module
    nodes = [
        helper.make_node(op_type, [], ["r"], **attributes),
        helper.make_node("Cast", ["x"], ["c"], to=attributes.get("dtype", TensorProto.FLOAT)),
        helper.make_node("Add", ["r", "c"], ["y"]),
    ]
    return import_model(model_of(nodes, {"x": ()}, ["y"], {})).module


def _drawn(module: torch.nn.Module, *inputs: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        given = inputs or [np.zeros((), np.float32)]
        result = module(*(torch.from_numpy(array) for array in given))
    assert isinstance(result, torch.Tensor)
    return result


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize(
    ("dtype", "kind"), [(1, torch.float32), (10, torch.float16), (11, torch.float64)]
)
def test_normal(dtype: int, kind: torch.dtype, is_training: bool) -> None:
    torch.manual_seed(0)
    fixed = _module("RandomNormal", [], shape=LARGE, dtype=dtype, mean=2.0, scale=3.0)
    like = _module("RandomNormalLike", [X], dtype=dtype, mean=2.0, scale=3.0)
    for module, inputs in ((fixed, []), (like, [X])):
        found = _drawn(module.train(is_training), *inputs)
        assert found.dtype == kind
        assert tuple(found.shape) == LARGE
        numbers = found.double()
        assert abs(numbers.mean().item() - 2) < 0.1
        assert abs(numbers.std().item() - 3) < 0.1
        share = ((numbers - 2).abs() < 3).double().mean().item()
        assert abs(share - 0.6827) < 0.02  # within one deviation
        assert not torch.equal(_drawn(module, *inputs), found)


@pytest.mark.parametrize("dtype", [1, 11])
def test_uniform(dtype: int) -> None:
    torch.manual_seed(0)
    fixed = _module("RandomUniform", [], shape=LARGE, dtype=dtype, low=-1.0, high=3.0)
    like = _module("RandomUniformLike", [X], dtype=dtype, low=-1.0, high=3.0)
    for module, inputs in ((fixed, []), (like, [X])):
        numbers = _drawn(module.eval(), *inputs).double()
        assert tuple(numbers.shape) == LARGE
        assert -1 <= numbers.min().item() < -0.9
        assert 2.9 < numbers.max().item() <= 3
        shares = torch.histc(numbers, 4, -1, 3) / numbers.numel()
        assert (shares - 0.25).abs().max().item() < 0.02


def test_the_type_of_the_input_is_the_default() -> None:
    for op_type in ("RandomNormalLike", "RandomUniformLike", "Bernoulli"):
        assert _drawn(_module(op_type, [X.astype(np.float64)]), X.astype(np.float64)).dtype == (
            torch.float64
        )


@pytest.mark.parametrize("dtype", [None, TensorProto.INT32, TensorProto.BOOL])
def test_bernoulli(dtype: int | None) -> None:
    torch.manual_seed(0)
    chances = np.linspace(0, 1, 5, dtype=np.float32)[:, None] + np.zeros((5, 4000), np.float32)
    given = {} if dtype is None else {"dtype": dtype}
    module = _module("Bernoulli", [chances], opset=15, **given)
    found = _drawn(module.eval(), chances)
    assert found.dtype == {None: torch.float32, 6: torch.int32, 9: torch.bool}[dtype]
    shares = found.double().mean(1)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert (shares - torch.linspace(0, 1, 5)).abs().max().item() < 0.03


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.INT64])
def test_multinomial(dtype: int) -> None:
    torch.manual_seed(0)
    chances = np.float32([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        logits = np.log(chances) + np.float32([[3], [0]])  # not normalised
    module = _module("Multinomial", [logits], sample_size=20000, dtype=dtype)
    found = _drawn(module, logits)
    assert tuple(found.shape) == (2, 20000)
    assert found.dtype == (torch.int32 if dtype == TensorProto.INT32 else torch.int64)
    for row, expected in zip(found, chances, strict=True):
        shares = torch.bincount(row, minlength=3) / 20000
        assert (shares - torch.from_numpy(expected)).abs().max().item() < 0.02


CASES: dict[str, tuple[list[np.ndarray], dict[str, Any]]] = {
    "RandomNormal": ([], {"shape": LARGE}),
    "RandomNormalLike": ([X], {}),
    "RandomUniform": ([], {"shape": LARGE}),
    "RandomUniformLike": ([X], {}),
    "Bernoulli": ([X + np.float32(0.5)], {}),
    "Multinomial": ([floats(3, 4)], {"sample_size": 500}),
}


@pytest.mark.parametrize("op_type", CASES)
def test_a_seed_is_a_sequence_of_its_own(op_type: str) -> None:
    inputs, given = CASES[op_type]
    first, second, other = (
        _module(op_type, inputs, seed=seed, **given) for seed in (1.5, 1.5, 1.25)
    )
    torch.manual_seed(0)
    sequence = [_drawn(first, *inputs) for _ in range(2)]
    torch.manual_seed(1)
    assert torch.equal(_drawn(second, *inputs), sequence[0])
    assert torch.equal(_drawn(second, *inputs), sequence[1])
    assert not torch.equal(sequence[0], sequence[1])
    assert not torch.equal(_drawn(other, *inputs), sequence[0])
    for twin in (copy.deepcopy(second), pickle.loads(pickle.dumps(second))):  # noqa: S301
        assert torch.equal(_drawn(twin, *inputs), sequence[0])


@pytest.mark.parametrize("op_type", CASES)
def test_without_a_seed_the_generator_of_torch_decides(op_type: str) -> None:
    inputs, given = CASES[op_type]
    module = _module(op_type, inputs, **given)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(_drawn(module, *inputs))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_onnx_runtime_also_goes_on_in_a_sequence() -> None:
    """What a seed means here is what it means there: the same first draw in every session."""
    model, feeds = one_node("RandomNormalLike", [X], seed=1.5)
    np.testing.assert_array_equal(run_ort(model, feeds)[0], run_ort(model, feeds)[0])


@pytest.mark.parametrize("outputs", [1, 2])
def test_dropout_with_a_seed(outputs: int) -> None:
    x = np.ones(LARGE, np.float32)
    inputs = [x, np.asarray(np.float32(0.25))]
    modules = [
        import_model(
            one_node("Dropout", inputs, constant=(1,), opset=13, outputs=outputs, seed=3)[0]
        ).module.train()
        for _ in range(2)
    ]
    torch.manual_seed(0)
    found = [module(torch.from_numpy(x)) for module in modules]
    results = [pair[0] if outputs == 2 else pair for pair in found]
    assert torch.equal(results[0], results[1])
    assert abs((results[0] == 0).double().mean().item() - 0.25) < 0.02
    if outputs == 2:
        assert torch.equal(found[0][1], results[0] != 0)
    again = modules[0](torch.from_numpy(x))
    assert not torch.equal(again[0] if outputs == 2 else again, results[0])
    kept = modules[0].eval()(torch.from_numpy(x))
    assert torch.equal(kept[0] if outputs == 2 else kept, torch.from_numpy(x))


def test_weights_beside_noise_are_weights() -> None:
    nodes = [
        helper.make_node("RandomNormal", [], ["noise"], shape=[2, 3]),
        helper.make_node("Mul", ["noise", "w"], ["scaled"]),
        helper.make_node("Add", ["scaled", "b"], ["y"]),
    ]
    model = model_of(nodes, {"x": (2, 3)}, ["y"], {"w": floats(3), "b": floats(3)})
    assert trainable_initializers(model.graph) == {"w", "b"}


def test_another_type_is_refused() -> None:
    model, _ = one_node("RandomNormalLike", [X], dtype=TensorProto.STRING)
    with pytest.raises(UnsupportedOperatorsError, match="with dtype=8 is not covered"):
        import_model(model)
