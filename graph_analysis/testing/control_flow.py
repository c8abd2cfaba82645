"""Networks with If, Loop and Scan: weights inside bodies, outside, and on both sides."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper

from graph_analysis.testing.builder import BATCH, GraphBuilder, Shape


class BodyBuilder(GraphBuilder):
    """Writes one body; ``prefix`` is put before the names of all it makes."""

    def __init__(self, prefix: str, *, seed: int) -> None:
        super().__init__(prefix, seed=seed)
        self._prefix = prefix

    def nodes(
        self, op_type: str, *inputs: str, outputs: int, **attributes: object
    ) -> tuple[str, ...]:
        """Add a node with several outputs; returns their names."""
        own = super().nodes(op_type, *inputs, outputs=outputs, **attributes)
        node = self._nodes[-1]
        node.name = f"{self._prefix}_{node.name}"
        node.output[:] = [f"{self._prefix}_{name}" for name in own]
        return tuple(node.output)

    def result(
        self, tensor: str, *, dtype: int = TensorProto.FLOAT, shape: Shape | None = None
    ) -> None:
        """Declare an output of the body; a runtime may ask for the shapes of a Scan's."""
        self._outputs.append(helper.make_tensor_value_info(tensor, dtype, shape))

    def take(self, name: str, *, dtype: int = TensorProto.FLOAT) -> str:
        """Declare an input of the body: a tensor of numbers, or else one integer or boolean."""
        shape = None if dtype == TensorProto.FLOAT else ()
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def graph(self) -> onnx.GraphProto:
        """The body."""
        return helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._initializers
        )

    def _initializer(self, array: np.ndarray, name: str) -> str:
        return super()._initializer(array, f"{self._prefix}_{name}")


def _is_positive(graph: GraphBuilder, x: str) -> str:
    """Whether the sum over a tensor is above 0: a condition that depends on the data."""
    return graph.node("Greater", graph.node("ReduceSum", x, keepdims=0), graph.constant(0.0))


def _starts_positive(graph: GraphBuilder, x: str) -> str:
    """Whether the sum over the first row of pixels is above 0."""
    return _is_positive(graph, graph.node("Gather", x, graph.constant(0), axis=2))


def _if(graph: GraphBuilder, condition: str, then: onnx.GraphProto, other: onnx.GraphProto) -> str:
    return graph.node("If", condition, then_branch=then, else_branch=other)


def _branch(
    prefix: str, x: str, widths: Sequence[int], *, seed: int, add: str = ""
) -> onnx.GraphProto:
    """Convolutions of given widths with ReLUs between them, and perhaps a captured tensor added."""
    body = BodyBuilder(prefix, seed=seed)
    for place, (one, other) in enumerate(pairwise(widths)):
        x = body.conv(body.relu(x) if place else x, one, other)
    body.result(body.node("Add", x, add) if add else x)
    return body.graph()


def _stem(name: str, *, width: int = 16) -> tuple[GraphBuilder, str, str]:
    """An image, a condition on it, and a first convolution of it."""
    graph = GraphBuilder(name)
    image = graph.input((BATCH, 3, 8, 8))
    return graph, _is_positive(graph, image), graph.relu(graph.conv(image, 3, width))


def if_captures_trunk() -> onnx.ModelProto:
    """Both branches capture the trunk, which the main path goes on with as well."""
    graph, condition, trunk = _stem("if_captures_trunk")
    chosen = _if(
        graph,
        condition,
        _branch("then", trunk, (16, 16), seed=1),
        _branch("else", trunk, (16, 24, 16), seed=2, add=trunk),
    )
    graph.classify(graph.node("Add", chosen, trunk), 16)
    return graph.build()


def if_conv_chains() -> onnx.ModelProto:
    """A chain of convolutions in each branch; equal names in both; an output each of width 12."""
    graph, condition, trunk = _stem("if_conv_chains")
    chosen = _if(
        graph,
        condition,
        _branch("body", trunk, (16, 20, 24, 12), seed=1),
        _branch("body", trunk, (16, 28, 12), seed=2),
    )
    graph.classify(graph.relu(chosen), 12)
    return graph.build()


def if_shares_outer_weights() -> onnx.ModelProto:
    """A branch convolves with weights that the main path uses too; the other passes on."""
    graph, condition, trunk = _stem("if_shares_outer_weights")
    kernel = graph.weight(16, 16, 3, 3, scale=144**-0.5)
    once = graph.relu(graph.node("Conv", trunk, kernel, kernel_shape=[3, 3], pads=[1] * 4))
    then, other = BodyBuilder("then", seed=1), BodyBuilder("else", seed=2)
    then.result(then.node("Conv", once, kernel, kernel_shape=[3, 3], pads=[1] * 4))
    other.result(other.node("Identity", once))
    graph.classify(_if(graph, condition, then.graph(), other.graph()), 16)
    return graph.build()


def if_nested() -> onnx.ModelProto:
    """An If in a branch of an If; the inner one captures a tensor of the outer branch."""
    graph, condition, trunk = _stem("if_nested")
    then = BodyBuilder("then", seed=1)
    wide = then.relu(then.conv(trunk, 16, 24))
    inner = _if(
        then,
        _starts_positive(then, "x"),
        _branch("inner", wide, (24, 20, 12), seed=3),
        _branch("inner", wide, (24, 12), seed=4),
    )
    then.result(then.relu(inner))
    chosen = _if(graph, condition, then.graph(), _branch("else", trunk, (16, 12), seed=2))
    graph.classify(chosen, 12)
    return graph.build()


def if_views_and_constants() -> onnx.ModelProto:
    """A branch with Constant nodes: a view of 4 heads of 6, and a bias; another without."""
    graph = GraphBuilder("if_views_and_constants")
    x = graph.input((BATCH, 10, 12))
    condition = _is_positive(graph, x)
    tokens = graph.linear(x, 12, 24)
    then, other = BodyBuilder("then", seed=1), BodyBuilder("else", seed=2)
    shape = then.node("Constant", value_ints=[0, 10, 4, 6])
    split = then.transpose(then.node("Reshape", tokens, shape), (0, 2, 1, 3))
    joined = then.reshape(then.transpose(then.node("Relu", split), (0, 2, 1, 3)), (0, 10, 24))
    values = np.random.default_rng(3).normal(size=24).astype(np.float32)
    bias = then.node("Constant", value=onnx.numpy_helper.from_array(values))
    then.result(then.linear(then.node("Add", joined, bias), 24, 20))
    other.result(other.linear(tokens, 24, 20))
    chosen = graph.node("Tanh", _if(graph, condition, then.graph(), other.graph()))
    graph.output(graph.linear(chosen, 20, 5), (BATCH, 10, 5))
    return graph.build()


def if_different_shapes() -> onnx.ModelProto:
    """The branches give 16 and 12 channels, of which the mean is taken: 16 stay, 24 may go."""
    graph, condition, trunk = _stem("if_different_shapes")
    chosen = _if(
        graph,
        condition,
        _branch("then", trunk, (16, 24, 16), seed=1),
        _branch("else", trunk, (16, 12), seed=2),
    )
    graph.output(graph.node("ReduceMean", chosen, axes=[1], keepdims=1), (BATCH, 1, 8, 8))
    return graph.build()


def _loop(
    graph: GraphBuilder, count: str, states: Sequence[str], body: BodyBuilder, *, outputs: int
) -> tuple[str, ...]:
    made = graph.nodes("Loop", count, "", *states, outputs=outputs, body=body.graph())
    return tuple(made)


def _counting(body: BodyBuilder) -> None:
    """Inputs that every body of a Loop has, and the condition that it hands back."""
    body.take("step", dtype=TensorProto.INT64)
    body.take("goes_on", dtype=TensorProto.BOOL)
    body.result(body.node("Identity", "goes_on"), dtype=TensorProto.BOOL)


def loop_hidden_state() -> onnx.ModelProto:
    """A hidden state of 24 goes round 4 times, through a captured matrix and own ones."""
    graph = GraphBuilder("loop_hidden_state")
    x = graph.relu(graph.linear(graph.input((BATCH, 12)), 12, 24))
    matrix = graph.weight(24, 24, scale=24**-0.5)
    body = BodyBuilder("body", seed=1)
    _counting(body)
    state = body.take("state")
    turned = body.node("Add", body.node("MatMul", state, matrix), x)
    inner = body.relu(body.linear(body.node("Tanh", turned), 24, 32))
    body.result(body.node("Tanh", body.linear(inner, 32, 24)))
    (last,) = _loop(graph, graph.constant(4), [x], body, outputs=1)
    graph.output(graph.linear(last, 24, 5), (BATCH, 5))
    return graph.build()


def loop_stacks() -> onnx.ModelProto:
    """A Loop that hands out its hidden state, and what it makes of it in each of 3 iterations."""
    graph = GraphBuilder("loop_stacks")
    x = graph.linear(graph.input((BATCH, 12)), 12, 24)
    body = BodyBuilder("body", seed=1)
    _counting(body)
    state = body.node("Tanh", body.linear(body.take("state"), 24, 24))
    body.result(state)
    body.result(body.relu(body.linear(state, 24, 20)))
    last, stacked = _loop(graph, graph.constant(3), [x], body, outputs=2)
    graph.output(graph.linear(last, 24, 5), (BATCH, 5))
    graph.output(graph.transpose(graph.linear(stacked, 20, 4), (1, 0, 2)), (BATCH, 3, 4))
    return graph.build()


def loop_growing_state() -> onnx.ModelProto:
    """A state that gets longer in every iteration: its 24 channels stay, 16 before it may go."""
    graph = GraphBuilder("loop_growing_state")
    hidden = graph.relu(graph.linear(graph.input((BATCH, 5, 12)), 12, 16))
    x = graph.linear(hidden, 16, 24)
    body = BodyBuilder("body", seed=1)
    _counting(body)
    state = body.take("state")
    body.result(body.node("Concat", state, body.node("Tanh", x), axis=1))
    (last,) = _loop(graph, graph.constant(3), [x], body, outputs=1)
    pooled = graph.node("ReduceMean", last, axes=[1], keepdims=0)
    shaped = graph.reshape(pooled, (-1, 24))
    hidden = graph.relu(graph.linear(shaped, 24, 16))
    graph.output(graph.linear(hidden, 16, 5), (BATCH, 5))
    return graph.build()


def scan_rnn() -> onnx.ModelProto:
    """An RNN cell written out, by Scan over 6 time steps; last state and all steps are read."""
    graph = GraphBuilder("scan_rnn")
    x = graph.transpose(graph.linear(graph.input((BATCH, 6, 12)), 12, 20), (1, 0, 2))
    size = graph.node(
        "Concat", graph.node("Shape", "x", start=0, end=1), graph.constant([24]), axis=0
    )
    first = graph.node("Expand", graph.weight(24, name="first"), size)
    matrix = graph.weight(24, 24, scale=24**-0.5)
    body = BodyBuilder("cell", seed=1)
    state, step = body.take("state"), body.take("slice")
    turned = body.node("Add", body.linear(step, 20, 24), body.node("MatMul", state, matrix))
    state = body.node("Sigmoid", turned)
    body.result(state)
    body.result(body.node("Relu", body.linear(state, 24, 16)))
    last, steps = graph.nodes("Scan", first, x, outputs=2, num_scan_inputs=1, body=body.graph())
    graph.output(graph.linear(last, 24, 5), (BATCH, 5))
    graph.output(graph.transpose(graph.linear(steps, 16, 4), (1, 0, 2)), (BATCH, 6, 4))
    return graph.build()


def scan_batch_first() -> onnx.ModelProto:
    """A Scan without a state, backwards along axis 1, its results stacked along axis 1."""
    graph = GraphBuilder("scan_batch_first")
    x = graph.relu(graph.linear(graph.input((BATCH, 6, 12)), 12, 20))
    body = BodyBuilder("cell", seed=1)
    body.result(body.node("Tanh", body.linear(body.take("slice"), 20, 16)))
    steps = graph.node(
        "Scan",
        x,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_input_directions=[1],
        scan_output_axes=[1],
        body=body.graph(),
    )
    graph.output(graph.linear(steps, 16, 4), (BATCH, 6, 4))
    return graph.build()


def if_in_loop() -> onnx.ModelProto:
    """An If inside a Loop: the branches capture the state, and a weight of the Loop's body."""
    graph = GraphBuilder("if_in_loop")
    x = graph.relu(graph.linear(graph.input((BATCH, 12)), 12, 24))
    body = BodyBuilder("body", seed=1)
    _counting(body)
    state = body.take("state")
    shift = body.weight(24, scale=0.5, name="shift")
    then, other = BodyBuilder("then", seed=2), BodyBuilder("else", seed=3)
    then.result(then.node("Add", then.linear(state, 24, 24), shift))
    other.result(other.node("Add", state, shift))
    chosen = _if(body, _is_positive(body, "x"), then.graph(), other.graph())
    body.result(body.node("Tanh", chosen))
    (last,) = _loop(graph, graph.constant(4), [x], body, outputs=1)
    graph.output(graph.linear(last, 24, 5), (BATCH, 5))
    return graph.build()


def function_with_if() -> onnx.ModelProto:
    """A local function that holds an If, called twice; its bodies are inlined with it."""
    graph, _, trunk = _stem("function_with_if")
    first, second = (graph.weight(16, 16, 1, 1, scale=0.25) for _ in range(2))
    then = helper.make_graph(
        [helper.make_node("Conv", ["a", "w"], ["made"], name="chosen")],
        "then",
        [],
        [helper.make_tensor_value_info("made", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["kept"], name="passed")],
        "else",
        [],
        [helper.make_tensor_value_info("kept", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("ReduceSum", ["a"], ["total"], keepdims=0),
        helper.make_node("Constant", [], ["nothing"], value_float=0.0),
        helper.make_node("Greater", ["total", "nothing"], ["is_positive"]),
        helper.make_node(
            "If", ["is_positive"], ["out"], name="if", then_branch=then, else_branch=other
        ),
    ]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function(
        "secateur.testing", "Choose", ["a", "w"], ["out"], nodes, opsets
    )
    once = graph.node("Choose", trunk, first, domain="secateur.testing")
    again = graph.node("Choose", graph.conv(once, 16, 16), second, domain="secateur.testing")
    graph.classify(again, 16)
    return graph.build(functions=[function])


CASES = (
    if_captures_trunk,
    if_conv_chains,
    if_shares_outer_weights,
    if_nested,
    if_views_and_constants,
    if_different_shapes,
    if_in_loop,
    function_with_if,
    loop_hidden_state,
    loop_stacks,
    loop_growing_state,
    scan_rnn,
    scan_batch_first,
)
