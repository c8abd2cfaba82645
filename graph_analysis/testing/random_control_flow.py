"""Random networks of linear layers with If, Loop and Scan inside each other, for property tests.

Every block maps (N, tokens, width) to the same rank, at another width where it can; inside bodies
it reads its input, and now and then the input of the whole network or a weight from outside.
"""

import numpy as np
import onnx
from onnx import TensorProto

from graph_analysis.testing.builder import BATCH, GraphBuilder
from graph_analysis.testing.control_flow import BodyBuilder

_WIDTHS = (6, 8, 10, 12)
_TOKENS, _FEATURES = 5, 7


def random_control_flow_network(seed: int) -> onnx.ModelProto:
    """A network of two to four random blocks; the same for the same ``seed``."""
    return _Network(seed).model()


class _Network:
    """One network while it is drawn."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._graph = GraphBuilder(f"random_control_flow_{seed}", seed=seed)
        self._bodies = 0
        self._image = self._graph.input((BATCH, _TOKENS, _FEATURES))

    def model(self) -> onnx.ModelProto:
        """Draw it."""
        width = self._width()
        x = self._graph.linear(self._image, _FEATURES, width)
        for _ in range(self._rng.integers(2, 5)):
            x, width = self._block(self._graph, x, width, depth=0)
        self._graph.output(self._graph.linear(x, width, 3), (BATCH, _TOKENS, 3))
        return self._graph.build()

    def _width(self) -> int:
        return int(self._rng.choice(_WIDTHS))

    def _body(self, depth: int) -> BodyBuilder:
        """A new body; those of the main graph may use one name twice, inner ones may not."""
        self._bodies += 1
        shared = depth == 1 and self._rng.random() < 0.5
        return BodyBuilder("body" if shared else f"body{self._bodies}", seed=self._bodies)

    def _block(self, graph: GraphBuilder, x: str, width: int, *, depth: int) -> tuple[str, int]:
        kinds = ("linear", "residual", "norm", "length", "if", "loop", "scan")
        kind = str(self._rng.choice(kinds[: 4 if depth > 2 else 7]))
        if kind == "linear":
            wider = self._width()
            return graph.node("Tanh", graph.linear(x, width, wider)), wider
        if kind == "residual":
            inner = self._width()
            branch = graph.linear(graph.relu(graph.linear(x, width, inner)), inner, width)
            return graph.node("Add", x, branch), width
        if kind == "norm":
            scale = graph.weight(width, scale=0.2, shift=1.0, name="scale")
            # a large epsilon: the statistics of one kept position would blow rounding up
            return graph.node("LayerNormalization", x, scale, axis=-1, epsilon=0.1), width
        if kind == "length":
            squares = graph.node("ReduceSumSquare", x, axes=[-1], keepdims=1)
            length = graph.node("Sqrt", graph.node("Add", squares, graph.constant(1.0)))
            return graph.node("Div", x, length), width
        write = {"if": self._if, "loop": self._loop, "scan": self._scan}[kind]
        return write(graph, x, width, depth + 1)

    def _to(self, graph: GraphBuilder, x: str, width: int, wanted: int) -> str:
        return x if width == wanted else graph.linear(x, width, wanted)

    def _if(self, graph: GraphBuilder, x: str, width: int, depth: int) -> tuple[str, int]:
        row = graph.constant(int(self._rng.integers(_TOKENS)))
        total = graph.node("ReduceSum", graph.node("Gather", self._image, row, axis=1), keepdims=0)
        condition = graph.node("Greater", total, graph.constant(0.0))
        wanted = self._width()
        branches = []
        for _ in range(2):
            body = self._body(depth)
            if self._rng.random() < 0.25 and width == wanted:
                body.result(body.node("Identity", x))
            else:
                y, has = self._block(body, x, width, depth=depth)
                body.result(body.relu(self._to(body, y, has, wanted)))
            branches.append(body.graph())
        then, other = branches
        return graph.node("If", condition, then_branch=then, else_branch=other), wanted

    def _loop(self, graph: GraphBuilder, x: str, width: int, depth: int) -> tuple[str, int]:
        body = self._body(depth)
        prefix = f"{body.graph().name}_"
        body.take(f"{prefix}step", dtype=TensorProto.INT64)
        goes_on = body.take(f"{prefix}goes_on", dtype=TensorProto.BOOL)
        body.result(body.node("Identity", goes_on), dtype=TensorProto.BOOL)
        state = body.take(f"{prefix}state")
        y, has = self._block(body, state, width, depth=depth)
        y = self._to(body, y, has, width)
        body.result(body.node("Tanh", body.node("Add", y, x) if self._rng.random() < 0.5 else y))
        count = graph.constant(int(self._rng.integers(1, 4)))
        return graph.node("Loop", count, "", x, body=body.graph()), width

    def _scan(self, graph: GraphBuilder, x: str, width: int, depth: int) -> tuple[str, int]:
        hidden, out = self._width(), self._width()
        body = self._body(depth)
        prefix = f"{body.graph().name}_"
        state, slice_ = body.take(f"{prefix}state"), body.take(f"{prefix}slice")
        recurrent = (graph if self._rng.random() < 0.5 else body).weight(
            hidden, hidden, scale=hidden**-0.5
        )
        turned = body.node(
            "Add", body.linear(slice_, width, hidden), body.node("MatMul", state, recurrent)
        )
        state = body.node("Sigmoid", turned)
        body.result(state, shape=(BATCH, hidden))
        body.result(body.relu(body.linear(state, hidden, out)), shape=(BATCH, out))
        first = graph.linear(
            graph.node("ReduceSum", x, graph.constant([1]), keepdims=0), width, hidden
        )
        _, steps = graph.nodes(
            "Scan",
            first,
            x,
            outputs=2,
            body=body.graph(),
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        )
        return steps, out
