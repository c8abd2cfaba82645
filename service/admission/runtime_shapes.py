"""The budget on inner tensors for models with ONNX Runtime's own operators.

The onnx package infers nothing behind an operator it has no definition of, so their sizes come from
the analysis, which knows these operators. Free axes are bound there: the first one to 1.
"""

import math
from collections.abc import Iterator

import onnx

from graph_analysis.shapes import infer_shapes
from service.admission.rules.context import all_places, plain_domain
from service.admission.rules.runtime_operators import MICROSOFT, RUNTIME_OPERATORS
from service.admission.rules.tensors import ELEMENT_BYTES


def has_runtime_operators(model: onnx.ModelProto) -> bool:
    """Whether the onnx package lacks the definition of a node, and the runtime has one."""
    return any(True for _ in _runtime_nodes(model))


def sizes_of_tensors(model: onnx.ModelProto) -> dict[str, int]:
    """Bytes of every tensor whose shape can be told, for one sample."""
    shapes = infer_shapes(model, scale=1, given={})
    stored = {tensor.name for tensor in model.graph.initializer}
    return {
        name: math.prod(shape) * ELEMENT_BYTES.get(shapes.dtype.get(name, 0), 0)
        for name, shape in shapes.shape.items()
        if name not in stored
    }


def with_own_domain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move the runtime's operators out of the default domain, where the checker refuses them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    moved = [node for node in _runtime_nodes(copy) if plain_domain(node.domain) == ""]
    for node in moved:
        node.domain = MICROSOFT
    if moved and all(entry.domain != MICROSOFT for entry in copy.opset_import):
        copy.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    return copy


def _runtime_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for place in all_places(model):
        for node in place.nodes:
            domain = plain_domain(node.domain)
            known = (domain, node.op_type) in RUNTIME_OPERATORS
            if known and (domain or not _is_defined(node.op_type, place.opsets.get("", 1))):
                yield node


def _is_defined(op_type: str, version: int) -> bool:
    try:
        onnx.defs.get_schema(op_type, version)
    except onnx.defs.SchemaError:
        return False
    return True
