"""If, Loop and Scan in the flat view, as far as the roles of initializers are concerned.

What comes out of a body varies if what goes in does; a state of a Loop or Scan also if what an
iteration makes of it does. A weight may come in through a branch, a state or a scanned tensor (a
stack of layers, say), and is known in the body under another name.
"""

from collections.abc import Iterable, Mapping

import onnx

from graph_analysis.bodies import CONTROL
from graph_analysis.control_shapes import body_tensors


def is_control(node: onnx.NodeProto) -> bool:
    """Whether a node stands where a body begins or ends."""
    return bool(node.domain == CONTROL)


def sources(node: onnx.NodeProto) -> Mapping[str, tuple[str, ...]]:
    """Output of a control node -> the tensors that it may be."""
    if node.op_type.endswith("Body"):
        return {made: (given,) for given, made in zip(node.input, node.output, strict=False)}
    if node.op_type == "If":
        count = (len(node.input) - 1) // 2
        return {
            made: (node.input[1 + place], node.input[1 + count + place])
            for place, made in enumerate(node.output)
        }
    first, after, made = body_tensors(node, _carried(node))
    states = zip(first, after, strict=True)
    results = [*states, *((each,) for each in made)]
    return dict(zip(node.output, results, strict=False))


def returned(nodes: Iterable[onnx.NodeProto]) -> Mapping[str, str]:
    """State as it enters a body -> the same as it leaves it, for all Loops and Scans."""
    found: dict[str, str] = {}
    for node in nodes:
        if is_control(node) and node.op_type in ("Loop", "Scan"):
            first, after, _ = body_tensors(node, _carried(node))
            found.update(zip(first, after, strict=True))
    return found


def is_decided_by(node: onnx.NodeProto) -> tuple[str, ...]:
    """Inputs that decide what runs: if they vary, everything that the node makes does."""
    if node.op_type == "If":
        return tuple(node.input[:1])
    return tuple(node.input[:2]) if node.op_type == "LoopBody" else ()


def always_vary(node: onnx.NodeProto) -> tuple[str, ...]:
    """Outputs that differ from one iteration to the next: the step, and the condition."""
    return tuple(node.output[:2]) if node.op_type == "LoopBody" else ()


def first_states(node: onnx.NodeProto) -> tuple[str, ...]:
    """Initial states of a Loop or Scan."""
    if not is_control(node) or not node.op_type.endswith("Body"):
        return ()
    start = 2 if node.op_type == "LoopBody" else 0
    return tuple(node.input[start : start + _carried(node)])


def _carried(node: onnx.NodeProto) -> int:
    return int(next(a.i for a in node.attribute if a.name == "carried"))
