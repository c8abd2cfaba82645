"""Rules about If, Loop and Scan: the right bodies, with the right numbers of inputs and outputs."""

from typing import NoReturn

import onnx

from service.admission.refusal import refuse
from service.admission.rules.context import CONTROL_FLOW, Context, all_places, bodies_of, described


def check_bodies(context: Context) -> None:
    """Check every node that has, or should have, bodies.

    Raises:
        AdmissionError: ``model-subgraph``.
    """
    checks = {"If": _check_if, "Loop": _check_loop, "Scan": _check_scan}
    for place in all_places(context.model):
        for node in place.nodes:
            if node.op_type in CONTROL_FLOW and node.domain in ("", "ai.onnx"):
                checks[node.op_type](node)
            elif any(True for _ in bodies_of(node)):
                _refuse(node, "has a body, which only If, Loop and Scan may have")


def _check_if(node: onnx.NodeProto) -> None:
    for name in ("then_branch", "else_branch"):
        body = _body(node, name)
        if body.input:
            _refuse(node, f"has a {name} with inputs")
        if len(body.output) != len(node.output):
            _refuse(node, f"has {len(node.output)} outputs, its {name} {len(body.output)}")


def _check_loop(node: onnx.NodeProto) -> None:
    """Inputs M, condition, N carried; the body maps 2 + N inputs to 1 + N + K outputs."""
    body = _body(node, "body")
    carried = len(node.input) - 2
    if len(body.input) != 2 + carried:
        _refuse(node, f"carries {carried} values, but its body has {len(body.input)} inputs")
    if len(body.output) != 1 + len(node.output) or len(node.output) < carried:
        _refuse(node, f"has {len(node.output)} outputs, its body {len(body.output)}")


def _check_scan(node: onnx.NodeProto) -> None:
    """N states and M scanned inputs; the body maps N + M inputs to N + K outputs."""
    body = _body(node, "body")
    scanned = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
    if not 0 < scanned <= len(node.input):
        _refuse(node, f"scans {scanned} of {len(node.input)} inputs")
    if len(body.input) != len(node.input):
        _refuse(node, f"has {len(node.input)} inputs, its body {len(body.input)}")
    if len(body.output) != len(node.output):
        _refuse(node, f"has {len(node.output)} outputs, its body {len(body.output)}")


def _body(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    graphs: dict[str, onnx.GraphProto] = {a.name: a.g for a in node.attribute if a.HasField("g")}
    if name not in graphs:
        _refuse(node, f"has no {name}")
    return graphs[name]


def _refuse(node: onnx.NodeProto, fault: str) -> NoReturn:
    message = f"{described(node)} {fault}; export the model again"
    refuse("model-subgraph", message, param=node.name or None)
