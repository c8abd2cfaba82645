"""Which initializers are trainable weights: decided by what they are used for.

"Every float initializer" would train Resize scales, Clip bounds, running statistics and masks;
"every initializer of a layer" would miss weights behind a Transpose or in a plain Add.
"""

from collections.abc import Container, Iterable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from graph_analysis.masking import MASK_DOC
from graph_analysis.settings import only_settings, operations_of
from graph_analysis.trace_graph import STATE_SLOTS
from optimizer.bridge.control_roles import (
    always_vary,
    first_states,
    is_control,
    is_decided_by,
    returned,
    sources,
)
from optimizer.bridge.narrow import INTEGERS as NARROW_INTEGERS
from optimizer.bridge.scopes import all_nodes
from optimizer.bridge.slots import MICROSOFT, MICROSOFT_SLOTS, Role
from optimizer.bridge.tables import angles, is_table, rotations

FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)
INTEGERS = frozenset({*NARROW_INTEGERS, onnx.TensorProto.INT32})  # what is quantised to
WEIGHT_SLOTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "CausalConvWithState": (1, 2),
    "DeformConv": (1, 3),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "Einsum": (0, 1, 2, 3),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1,),
    "SimplifiedLayerNormalization": (1,),
    "PRelu": (1,),
    "Gather": (0,),
    "RNN": (1, 2, 3),
    "GRU": (1, 2, 3),
    "LSTM": (1, 2, 3, 7),
}
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Sum"})
_BESIDE = _ELEMENTWISE | {"Concat"}
_MOVES = frozenset(
    {
        "Identity",
        "Cast",
        "Transpose",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Split",
        "Expand",
        "Tile",
        "Pad",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)
# What a weight may go through before it meets data, and at which inputs weights come in.
_FUNCTIONS = (
    "Abs Clip Elu Erf Exp Gather GatherElements GatherND Gelu HardSigmoid LayerNormalization "
    "LeakyRelu Log Neg Pow Reciprocal Relu Sigmoid Softmax Softplus Sqrt Tanh"
)
_THROUGH: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(_FUNCTIONS.split(), (0,)),
    **dict.fromkeys(
        ("ScatterElements", "ScatterND"), (0,)
    ),  # what is written may be region numbers
    **dict.fromkeys(("Max", "Min"), (0, 1)),
}
_SHAPES = frozenset({"Shape", "Size"})
_DRAWS = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"})
_STATISTICS: Mapping[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}
_MASKED_OUT = -1e4  # an additive mask holds this or less where nothing may be attended to
_LOW_MASK = -10.0


def trainable_initializers(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the names of the float initializers that training may change.

    1. It sits in a weight slot of a structural operator (``WEIGHT_SLOTS``, ``MICROSOFT_SLOTS``), or
    2. it is an initial state of a recurrent operator and not zero (which is the same as none).
       So is the first state of a Loop or Scan, unless it is one number throughout: that is where
       something is added up, not what was learned; or
    3. it is an operand of an elementwise operator or a Concat (a class token) beside a value that
       depends on the graph's inputs, has more than one element and is neither a mask nor a table
       (``tables``),
    4. no mask of the masked form (``graph_analysis.masking``) is, nor a table of coordinates that a
       small network turns into a bias, nor a frequency, nor a table of sines beside one of cosines;
    5. in all cases directly or through data movement, Concat, and arithmetic and functions among
       constants (weight standardisation); scalars on such a way stay constants. So it is for
       weights that a body of an If, Loop or Scan gets through a branch, a state or a scanned
       tensor.
    6. None is that only settings are made from (``graph_analysis.settings``).

    Args:
        graph: Without bodies, or the flat view (``graph_analysis.bodies``) of one that has some.
    """
    reached = [
        (proto, roles)
        for proto, roles in _reached(graph)
        if proto.data_type in FLOATS
        and proto.doc_string != MASK_DOC
        and any(_is_weight(proto, role) for role in roles)
    ]
    operands = [proto for proto, roles in reached if "operand" in roles]
    found = frozenset(proto.name for proto, _ in reached)
    return found - _tables_of_rotations(operands) - _settings_only(graph)


def _settings_only(graph: onnx.GraphProto) -> set[str]:
    constants = {proto.name for proto in graph.initializer}
    inputs = {info.name for info in graph.input} - constants
    return only_settings(operations_of(graph.node), inputs, [info.name for info in graph.output])


def _tables_of_rotations(protos: Iterable[onnx.TensorProto]) -> frozenset[str]:
    arrays = {proto.name: numpy_helper.to_array(proto) for proto in protos}
    return rotations({name: array.astype(np.float64) for name, array in arrays.items()})


def left_alone(graph: onnx.GraphProto, trained: Container[str]) -> tuple[str, ...]:
    """Return the names of float tensors that are read but not ``trained``, in the graph's order.

    Masks, tables, statistics: what could be taken for weights. Those of one element are not named,
    nor running statistics.

    Args:
        graph: As in ``trainable_initializers``.
        trained: Names of the parameters.
    """
    read = {
        name
        for node in graph.node
        for slot, name in enumerate(node.input)
        if slot not in _STATISTICS.get(node.op_type, ())
    }
    return tuple(
        proto.name
        for proto in graph.initializer
        if proto.data_type in FLOATS
        and np.prod(proto.dims, dtype=np.int64) > 1
        and proto.name in read
        and proto.name not in trained
    )


def integer_weights(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Return the names of the integer initializers that act as weights, in the graph's order.

    A DequantizeLinear makes floats of them; there is nothing to train, so they stay as they are.
    """
    return tuple(
        proto.name
        for proto, roles in _reached(graph)
        if proto.data_type in INTEGERS and "weight" in roles and np.prod(proto.dims) > 1
    )


def _reached(graph: onnx.GraphProto) -> list[tuple[onnx.TensorProto, set[Role]]]:
    """Return the initializers that operators use as weights, with the roles they play."""
    producers = {output: node for node in graph.node for output in node.output if output}
    variable = _variable_values(graph)
    floats = {proto.name: proto for proto in graph.initializer if proto.data_type in FLOATS}
    roles_of: dict[str, set[Role]] = {proto.name: set() for proto in graph.initializer}
    seen: set[str] = set()
    turning = angles(graph.node)
    pending = [
        found
        for node in graph.node
        if not turning.intersection(node.output)
        for found in _weight_operands(node, variable, floats)
    ]
    while pending:
        name, role = pending.pop()
        if name in roles_of:
            roles_of[name].add(role)
        elif name in producers and name not in variable and name not in seen:
            seen.add(name)
            node = producers[name]
            pending += _through(node, name, role) if is_control(node) else _origins(node, role)
    return [(proto, roles_of[proto.name]) for proto in graph.initializer if roles_of[proto.name]]


def _variable_values(graph: onnx.GraphProto) -> set[str]:
    """Names of all values that depend on the numbers of a graph input or are drawn at random.

    Depending on the shape of an input does not count. States of a Loop or Scan may turn out to
    depend on one at the end of the body; then it is gone through again.
    """
    constants = {proto.name for proto in graph.initializer}
    variable = {info.name for info in graph.input} - constants
    states = returned(graph.node)
    while True:
        _spread(graph.node, variable)
        late = {before for before, after in states.items() if after in variable} - variable
        if not late:
            return variable
        variable |= late


def _spread(nodes: Iterable[onnx.NodeProto], variable: set[str]) -> None:
    for node in nodes:
        if node.op_type in _DRAWS:
            variable.update(node.output)
        if node.op_type in _SHAPES:
            continue
        if is_control(node):
            decided = variable.intersection(is_decided_by(node))
            variable.update(always_vary(node))
            variable.update(
                made
                for made, names in sources(node).items()
                if made and (decided or variable.intersection(names))
            )
            continue
        inputs = set(node.input[:1] if node.op_type in _MOVES else node.input)
        for inner in all_nodes([node])[:-1]:
            inputs.update(inner.input)
        if inputs & variable:
            variable.update(node.output)


def _weight_operands(
    node: onnx.NodeProto, variable: set[str], floats: Mapping[str, onnx.TensorProto]
) -> Iterable[tuple[str, Role]]:
    yield from ((name, "start") for name in first_states(node))
    if node.op_type in WEIGHT_SLOTS and node.domain in ("", "ai.onnx"):
        slots = WEIGHT_SLOTS[node.op_type]
        if _turns_a_table(node, variable, floats):
            slots = slots[1:]
        yield from ((node.input[slot], "weight") for slot in slots if slot < len(node.input))
        states = STATE_SLOTS.get(node.op_type, ())
        yield from ((node.input[slot], "state") for slot in states if slot < len(node.input))
    elif node.domain == MICROSOFT and node.op_type in MICROSOFT_SLOTS:
        roles = MICROSOFT_SLOTS[node.op_type].items()
        yield from ((node.input[slot], role) for slot, role in roles if slot < len(node.input))
    elif node.op_type in _BESIDE and variable.intersection(node.input):
        yield from ((name, "operand") for name in node.input)


def _turns_a_table(
    node: onnx.NodeProto, variable: set[str], floats: Mapping[str, onnx.TensorProto]
) -> bool:
    """Whether a layer is applied to a constant with further axes: coordinates, not a weight."""
    if node.op_type != "MatMul" or variable.intersection(node.input):
        return False
    table = floats.get(node.input[0])
    return table is not None and len(table.dims) > 2


def _through(node: onnx.NodeProto, name: str, role: Role) -> Iterable[tuple[str, Role]]:
    return [(source, role) for source in sources(node)[name]]


def _origins(node: onnx.NodeProto, role: Role) -> Iterable[tuple[str, Role]]:
    if node.op_type == "Concat":
        return [(name, role) for name in node.input]
    if node.op_type in _MOVES:
        return [(node.input[0], role)]
    if node.op_type in _ELEMENTWISE:
        return [(name, _inner(role)) for name in node.input]
    if node.op_type in _THROUGH or node.op_type.startswith("Reduce"):
        slots = _THROUGH.get(node.op_type, (0,))
        return [(node.input[slot], _inner(role)) for slot in slots if slot < len(node.input)]
    return []


def _inner(role: Role) -> Role:
    """What the operands of a computation among constants are: no longer the weight itself."""
    return "operand" if role == "weight" else role


def _is_weight(proto: onnx.TensorProto, role: Role) -> bool:
    if role == "weight":
        return True
    if np.prod(proto.dims, dtype=np.int64) <= 1:
        return False
    array = numpy_helper.to_array(proto).astype(np.float64)
    if role == "start" and (array == array.flat[0]).all():
        return False
    if role == "state":
        return bool(array.any())
    return not _is_mask(array) and not is_table(array)


def _is_mask(array: np.ndarray) -> bool:
    """Whether an elementwise operand only says what to leave out.

    1. It holds infinities, or values no weight reaches (``_MASKED_OUT``).
    2. It is at least a matrix and takes two values: 0 and a low one, or 0 and 1.
    """
    if not np.isfinite(array).all() or array.min() <= _MASKED_OUT:
        return True
    if array.ndim < 2 or min(array.shape[-2:]) < 2:
        return False
    values = np.unique(array)
    return len(values) == 2 and 0 in values and (values[0] <= _LOW_MASK or values[1] == 1)
