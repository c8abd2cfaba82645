"""A network of the zoo as an ONNX file whose graph is the one that was written.

Exported in training form, so that nothing is folded and no two weights are merged because they
begin with equal values; then every normalisation is put back into the form for inference, which is
what users send.
"""

import copy
import io
import warnings

import onnx
import torch
from onnx import numpy_helper
from torch import nn

OPSET = 17
_STATISTICS = ("running_mean", "running_var")


def exported(network: nn.Module, image: tuple[int, int, int], *, seed: int = 0) -> onnx.ModelProto:
    """The file of ``network`` for images (C, H, W), batch free; the network stays as it is.

    ``seed`` draws the image that the graph is traced with.
    """
    buffer = io.BytesIO()
    example = torch.randn(2, *image, generator=torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about itself
        torch.onnx.export(
            copy.deepcopy(network).train(),
            (example,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes={"images": {0: "n"}, "scores": {0: "n"}},
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    _for_inference(model)
    _restore_statistics(model, network)
    onnx.checker.check_model(model, full_check=True)
    return model


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every normalisation away from the identity, so that errors show."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in network.modules():
            if not isinstance(part, nn.BatchNorm2d):
                continue
            if part.affine:
                part.weight.uniform_(0.5, 1.5, generator=drawn)
                part.bias.uniform_(-0.3, 0.3, generator=drawn)
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.uniform_(-0.2, 0.2, generator=drawn)
            part.running_var.uniform_(0.5, 1.5, generator=drawn)
    return network


def _for_inference(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            kept = [a for a in node.attribute if a.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _restore_statistics(model: onnx.ModelProto, network: nn.Module) -> None:
    """Tracing in training form has moved them towards the example's."""
    state = network.state_dict()
    for tensor in model.graph.initializer:
        if tensor.name.endswith(_STATISTICS):
            array = state[tensor.name].cpu().numpy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
