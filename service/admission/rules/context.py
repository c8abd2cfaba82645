"""What every rule needs to know about the model it looks at, and how bodies are walked.

A *place* is a graph or the body of a local function, with the operator versions that hold in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from service.admission.limits import AdmissionLimits
from service.admission.refusal import shown

FunctionId = tuple[str, str, str]
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True, kw_only=True)
class Context:
    """The model, the limits, and the operators that can be imported as (domain, name)."""

    model: onnx.ModelProto
    limits: AdmissionLimits
    operators: frozenset[tuple[str, str]]
    functions: Mapping[FunctionId, onnx.FunctionProto]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Nodes that share one scope of names.

    Attributes:
        nodes: In file order.
        graph: The graph, or None for the body of a local function.
        opsets: Domain (the default one is "") -> version.
        is_function: Inside a local function, so attributes may refer to its parameters.
    """

    nodes: Sequence[onnx.NodeProto]
    graph: onnx.GraphProto | None
    opsets: Mapping[str, int]
    is_function: bool


def plain_domain(domain: str) -> str:
    """The default domain has two spellings."""
    return "" if domain == "ai.onnx" else domain


def called_function(node: onnx.NodeProto) -> FunctionId:
    """The id of the function that a node would call."""
    return plain_domain(node.domain), node.op_type, node.overload


def function_id(function: onnx.FunctionProto) -> FunctionId:
    """The id of a function that the model defines."""
    return plain_domain(function.domain), function.name, function.overload


def opsets_of(imports: Sequence[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Domain -> version, the default domain under ""."""
    return {plain_domain(entry.domain): entry.version for entry in imports}


def bodies_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes, not those inside of them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def described(node: onnx.NodeProto) -> str:
    """A node for messages; many exporters leave its name empty."""
    operator = shown(node.op_type)[1:-1]
    if node.name:
        return f"node {shown(node.name)} ({operator})"
    return f"the {operator} node that computes {shown(next(iter(node.output), ''))}"


def root_places(model: onnx.ModelProto) -> Iterator[Place]:
    """The main graph, then every local function."""
    yield Place(
        nodes=model.graph.node,
        graph=model.graph,
        opsets=opsets_of(model.opset_import),
        is_function=False,
    )
    for function in model.functions:
        yield Place(
            nodes=function.node,
            graph=None,
            opsets=opsets_of(function.opset_import),
            is_function=True,
        )


def all_places(model: onnx.ModelProto) -> Iterator[Place]:
    """Every graph and function body, bodies inside bodies included."""
    waiting = list(root_places(model))
    while waiting:
        place = waiting.pop()
        yield place
        waiting += [
            Place(nodes=body.node, graph=body, opsets=place.opsets, is_function=place.is_function)
            for node in place.nodes
            for body in bodies_of(node)
        ]
