"""The light models of the onnx package with weights of their own.

As they are shipped, every weight is one number that the graph spreads over a shape while it runs.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SCALE_SLOT, _VARIANCE_SLOT = 1, 4  # of BatchNormalization
_ELEMENTWISE = ("Add", "Mul", "BatchNormalization")


def with_weights(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """``model`` with an initializer drawn at random in the place of each ConstantOfShape of floats.

    Weights are scaled so that the size of what flows stays the same; scales and variances are near
    1. The argument is changed.
    """
    rng = np.random.default_rng(seed)
    graph = model.graph
    shapes = {tensor.name: tensor for tensor in graph.initializer}
    uses = {name: (node, slot) for node in graph.node for slot, name in enumerate(node.input)}
    kept, made = [], []
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape = tuple(int(n) for n in numpy_helper.to_array(shapes[node.input[0]]))
        user, slot = uses.get(node.output[0], (node, 0))
        values = rng.standard_normal(shape).astype(np.float32)
        if user.op_type == "BatchNormalization" and slot in (_SCALE_SLOT, _VARIANCE_SLOT):
            values = np.abs(1 + 0.1 * values)
        elif user.op_type == "Mul":
            values = 1 + 0.1 * values
        elif len(shape) > 1 and user.op_type not in _ELEMENTWISE:
            values *= np.sqrt(2 / np.prod(shape[1:]))
        else:
            values *= 0.1
        made.append(numpy_helper.from_array(values.astype(np.float32), node.output[0]))
        if graph.input and model.ir_version < 4:
            graph.input.append(
                helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shape)
            )
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(made)
    return model
