"""Views of a module: layout and recomputation, with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from optimizer.config import TrainConfig
from optimizer.trainer.execution import Execution, is_of_images
from tests.unit.optimizer.trainer.images import CHANNELS, bound, network
from tests.unit.optimizer.trainer.networks import imported as point_network


def execution(**settings: object) -> Execution:
    return Execution(TrainConfig(target_ratio=0.5, **settings))  # type: ignore[arg-type]


def test_networks_of_convolutions_are_told_from_others(tmp_path: Path) -> None:
    assert is_of_images(bound(network(), tmp_path)[1].module)
    assert not is_of_images(point_network().module)


def test_it_is_the_work_that_counts_not_the_weights(tmp_path: Path) -> None:
    model = network()
    wide = numpy_helper.from_array(np.ones((4000, CHANNELS), np.float32), "out.weight")
    bias = numpy_helper.from_array(np.zeros(4000, np.float32), "out.bias")
    for proto in model.graph.initializer:
        if proto.name in ("out.weight", "out.bias"):
            proto.CopyFrom(wide if proto.name == "out.weight" else bias)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4000
    module = bound(model, tmp_path)[1].module
    # 32,000 products in the last layer, and 36 times 648 weights of convolutions: fewer
    assert not is_of_images(module)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 12
    assert is_of_images(bound(model, tmp_path)[1].module)


@pytest.mark.parametrize(
    ("layout", "inner"), [("auto", True), ("channels-last", True), ("plain", False)]
)
def test_images_are_laid_out_as_the_setting_says(tmp_path: Path, layout: str, inner: bool) -> None:
    imported = bound(network(), tmp_path)[1]
    execution(layout=layout).of(imported.module)
    strides = imported.tensors["two.weight"].stride()
    assert (strides[1] == 1) == inner


def test_without_a_wish_the_module_itself_runs() -> None:
    module = point_network().module
    assert execution(layout="plain").of(module) is module


def test_a_view_is_kept_while_the_tensors_are_and_follows_the_mode(tmp_path: Path) -> None:
    imported = bound(network(), tmp_path)[1]
    one = execution(checkpointing=2)
    view = one.of(imported.module)
    assert view is not imported.module
    assert one.of(imported.module) is view
    imported.module.train()
    assert one.of(imported.module).training
    imported.module.eval()
    assert not one.of(imported.module).training
    path = imported.paths["one.weight"]
    parent, _, leaf = path.rpartition(".")
    old = imported.tensors["one.weight"]
    fresh = torch.nn.Parameter(torch.zeros_like(old))
    setattr(imported.module.get_submodule(parent), leaf, fresh)
    assert one.of(imported.module) is not view
    x = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(one.of(imported.module)(x), imported.module(x))


def test_recomputing_changes_neither_values_nor_gradients(tmp_path: Path) -> None:
    found = []
    for parts in (1, 3):
        imported = bound(network(), tmp_path)[1]
        imported.module.train()
        view = execution(checkpointing=parts, layout="plain").of(imported.module)
        x = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        view(x).square().sum().backward()
        found.append([parameter.grad for parameter in imported.module.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_weights_of_five_axes_stay_as_they_are() -> None:
    root = torch.nn.Module()
    root.flat = torch.nn.Parameter(torch.ones(2, 3, 4, 4))
    root.deep = torch.nn.Parameter(torch.ones(2, 3, 4, 4, 4))
    graph = torch.fx.Graph()
    both = graph.call_function(torch.sum, (graph.get_attr("deep"),))
    graph.output(graph.call_function(torch.mul, (graph.get_attr("flat"), both)))
    module = torch.fx.GraphModule(root, graph)
    view = execution(layout="channels-last").of(module)
    assert module.flat.stride()[1] == 1
    assert module.deep.is_contiguous()
    assert torch.equal(view(), module())
