import copy
import operator
import pickle  # noqa: TID251 - data-parallel workers receive modules so

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import fx, nn

from benchmarks.live_memory import LiveMemory
from optimizer.bridge.checkpointing import Part, checkpointed
from optimizer.bridge.module import ImportedModule, import_model
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    run_imported,
    run_ort,
)

DEPTH, WIDTH = 8, 6
X = floats(4, WIDTH, 12, 12)


def tower(*, training: bool = False, seeded: bool = False) -> onnx.ModelProto:
    """Layers of a convolution, a BatchNorm, a ReLU that overwrites, and a dropout."""
    seed = {"seed": 5} if seeded else {}
    nodes, weights, x = [], {}, "x"
    for layer in range(DEPTH):
        name = f"layer{layer}"
        arrays = {
            "weight": floats(WIDTH, WIDTH, 3, 3, seed=layer) / 4,
            "scale": floats(WIDTH, seed=layer) / 4 + 1,
            "bias": floats(WIDTH, seed=layer + 50),
            "mean": floats(WIDTH, seed=layer + 60),
            "var": np.abs(floats(WIDTH, seed=layer + 70)) + 0.5,
        }
        weights |= {f"{name}.{kind}": array for kind, array in arrays.items()}
        norm = [f"{name}.{kind}" for kind in ("scale", "bias", "mean", "var")]
        more = {"training_mode": 1} if training else {}
        statistics = [f"{name}.new_mean", f"{name}.new_var"] if training else []
        nodes += [
            helper.make_node("Conv", [x, f"{name}.weight"], [f"{name}.c"], pads=[1, 1, 1, 1]),
            helper.make_node(
                "BatchNormalization", [f"{name}.c", *norm], [f"{name}.n", *statistics], **more
            ),
            helper.make_node("Relu", [f"{name}.n"], [f"{name}.r"]),
            helper.make_node("Dropout", [f"{name}.r", "ratio"], [f"{name}.d"], **seed),
        ]
        x = f"{name}.d"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["y"]))
    shape = ("n", WIDTH, 12, 12)
    return model_of(nodes, {"x": shape}, ["y"], weights | {"ratio": np.float32(0.2)})


def trained(imported: ImportedModule) -> dict[str, np.ndarray]:
    """Gradients and running statistics after one step with seeded dropout."""
    torch.manual_seed(3)
    imported.module.train()(torch.from_numpy(X)).square().sum().backward()
    found = {}
    for name, tensor in imported.tensors.items():
        found[name] = (tensor.grad if tensor.requires_grad else tensor).detach().numpy().copy()
    return found


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation form", "training form"])
@pytest.mark.parametrize("seeded", [False, True], ids=["", "own sequences"])
def test_gradients_and_statistics_are_the_same(parts: int, training: bool, seeded: bool) -> None:
    model = tower(training=training, seeded=seeded)
    plain = import_model(model)
    kept = import_model(model).checkpointed(parts=parts)
    assert sum(isinstance(module, Part) for module in kept.module.modules()) <= parts
    if parts > 1:
        assert any(isinstance(module, Part) for module in kept.module.modules())
    for _ in range(2):
        expected, found = trained(plain), trained(kept)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation form", "training form"])
def test_what_is_overwritten_is_made_in_the_same_part(training: bool) -> None:
    kept = import_model(tower(training=training)).checkpointed(parts=100)
    parts = [module for module in kept.module.modules() if isinstance(module, Part)]
    assert any(
        node.target is torch.relu_ for part in parts for node in part.inner.graph.nodes
    )  # or nothing would be looked at
    for part in parts:
        for node in part.inner.graph.nodes:
            if node.target is torch.relu_:
                assert node.args[0].op != "placeholder"
                assert all(source.op != "placeholder" for source in node.args[0].args[:1]) or (
                    node.args[0].target is not operator.getitem
                )


def test_outputs_names_copies_and_pickles() -> None:
    model = tower()
    imported = import_model(model)
    kept = imported.checkpointed(parts=3)
    expected = run_ort(model, {"x": X})
    assert kept.weights().keys() == imported.weights().keys()
    assert kept.tensors["layer0.weight"] is imported.tensors["layer0.weight"]
    for form in (kept, copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):  # noqa: S301
        assert_same(run_imported(form, {"x": X}), expected)
        trained(form)


def test_shapes_cross_the_parts() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("Reshape", ["c", "s"], ["y"]),
    ]
    weights = {"w": floats(12, 12)}
    model = model_of(nodes, {"x": ("n", 3, 4)}, ["y"], weights)
    feeds = {"x": floats(2, 3, 4)}
    kept = import_model(model).checkpointed(parts=3)
    assert_same(run_imported(kept, feeds), run_ort(model, feeds))
    kept.module.train()(torch.from_numpy(feeds["x"])).sum().backward()
    assert kept.tensors["w"].grad is not None


def test_no_part_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="0 parts"):
        import_model(tower()).checkpointed(parts=0)


def _peak(imported: ImportedModule) -> int:
    x = torch.from_numpy(floats(8, WIDTH, 12, 12))
    with LiveMemory() as live:
        imported.module.train()(x).square().sum().backward()
    return live.peak


def test_less_is_kept() -> None:
    model = tower()
    plain, kept = _peak(import_model(model)), _peak(import_model(model).checkpointed(parts=4))
    assert kept < 0.6 * plain


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_modules_may_lie_in_others_as_in_a_network_that_was_cut(parts: int) -> None:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    module = fx.symbolic_trace(nn.Sequential(first, nn.Sequential(nn.Tanh(), nn.Linear(6, 2))))
    x = torch.randn(4, 6)
    expected = module(x)
    expected.sum().backward()
    gradients = {name: each.grad for name, each in module.named_parameters()}
    module.zero_grad()
    found = checkpointed(module, parts)(x)
    found.sum().backward()
    assert torch.equal(found, expected)
    for name, each in module.named_parameters():
        assert torch.equal(each.grad, gradients[name])
