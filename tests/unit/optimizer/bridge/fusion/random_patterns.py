"""Random graphs of what exporters split, nearly right more often than right.

Constants of more axes than their neighbour, numbers a little off, other axes, operands in either
order, and intermediate results that are outputs too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LENGTH = 5
Made = tuple[str, list[str]]  # the result, and what lies inside


@dataclass
class Maker:
    """A graph in the making, in double precision so that rounding hides nothing."""

    rng: np.random.Generator
    width: int
    axes: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def op(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], **attributes))
        return name

    def swapped(self, op_type: str, left: str, right: str) -> str:
        return self.op(op_type, *((left, right) if self.rng.random() < 0.5 else (right, left)))

    def keep(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        return name

    def number(self, value: float) -> str:
        """Mostly ``value``; mostly without axes."""
        factor = self.rng.choice([1, 1, 1, 1, 1, 1.001, 2, -1])
        axes = self.rng.choice([0, 0, 0, 1, 1, 2, 3, 4])
        return self.keep(np.full((1,) * axes, value * factor))

    def weight(self, *shapes: tuple[int, ...]) -> str:
        return self.keep(self.rng.standard_normal(shapes[self.rng.integers(len(shapes))]))


def gelu(make: Maker, x: str) -> Made:
    argument = make.op("Div", x, make.number(2**0.5))
    inner = make.op("Erf", argument)
    total = make.swapped("Add", inner, make.number(1))
    if make.rng.random() < 0.5:
        product = make.swapped("Mul", x, total)
        return make.swapped("Mul", product, make.number(0.5)), [inner, product]
    half = make.swapped("Mul", x, make.number(0.5))
    return make.swapped("Mul", half, total), [total, half]


def bent_gelu(make: Maker, x: str) -> Made:
    cube = make.op("Pow", x, make.number(3)) if make.rng.random() < 0.5 else None
    cube = cube or make.swapped("Mul", make.op("Mul", x, x), x)
    total = make.swapped("Add", x, make.swapped("Mul", cube, make.number(0.044715)))
    inner = make.op("Tanh", make.swapped("Mul", total, make.number((2 / np.pi) ** 0.5)))
    shifted = make.swapped("Add", inner, make.number(1))
    half = make.swapped("Mul", x, make.number(0.5))
    return make.swapped("Mul", half, shifted), [cube, inner, half]


def norm(make: Maker, x: str, *, centred: bool = True) -> Made:
    axis, other = make.rng.choice([-1, -1, -1, -2]), make.rng.choice([-1, -1, -1, 1])
    y = make.op("Sub", x, make.op("ReduceMean", x, axes=[axis], keepdims=1)) if centred else x
    square = make.op("Mul", y, y) if make.rng.random() < 0.5 else make.op("Pow", y, make.number(2))
    average = make.op("ReduceMean", square, axes=[other], keepdims=1)
    epsilon = make.keep(np.full((1,) * make.rng.choice([0, 0, 1, 4]), 1e-5))
    root = make.op("Sqrt", make.swapped("Add", average, epsilon))
    form = make.rng.integers(3)
    if form == 0:
        result = make.op("Div", y, root)
    elif form == 1:
        result = make.swapped("Mul", y, make.op("Reciprocal", root))
    else:
        result = make.swapped("Mul", y, make.op("Div", make.number(1), root))
    inside = [square, average, root, result]
    shapes = ((make.width,), (make.width,), (1, make.width), (1,), (1, 1, 1, make.width))
    if make.rng.random() < 0.8:
        result = make.swapped("Mul", result, make.weight(*shapes))
    if make.rng.random() < 0.8:
        inside.append(result)
        result = make.swapped("Add", result, make.weight(*shapes))
    return result, inside


def root_mean_square(make: Maker, x: str) -> Made:
    return norm(make, x, centred=False)


def gate(make: Maker, x: str) -> Made:
    inner = make.op("Sigmoid", x if make.rng.random() < 0.7 else make.op("Mul", x, make.number(1)))
    return make.swapped("Mul", x, inner), [inner]


def linear(make: Maker, x: str) -> Made:
    product = make.op("MatMul", x, make.weight((make.width, make.width)))
    shapes = ((make.width,), (make.width,), (1, make.width), (1,), (1, 1, 1, make.width))
    return make.swapped("Add", product, make.weight(*shapes)), [product]


def attention(make: Maker, x: str) -> Made:
    square = (make.width, make.width)
    query, key, value = (make.op("MatMul", x, make.weight(square)) for _ in range(3))
    order = [*range(make.axes - 2), make.axes - 1, make.axes - 2]
    scores = make.op("MatMul", query, make.op("Transpose", key, perm=order))
    inside = [scores]
    if make.rng.random() < 0.7:
        scores = make.op("Div", scores, make.number(2))
    if make.rng.random() < 0.5:
        shapes = [(LENGTH, LENGTH), (1, LENGTH, LENGTH), (1, 1, LENGTH, LENGTH), (LENGTH,)]
        scores = make.swapped("Add", scores, make.weight(*shapes))
    weights = make.op("Softmax", scores, axis=int(make.rng.choice([-1, -1, -1, -2])))
    return make.op("MatMul", weights, value), [*inside, weights]


def turned_twice(make: Maker, x: str) -> Made:
    order = [*range(make.axes - 2), make.axes - 1, make.axes - 2]
    turned = make.op("Transpose", x, perm=order)
    return make.op("Transpose", turned, perm=order), [turned]


PATTERNS: tuple[Callable[[Maker, str], Made], ...] = (
    gelu,
    bent_gelu,
    norm,
    root_mean_square,
    gate,
    linear,
    attention,
    turned_twice,
)


def random_network(seed: int) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """A network of one to three patterns that fit together, and the shape of a sample."""
    rng = np.random.default_rng(seed)
    while True:
        model, shape = _network(rng)
        if _fits(model):
            return model, shape


def _fits(model: onnx.ModelProto) -> bool:
    """Whether no number gave a result more axes than the next pattern takes."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        return False
    graph = inferred.graph
    axes = {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.input, *graph.value_info)}
    turned = [node for node in graph.node if node.op_type == "Transpose"]
    return all(axes.get(node.input[0]) == len(node.attribute[0].ints) for node in turned)


def _network(rng: np.random.Generator) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    make = Maker(rng=rng, width=int(rng.choice([4, 8])), axes=int(rng.choice([3, 3, 4])))
    x, outputs = "x", []
    for _ in range(rng.integers(1, 4)):
        before = x
        x, inside = PATTERNS[rng.integers(len(PATTERNS))](make, x)
        if rng.random() < 0.25:
            outputs.append(inside[rng.integers(len(inside))])
        if rng.random() < 0.2:
            x = make.op("Add", x, before)
    outputs = list(dict.fromkeys([*outputs, x]))
    shape = (LENGTH, make.width) if make.axes == 3 else (3, LENGTH, make.width)
    graph = helper.make_graph(
        make.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in make.weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), shape
