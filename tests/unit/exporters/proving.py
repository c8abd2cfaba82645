"""Cut, mask and prove in one call, and short readers of what came out."""

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from tests.unit.exporters.graphs import FakeAnalysis


def cut_and_prove(analysis: FakeAnalysis) -> onnx.ModelProto:
    """The cut model, after its proof against the masked one."""
    masked = mask(analysis, analysis.solution)
    cut = shrink(analysis, analysis.solution)
    prove(masked, cut, original=analysis.loaded.model)
    return cut


def values(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def attributes(model: onnx.ModelProto, name: str) -> dict[str, Any]:
    """Attributes of the node called ``name``."""
    node = next(node for node in model.graph.node if node.name == name)
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def inputs(model: onnx.ModelProto, name: str) -> list[str]:
    """Inputs of the node called ``name``."""
    return list(next(node for node in model.graph.node if node.name == name).input)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
