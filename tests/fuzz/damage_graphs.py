"""Damage that is still protobuf: graphs no exporter writes, one function per kind of damage.

Each takes the model and changes it in place. What a damage needs and a model lacks (a node with
attributes, say) makes it do nothing; the models are many enough.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Rng = np.random.Generator
GraphDamage = Callable[[onnx.ModelProto, Rng], None]

_SIZES = (0, 1, -1, -2, 2, 3, 7, 10**6, 2**31, 10**12, 2**63 - 1, -(2**63))
_TYPES = tuple(TensorProto.DataType.values())
_DOMAINS = ("com.microsoft", "ai.onnx.ml", "com.example", "ai.onnx", "\x00", "a" * 300)


def _pick(items: Sequence[Any], rng: Rng) -> Any:
    return items[int(rng.integers(len(items)))] if items else None


def _some_node(model: onnx.ModelProto, rng: Rng) -> onnx.NodeProto:
    return _pick(model.graph.node, rng) or onnx.NodeProto()


def _names(graph: onnx.GraphProto) -> list[str]:
    found = [value.name for value in (*graph.input, *graph.initializer, *graph.output)]
    return found + [name for node in graph.node for name in (*node.input, *node.output)]


def swap_inputs(model: onnx.ModelProto, rng: Rng) -> None:
    node = _some_node(model, rng)
    node.input[:] = [node.input[i] for i in rng.permutation(len(node.input))]


def rewire_input(model: onnx.ModelProto, rng: Rng) -> None:
    """Any tensor in any slot: wrong ranks, cycles, weights as data."""
    node = _some_node(model, rng)
    if node.input:
        node.input[int(rng.integers(len(node.input)))] = _pick(_names(model.graph), rng)


def misname_input(model: onnx.ModelProto, rng: Rng) -> None:
    node = _some_node(model, rng)
    if node.input:
        node.input[int(rng.integers(len(node.input)))] = _pick(["", "nowhere", "\x00", "é"], rng)


def count_of_inputs(model: onnx.ModelProto, rng: Rng) -> None:
    """All gone, one gone, or many more than the operator takes."""
    node = _some_node(model, rng)
    match int(rng.integers(4)):
        case 0:
            del node.input[:]
        case 1:
            del node.input[-1:]
        case 2:
            node.input.extend(node.input[-1:] * int(rng.choice([1, 20, 3000])))
        case 3:
            node.input.extend(["", *node.input[:1]])


def count_of_outputs(model: onnx.ModelProto, rng: Rng) -> None:
    node = _some_node(model, rng)
    match int(rng.integers(4)):
        case 0:
            del node.output[:]
        case 1:
            del node.output[-1:]
        case 2:
            node.output.extend(f"more_{i}" for i in range(int(rng.choice([1, 20, 3000]))))
        case 3 if node.output:
            node.output[0] = ""


def duplicate_output(model: onnx.ModelProto, rng: Rng) -> None:
    """Two nodes make one tensor, or a node makes a weight or its own input."""
    node = _some_node(model, rng)
    if node.output:
        node.output[0] = _pick(_names(model.graph), rng)


def delete_node(model: onnx.ModelProto, rng: Rng) -> None:
    if model.graph.node:
        del model.graph.node[int(rng.integers(len(model.graph.node)))]


def duplicate_node(model: onnx.ModelProto, rng: Rng) -> None:
    model.graph.node.append(_some_node(model, rng))


def shuffle_nodes(model: onnx.ModelProto, rng: Rng) -> None:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes[i] for i in rng.permutation(len(nodes)))


def make_cycle(model: onnx.ModelProto, rng: Rng) -> None:
    first, last = _some_node(model, rng), _pick(model.graph.node[-3:], rng)
    if last is not None and first.input and last.output:
        first.input[0] = last.output[0]


def change_operator(model: onnx.ModelProto, rng: Rng) -> None:
    """Another operator with these inputs and attributes: of this graph, standard, or none."""
    node = _some_node(model, rng)
    schemas = [schema.name for schema in onnx.defs.get_all_schemas()]
    node.op_type = _pick([_some_node(model, rng).op_type, _pick(schemas, rng), "Foo", ""], rng)


def change_domain(model: onnx.ModelProto, rng: Rng) -> None:
    _some_node(model, rng).domain = _pick(_DOMAINS, rng)


def change_opset(model: onnx.ModelProto, rng: Rng) -> None:
    match int(rng.integers(5)):
        case 0 if model.opset_import:
            model.opset_import[0].version = int(rng.choice([-1, 0, 1, 5, 6, 9, 27, 99, 2**62]))
        case 1:
            del model.opset_import[:]
        case 2:
            model.opset_import.add(domain=_pick(_DOMAINS, rng), version=int(rng.integers(0, 30)))
        case 3:
            model.opset_import.add(domain="", version=int(rng.integers(0, 30)))
        case 4:
            model.ir_version = int(rng.choice([0, 1, 3, 99, -1, 2**62]))


def change_attribute(model: onnx.ModelProto, rng: Rng) -> None:
    """Absurd values of the right type."""
    attribute = _pick(_some_node(model, rng).attribute, rng)
    if attribute is None:
        return
    value = int(_pick(_SIZES, rng))
    match attribute.type:
        case onnx.AttributeProto.INT:
            attribute.i = value
        case onnx.AttributeProto.INTS if attribute.ints:
            attribute.ints[int(rng.integers(len(attribute.ints)))] = value
        case onnx.AttributeProto.INTS:
            attribute.ints.append(value)
        case onnx.AttributeProto.FLOAT:
            attribute.f = float(_pick([float("nan"), float("inf"), 0.0, -1e38], rng))
        case onnx.AttributeProto.STRING:
            attribute.s = _pick([b"", b"\xff\xfe", b"nonsense", b"x" * 10_000], rng)
        case _:
            attribute.t.CopyFrom(_odd_tensor(attribute.t.name, rng))


def length_of_attribute(model: onnx.ModelProto, rng: Rng) -> None:
    attribute = _pick(_some_node(model, rng).attribute, rng)
    if attribute is None:
        return
    if rng.random() < 0.5:
        del attribute.ints[-1:]
        return
    attribute.ints.extend(int(v) for v in rng.integers(-2, 9, int(rng.choice([1, 5, 2000]))))


def retype_attribute(model: onnx.ModelProto, rng: Rng) -> None:
    """The same name, a value of another type, or the type field alone."""
    node = _some_node(model, rng)
    attribute = _pick(node.attribute, rng)
    if attribute is None:
        return
    if rng.random() < 0.3:
        attribute.type = _pick(onnx.AttributeProto.AttributeType.values(), rng)
        return
    value = _pick([1, 1.5, "text", [1, 2], [0.5], ["a"], _odd_tensor("t", rng)], rng)
    attribute.CopyFrom(helper.make_attribute(attribute.name, value))


def drop_attribute(model: onnx.ModelProto, rng: Rng) -> None:
    node = _some_node(model, rng)
    if node.attribute:
        del node.attribute[int(rng.integers(len(node.attribute)))]


def duplicate_attribute(model: onnx.ModelProto, rng: Rng) -> None:
    node = _some_node(model, rng)
    if node.attribute:
        node.attribute.append(_pick(node.attribute, rng))


def rename_attribute(model: onnx.ModelProto, rng: Rng) -> None:
    node = _some_node(model, rng)
    attribute = _pick(node.attribute, rng)
    if attribute is not None:
        attribute.name = _pick(["", "axis", "axes", "perm", "value", "to"], rng)
    else:
        node.attribute.append(helper.make_attribute("axis", int(_pick(_SIZES, rng))))


def _odd_tensor(name: str, rng: Rng) -> TensorProto:
    tensor = TensorProto(name=name, data_type=int(_pick(_TYPES, rng)))
    tensor.dims.extend(int(_pick(_SIZES, rng)) for _ in range(int(rng.integers(0, 4))))
    if rng.random() < 0.5:
        tensor.raw_data = rng.bytes(int(rng.integers(0, 33)))
    elif rng.random() < 0.5:
        tensor.int64_data.extend(int(_pick(_SIZES, rng)) for _ in range(int(rng.integers(0, 5))))
    return tensor


def odd_initializer(model: onnx.ModelProto, rng: Rng) -> None:
    tensor = _pick(model.graph.initializer, rng)
    if tensor is not None:
        tensor.CopyFrom(_odd_tensor(tensor.name, rng))


def dims_of_initializer(model: onnx.ModelProto, rng: Rng) -> None:
    """The dims say something else than the data holds."""
    tensor = _pick(model.graph.initializer, rng)
    if tensor is None:
        return
    match int(rng.integers(4)):
        case 0 if tensor.dims:
            tensor.dims[int(rng.integers(len(tensor.dims)))] = int(_pick(_SIZES, rng))
        case 1:
            tensor.dims.append(int(_pick(_SIZES, rng)))
        case 2:
            del tensor.dims[-1:]
        case _:
            tensor.dims[:] = tensor.dims[::-1]


def type_of_initializer(model: onnx.ModelProto, rng: Rng) -> None:
    tensor = _pick(model.graph.initializer, rng)
    if tensor is not None:
        tensor.data_type = int(_pick([*_TYPES, 99, -1], rng))


def other_shape(model: onnx.ModelProto, rng: Rng) -> None:
    """A weight that is sound in itself and does not fit its operator: other ranks and lengths."""
    tensor = _pick(model.graph.initializer, rng)
    if tensor is None:
        return
    shape = rng.integers(0, 9, int(rng.integers(0, 6)))
    tensor.CopyFrom(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), tensor.name))


def absurd_sizes(model: onnx.ModelProto, rng: Rng) -> None:
    """Sizes, bounds, pads, repeats: an integer constant holds something absurd."""
    integers = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    tensor = _pick(integers, rng)
    if tensor is None:
        return
    count = int(rng.integers(0, 6)) if rng.random() < 0.3 else int(np.prod(tensor.dims))
    values = np.array([_pick(_SIZES, rng) for _ in range(min(max(count, 0), 64))], np.int64)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def not_finite(model: onnx.ModelProto, rng: Rng) -> None:
    floats = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    tensor = _pick(floats, rng)
    if tensor is not None:
        array = np.full(tuple(tensor.dims), _pick([np.nan, np.inf, -np.inf], rng), np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def external_data(model: onnx.ModelProto, rng: Rng) -> None:
    tensor = _pick(model.graph.initializer, rng)
    if tensor is not None:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=_pick(["../../etc/passwd", "x", ""], rng))


def drop_initializer(model: onnx.ModelProto, rng: Rng) -> None:
    if model.graph.initializer:
        del model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]


def duplicate_initializer(model: onnx.ModelProto, rng: Rng) -> None:
    tensor = _pick(model.graph.initializer, rng)
    if tensor is not None:
        model.graph.initializer.append(tensor)
        model.graph.initializer[-1].name = _pick([tensor.name, *_names(model.graph), ""], rng)


def change_input(model: onnx.ModelProto, rng: Rng) -> None:
    value = _pick(model.graph.input, rng)
    if value is None:
        return
    tensor = value.type.tensor_type
    match int(rng.integers(7)):
        case 0 if tensor.shape.dim:
            _pick(tensor.shape.dim, rng).dim_value = int(_pick(_SIZES, rng))
        case 1:
            tensor.shape.dim.add().dim_value = int(_pick(_SIZES, rng))
        case 2:
            del tensor.shape.dim[-1:]
        case 3:
            tensor.ClearField("shape")
        case 4:
            tensor.elem_type = int(_pick(_TYPES, rng))
        case 5:
            value.type.sequence_type.elem_type.tensor_type.elem_type = 1
        case 6:
            value.ClearField("type")


def change_interface(model: onnx.ModelProto, rng: Rng) -> None:
    graph = model.graph
    match int(rng.integers(7)):
        case 0:
            del graph.input[-1:]
        case 1:
            del graph.output[-1:]
        case 2 if graph.output:
            graph.output[0].name = _pick([*_names(graph), "", "nowhere"], rng)
        case 3 if graph.input:
            graph.input[0].name = _pick([*_names(graph), "", "nowhere"], rng)
        case 4:
            graph.output.extend(graph.output[:1])
        case 5:
            graph.input.extend(graph.input[:1])
        case 6:
            graph.output.add().name = _pick(_names(graph), rng)


def lie_about_shapes(model: onnx.ModelProto, rng: Rng) -> None:
    """The file's own annotations of inner tensors are wrong."""
    for name in {name for node in model.graph.node for name in node.output}:
        shape = [int(_pick(_SIZES, rng)) for _ in range(int(rng.integers(0, 5)))]
        model.graph.value_info.append(
            helper.make_tensor_value_info(name, int(_pick(_TYPES, rng)), shape)
        )


def huge_maker(model: onnx.ModelProto, rng: Rng) -> None:
    """A few bytes of constants that ask for 10^12 elements, feeding some node."""
    node = _some_node(model, rng)
    if not node.input:
        return
    size = [int(v) for v in rng.choice([10**6, 10**4, 10**12, 3], int(rng.integers(1, 4)))]
    sizes = numpy_helper.from_array(np.array(size, np.int64), "huge_sizes")
    one = numpy_helper.from_array(np.ones([1] * len(size), np.float32), "huge_one")
    limits = [
        numpy_helper.from_array(np.array(v, np.int64), f"huge_{i}")
        for i, v in enumerate([0, 10**12, 1])
    ]
    model.graph.initializer.extend([sizes, one, *limits])
    op_type = _pick(["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "RandomNormal"], rng)
    inputs = {
        "ConstantOfShape": ["huge_sizes"],
        "Range": ["huge_0", "huge_1", "huge_2"],
        "RandomNormal": [],
    }
    maker = helper.make_node(op_type, inputs.get(op_type, ["huge_one", "huge_sizes"]), ["huge"])
    if op_type == "RandomNormal":
        maker.attribute.append(helper.make_attribute("shape", size))
    model.graph.node.insert(0, maker)
    node = _pick(model.graph.node[1:], rng) or node
    if node.input:
        node.input[int(rng.integers(len(node.input)))] = "huge"


def doubling_chain(model: onnx.ModelProto, rng: Rng) -> None:
    """Each Concat doubles the last: 2^40 elements from forty nodes."""
    source = _pick([v.name for v in (*model.graph.input, *model.graph.initializer)], rng)
    if not source or not model.graph.node:
        return
    axis = int(rng.integers(-2, 3))
    for step in range(40):
        name = f"doubled_{step}"
        node = helper.make_node("Concat", [source, source], [name], axis=axis)
        model.graph.node.insert(step, node)
        source = name
    last = model.graph.node[-1]
    if last.input:
        last.input[0] = source


def long_chain(model: onnx.ModelProto, rng: Rng) -> None:
    """Thousands of vertices in a row: recursion must not follow them."""
    if not model.graph.input:
        return
    source = _pick([v.name for v in (*model.graph.input, *model.graph.initializer)], rng)
    op_type = _pick(["Relu", "Identity", "Cast", "Unsqueeze", "Transpose"], rng)
    for step in range(int(rng.choice([100, 1500]))):
        node = helper.make_node(op_type, [source], [f"chain_{step}"])
        if op_type == "Cast":
            node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
        model.graph.node.insert(step, node)
        source = f"chain_{step}"
    last = model.graph.node[-1]
    if last.input:
        last.input[0] = source


def deep_bodies(model: onnx.ModelProto, rng: Rng) -> None:
    """If inside If inside If."""
    body = helper.make_graph(
        [helper.make_node("Identity", [_pick(_names(model.graph), rng) or "x"], ["deepest"])],
        "deepest",
        [],
        [helper.make_tensor_value_info("deepest", TensorProto.FLOAT, None)],
    )
    for step in range(int(rng.choice([1, 5, 30]))):
        node = helper.make_node(
            _pick(["If", "Loop", "Scan"], rng), ["condition"], [f"deep_{step}"],
            then_branch=body, else_branch=body if step < 3 else onnx.GraphProto(name="none"),
            body=body if step < 2 else onnx.GraphProto(),
        )  # fmt: skip
        output = helper.make_tensor_value_info(f"deep_{step}", TensorProto.FLOAT, None)
        body = helper.make_graph([node], f"level_{step}", [], [output])
    model.graph.node.insert(0, body.node[0])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    node = _some_node(model, rng)
    if node.input and node.op_type != "If":
        node.input[0] = body.node[0].output[0]


def functions(model: onnx.ModelProto, rng: Rng) -> None:
    """Local functions: nested, calling themselves, calling what is not there, or doubling."""
    calls = int(rng.choice([1, 2, 3]))
    depth = int(rng.choice([1, 3, 30]))
    loops = rng.random() < 0.3
    for level in range(depth):
        inner = f"F{level + 1}" if level + 1 < depth else ("F0" if loops else "Relu")
        domain = "" if inner == "Relu" else "local"
        names = ["x", *(f"y{i}" for i in range(calls))]
        nodes = [helper.make_node(inner, [a], [b], domain=domain) for a, b in pairwise(names)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        model.functions.append(
            helper.make_function("local", f"F{level}", ["x"], [names[-1]], nodes, opsets)
        )
    model.opset_import.add(domain="local", version=1)
    node = _some_node(model, rng)
    node.op_type, node.domain = "F0", "local"


def sparse_weight(model: onnx.ModelProto, rng: Rng) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(_odd_tensor(_pick(_names(model.graph), rng) or "s", rng))
    sparse.indices.CopyFrom(_odd_tensor("i", rng))
    sparse.dims.extend([int(_pick(_SIZES, rng))])


def constant_node(model: onnx.ModelProto, rng: Rng) -> None:
    """A Constant with an odd value, or none at all."""
    node = onnx.NodeProto(op_type="Constant", output=["odd_constant"])
    if rng.random() < 0.8:
        kind = _pick(["value", "value_ints", "value_float", "value_string", "sparse_value"], rng)
        value = {"value_ints": [1, 2], "value_float": 0.5, "value_string": "a"}.get(kind)
        node.attribute.append(helper.make_attribute(kind, value or _odd_tensor("c", rng)))
    if rng.random() < 0.2:
        del node.output[:]
    model.graph.node.insert(0, node)
    target = _some_node(model, rng)
    if target.input:
        target.input[int(rng.integers(len(target.input)))] = "odd_constant"


def long_names(model: onnx.ModelProto, rng: Rng) -> None:
    """Node names that are equal, empty, or very long."""
    name = _pick(["same", "", "n" * 100_000], rng)
    for node in model.graph.node:
        node.name = name


GRAPH_DAMAGE: tuple[GraphDamage, ...] = (
    swap_inputs, rewire_input, misname_input, count_of_inputs, count_of_outputs, duplicate_output,
    delete_node, duplicate_node, shuffle_nodes, make_cycle, change_operator, change_domain,
    change_opset, change_attribute, length_of_attribute, retype_attribute, drop_attribute,
    duplicate_attribute, rename_attribute, odd_initializer, dims_of_initializer,
    type_of_initializer, other_shape, absurd_sizes, not_finite, external_data, drop_initializer,
    duplicate_initializer, change_input, change_interface, lie_about_shapes, huge_maker,
    doubling_chain, long_chain, deep_bodies, functions, sparse_weight, constant_node, long_names,
)  # fmt: skip
