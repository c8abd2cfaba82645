"""The same network in a file that nobody would write by hand, and exporters do write."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper

_NAMES = ("forward", "training", "a.b", "a", "1", "x y", "weight'", 'quo"te', "ü/ß:0", "%", "",
          "_parameters", "lambda", "self", "a.", ".b", "p\n", "{0}", "\\")  # fmt: skip


def disguised(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Return ``model`` with the same meaning and another look.

    No node has a name, no shape inside is known; tensors are called as no programmer would; every
    third initializer is a Constant node and every other third is read through an Identity. Names of
    inputs and outputs stay. Models with bodies only lose names of nodes and shapes.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]
    for node in graph.node:
        node.name = ""
    if copy.functions or any(_has_body(node) for node in graph.node):
        return copy
    kept = {info.name for info in (*graph.input, *graph.output)}
    _rename(graph, kept)
    nodes = []
    weights = []
    for position, tensor in enumerate(list(graph.initializer)):
        if tensor.name in kept or position % 3 == 0:
            weights.append(tensor)
        elif position % 3 == 1:
            nodes.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
        else:
            seen = tensor.name
            tensor.name = f"{seen}/read"
            weights.append(tensor)
            nodes.append(helper.make_node("Identity", [tensor.name], [seen]))
    nodes += graph.node
    order = np.random.default_rng(seed).permutation(len(weights))
    weights = [weights[position] for position in order]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(weights)
    graph.node.extend(nodes)
    return copy


def _has_body(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _rename(graph: onnx.GraphProto, kept: set[str]) -> None:
    renamed: dict[str, str] = {}
    for name in _made(graph):
        if name and name not in kept and name not in renamed:
            number = len(renamed)
            odd = _NAMES[number % len(_NAMES)]
            renamed[name] = odd if 0 < number < len(_NAMES) and odd else f"{odd}{number}"
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in graph.node:
        for names in (node.input, node.output):
            for slot, name in enumerate(names):
                names[slot] = renamed.get(name, name)


def _made(graph: onnx.GraphProto) -> Iterable[str]:
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from node.output
