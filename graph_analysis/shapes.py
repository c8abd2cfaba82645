"""Concrete shapes and shape-like constants of every tensor, with the free axes bound.

Node by node: the onnx package's own shape inference with the known constants as data, and its
reference evaluator for shape arithmetic. Two bindings tell which axes are free.
"""

import warnings
from collections.abc import Mapping
from math import inf, nan, prod

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from graph_analysis.bodies import CONTROL
from graph_analysis.control_shapes import infer_control
from graph_analysis.errors import ModelError
from graph_analysis.fused_shapes import STANDARD, fused_shapes
from graph_analysis.known_shapes import Array, Shapes

_LONGEST = 1 << 20  # positions of a computed axis; what is longer is not followed
_LARGEST_FOLDED = 1 << 20  # elements
_SMALL = 4096  # elements; larger integers are data, not shape arithmetic
# operators that onnx defines by a function body, which its per-node inference does not enter
_SAME_SHAPE = frozenset(
    {
        "Celu",
        "Gelu",
        "GroupNormalization",
        "HardSwish",
        "Mish",
        "RMSNormalization",
        "Swish",
    }
)
# what ONNX Runtime's optimisers write into the standard domain, whatever the opset
_ALSO_FUSED = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
# operators on stored integers -> input whose element type the result has
_TYPED_BY = {"DequantizeLinear": 1, "QGemm": 0, "QLinearConcat": 2, "QuantizeLinear": 2}
# whose results are no larger than their operands, or than two of them multiplied: shape arithmetic
_BOUNDED = frozenset(
    {
        "Add", "And", "Cast", "CastLike", "Ceil", "Concat", "Div", "Equal", "Floor", "Gather",
        "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul",
        "Neg", "NonZero", "Not", "Or", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
        "Reshape", "ScatterElements", "ScatterND", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose",
        "Trilu", "Unsqueeze", "Where",
    }
)  # fmt: skip
_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def infer_shapes(
    model: onnx.ModelProto, *, scale: int, given: Mapping[str, tuple[int, ...]]
) -> Shapes:
    """Shapes of all tensors with free axes bound; ``scale`` (1, 2) multiplies the default binding.

    The first axis binds to 1, others to 64 in images (rank 4 and more) and 16 elsewhere, unless
    ``given`` names a shape for the input; its first axis is scaled too when it is free.

    Raises:
        ModelError: ``given`` names an unknown input or does not fit it.
    """
    shapes = Shapes()
    names = {tensor.name for tensor in model.graph.initializer}
    check_given(model, given)
    for tensor in model.graph.initializer:
        shapes.shape[tensor.name] = tuple(tensor.dims)
        shapes.dtype[tensor.name] = tensor.data_type
        if np.prod(tensor.dims) <= _SMALL:
            shapes.constant[tensor.name] = numpy_helper.to_array(tensor)
    for value in model.graph.input:
        if value.name not in names and value.type.HasField("tensor_type"):
            shapes.shape[value.name] = _bind(value, scale, given.get(value.name))
            shapes.dtype[value.name] = value.type.tensor_type.elem_type
    versions = {o.domain: o.version for o in model.opset_import}
    for node in model.graph.node:
        if node.domain == CONTROL:
            infer_control(node, shapes, scale)
        else:
            _infer_node(node, shapes, versions, model)
    return shapes


def check_given(model: onnx.ModelProto, given: Mapping[str, tuple[int, ...]]) -> None:
    """Check the shapes that a user gave against the inputs of the model.

    Raises:
        ModelError: ``given`` names an unknown input or does not fit it.
    """
    inputs = {value.name: value for value in model.graph.input}
    unknown = sorted(set(given) - set(inputs))
    if unknown:
        message = f"no input is called {unknown[0]!r}; check --input-shape"
        raise ModelError(message, code="invalid-request", param=unknown[0])
    for name, shape in given.items():
        if inputs[name].type.tensor_type.HasField("shape"):
            _check_fits(inputs[name], shape)


def _check_fits(value: onnx.ValueInfoProto, given: tuple[int, ...]) -> None:
    dims = value.type.tensor_type.shape.dim
    if len(given) != len(dims):
        message = f"input {value.name!r} has {len(dims)} axes, --input-shape gives {len(given)}"
        raise ModelError(message, code="input-shape-required", param=value.name)
    fixed = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
    if any(a not in (0, b) for a, b in zip(fixed, given, strict=True)):
        message = f"input {value.name!r} is {fixed} (0: free), --input-shape gives {list(given)}"
        raise ModelError(message, code="input-shape-required", param=value.name)


def _bind(value: onnx.ValueInfoProto, scale: int, given: tuple[int, ...] | None) -> tuple[int, ...]:
    dims = value.type.tensor_type.shape.dim
    bound = []
    for axis, dim in enumerate(dims):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            bound.append(dim.dim_value)
        elif given is not None:
            bound.append(given[axis] * (scale if axis == 0 else 1))
        else:
            bound.append(scale * (1 if axis == 0 else 64 if len(dims) >= 4 else 16))
    return tuple(bound)


def _infer_node(
    node: onnx.NodeProto, shapes: Shapes, versions: Mapping[str, int], model: onnx.ModelProto
) -> None:
    if node.op_type == "Shape" and not node.domain and node.input[0] in shapes.shape:
        bounds = {a.name: a.i for a in node.attribute}
        value = np.asarray(shapes.shape[node.input[0]], np.int64)
        _set_constant(node.output[0], value[bounds.get("start", 0) : bounds.get("end")], shapes)
        return
    inputs = [name for name in node.input if name]
    constant = bool(inputs) and all(name in shapes.constant for name in inputs)
    if constant and _is_small(node, shapes, versions, model) and _fold(node, shapes, model):
        return
    found = _inferred(node, shapes, versions, model)
    for name, kind in found.items():
        if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
            continue
        dims = kind.tensor_type.shape.dim
        if all(dim.HasField("dim_value") and 0 <= dim.dim_value <= _LONGEST for dim in dims):
            shapes.shape[name] = tuple(dim.dim_value for dim in dims)
            shapes.dtype[name] = kind.tensor_type.elem_type
    if not found and (node.domain or node.op_type in _ALSO_FUSED):
        _infer_fused(node, shapes, versions, model)
    unknown = bool(node.output[0]) and node.output[0] not in shapes.shape
    if unknown and node.op_type in _SAME_SHAPE and inputs and inputs[0] in shapes.shape:
        shapes.shape[node.output[0]] = shapes.shape[inputs[0]]
        shapes.dtype[node.output[0]] = shapes.dtype[inputs[0]]


def _inferred(
    node: onnx.NodeProto, shapes: Shapes, versions: Mapping[str, int], model: onnx.ModelProto
) -> dict[str, onnx.TypeProto]:
    """Types of the outputs as the onnx package infers them; empty if it does not."""
    inputs = [name for name in node.input if name]
    try:
        schema = onnx.defs.get_schema(
            node.op_type, versions.get(node.domain, versions.get("", 1)), node.domain
        )
        types = {
            name: onnx.helper.make_tensor_type_proto(shapes.dtype[name], shapes.shape[name])
            for name in inputs
        }
        data = {
            name: numpy_helper.from_array(np.ascontiguousarray(shapes.constant[name]), name)
            for name in inputs
            if name in shapes.constant
        }
        found: dict[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=list(model.opset_import)
        )
    except Exception:  # noqa: BLE001  native inference raises many types; unknown is an answer
        return {}
    return found


def _is_small(
    node: onnx.NodeProto, shapes: Shapes, versions: Mapping[str, int], model: onnx.ModelProto
) -> bool:
    """Whether a node with constant operands has a result that may be computed.

    A few bytes of sizes can ask for terabytes.
    """
    if node.op_type == "Dropout":
        return False
    if node.op_type in _BOUNDED:
        return True
    if node.op_type == "Range":  # inference knows its length for some element types only
        return _range_length(*(shapes.constant[name] for name in node.input[:3])) <= _SMALL
    return _is_foldable(_inferred(node, shapes, versions, model))


def _range_length(start: Array, limit: Array, delta: Array) -> float:
    numbers = [
        float(value.ravel()[0]) if value.size == 1 else nan for value in (start, limit, delta)
    ]
    return abs(numbers[1] - numbers[0]) / abs(numbers[2]) if numbers[2] else inf


def _is_foldable(found: Mapping[str, onnx.TypeProto]) -> bool:
    """Whether the results are small: a few bytes of sizes can ask for terabytes."""
    if not found:
        return False
    for kind in found.values():
        dims = kind.tensor_type.shape.dim
        lengths = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
        if not kind.tensor_type.HasField("shape") or any(n < 0 for n in lengths):
            return False
        if prod(lengths) > _LARGEST_FOLDED:
            return False
    return True


def _infer_fused(
    node: onnx.NodeProto, shapes: Shapes, versions: Mapping[str, int], model: onnx.ModelProto
) -> None:
    """Operators that onnx has no definition of: as a standard one, or by a formula."""
    if node.op_type in STANDARD:
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        plain.op_type, most = STANDARD[node.op_type]
        plain.domain = ""
        del plain.input[most:]
        known = {a.name for a in onnx.defs.get_schema(plain.op_type).attributes.values()}
        kept = [attribute for attribute in node.attribute if attribute.name in known]
        del plain.attribute[:]
        plain.attribute.extend(kept)
        _infer_node(plain, shapes, versions, model)
        return
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    inputs = [shapes.shape.get(name) if name else None for name in node.input]
    floats = [n for n in node.input if shapes.dtype.get(n) not in (None, *_INTEGERS)]
    if node.op_type in _TYPED_BY or node.op_type.startswith("QLinear"):
        slot = _TYPED_BY.get(node.op_type, 0)
        floats = list(node.input[slot : slot + 1])
    if node.op_type == "QGemm" and len(node.input) < 8:  # no scale of its own: back to floats
        floats = list(node.input[1:2])
    for name, shape in zip(
        node.output, fused_shapes(node.op_type, inputs, attributes), strict=False
    ):
        if name and floats:
            shapes.shape[name] = shape
            shapes.dtype[name] = shapes.dtype[floats[0]]


def _fold(node: onnx.NodeProto, shapes: Shapes, model: onnx.ModelProto) -> bool:
    if any(a.type in (onnx.AttributeProto.GRAPH,) for a in node.attribute):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            versions = {o.domain: o.version for o in model.opset_import}
            results = ReferenceEvaluator(node, opsets=versions).run(
                None, {name: shapes.constant[name] for name in node.input if name}
            )
    except Exception:  # noqa: BLE001  an operator the evaluator lacks is simply not folded
        return False
    for name, value in zip(node.output, results, strict=False):
        value = np.asarray(value)
        if value.size > _LARGEST_FOLDED:
            return False
        if name:
            _set_constant(name, value, shapes)
    return True


def _set_constant(name: str, value: Array, shapes: Shapes) -> None:
    if max(value.shape, default=0) > _LONGEST:  # of an empty array: nothing to hold, much to label
        return
    shapes.shape[name] = value.shape
    shapes.dtype[name] = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    if value.size <= _SMALL:
        shapes.constant[name] = value
