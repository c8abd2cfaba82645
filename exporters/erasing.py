"""Taking structures out of the graph: nodes deleted, joints spliced, joint inputs dropped.

The edit itself is planned by onnx-graphsurgeon on a *skeleton*: the nodes of the model with their
names, edges and bodies, but without attributes, weights, types and metadata. The edges that come
out are then written into the nodes of the draft. Importing the whole model instead would lose what
graphsurgeon has no place for: the model's domain and version, doc strings, metadata, denotations,
quantisation annotations, the order of initializers, types that numpy cannot name. This way a
solution that removes nothing changes nothing, by construction.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import onnx
import onnx_graphsurgeon as gs

from exporters.draft import Draft, bodies
from exporters.errors import SurgeryError

_DROPPING = frozenset({"Concat", "Sum", "Max", "Min"})  # joints that may lose an input and live on


def erase(
    draft: Draft,
    removed: Iterable[str],
    splices: Mapping[str, str],
    dropped: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Delete the nodes ``removed``, and whatever else no longer makes sense without them.

    1. The producer of a spliced tensor goes, whether or not it is among ``removed``; consumers
       read the tensor that replaces it.
    2. A spliced tensor that is a graph output keeps its name: the tensor that replaces it is
       renamed, or copied by an Identity where it is itself an input, an output or a weight.
    3. A joint that stays drops the inputs whose producers went.

    Args:
        draft: Edited in place: nodes, and ``keep`` and ``shapes`` under a new name of case 2.
        removed: Names of nodes.
        splices: Tensor -> tensor that replaces it.
        dropped: Name of a joint that stays -> tensors that it no longer reads; others still may.

    Raises:
        SurgeryError: A node that stays reads a tensor that is gone, and is no joint.
    """
    gone = set(removed)
    dropped = dropped or {}
    if not gone and not splices and not dropped:
        return
    graph = gs.import_onnx(_skeleton(draft))
    pairs = list(_pairs(graph, draft.nodes))
    final = {tensor: _survivor(tensor, splices) for tensor in splices}
    doomed = [
        node
        for node in graph.nodes
        if node.name in gone or any(output.name in final for output in node.outputs)
    ]
    for node in graph.nodes:
        if node.name in dropped:
            node.inputs = [one for one in node.inputs if one.name not in dropped[node.name]]
    renamed = _splice(graph, final)
    _delete(graph, doomed)
    _write_back(draft, graph, pairs)
    for old, new in renamed.items():
        draft.rename(old, new)


def _skeleton(draft: Draft) -> onnx.ModelProto:
    """Nodes, edges and bodies of the draft; graph inputs and outputs by name."""
    model = onnx.ModelProto(ir_version=draft.model.ir_version)
    model.opset_import.extend(draft.model.opset_import)
    model.graph.node.extend(_bare(node) for node in draft.nodes)
    for value in draft.model.graph.input:
        if value.name not in draft.initializers:
            model.graph.input.add(name=value.name)
    for value in draft.model.graph.output:
        model.graph.output.add(name=value.name)
    return model


def _bare(node: onnx.NodeProto) -> onnx.NodeProto:
    bare = onnx.NodeProto(
        name=node.name, op_type=node.op_type, input=node.input, output=node.output
    )
    for index, body in enumerate(bodies(node)):
        graph = onnx.GraphProto(node=[_bare(inner) for inner in body.node])
        for value in body.input:
            graph.input.add(name=value.name)
        for value in body.output:
            graph.output.add(name=value.name)
        bare.attribute.append(onnx.helper.make_attribute(f"body{index}", graph))
    return bare


def _pairs(
    graph: gs.Graph, nodes: Iterable[onnx.NodeProto]
) -> Iterator[tuple[gs.Node, onnx.NodeProto]]:
    """Every imported node with the node of the draft that it stands for, bodies included."""
    for ours, theirs in zip(graph.nodes, nodes, strict=True):
        yield ours, theirs
        inner = ours.attrs.values()  # of a skeleton: the bodies, in order
        for subgraph, body in zip(inner, bodies(theirs), strict=True):
            yield from _pairs(subgraph, body.node)


def _survivor(tensor: str, splices: Mapping[str, str]) -> str:
    seen = {tensor}
    while tensor in splices:
        tensor = splices[tensor]
        if tensor in seen:
            msg = f"splices of {tensor!r} run in a circle"
            raise SurgeryError(msg, param=tensor)
        seen.add(tensor)
    return tensor


def _splice(graph: gs.Graph, final: Mapping[str, str]) -> dict[str, str]:
    """Let every consumer of a spliced tensor read its replacement; return what was renamed."""
    tensors = graph.tensors()
    outputs = [tensor.name for tensor in graph.outputs]
    fixed = {tensor.name for tensor in (*graph.inputs, *graph.outputs)}
    renamed: dict[str, str] = {}
    for name, target in final.items():
        if target not in tensors:
            message = f"tensor {name!r} should be replaced by {target!r}, which does not exist"
            raise SurgeryError(message, param=name)
        old, new = tensors[name], tensors[target]
        for consumer in list(old.outputs):
            consumer.inputs = [new if tensor is old else tensor for tensor in consumer.inputs]
        if name not in outputs:
            continue
        old.inputs.clear()
        if target in fixed or target in renamed or not new.inputs:
            graph.layer(op="Identity", name=f"{name}__identity", inputs=[new], outputs=[old])
        else:
            renamed[target] = name
            graph.outputs[outputs.index(name)] = new
    for target, name in renamed.items():
        tensors[target].name = name
    return renamed


def _delete(graph: gs.Graph, doomed: list[gs.Node]) -> None:
    """Take ``doomed`` out of the graph, and their outputs out of the joints that read them."""
    lost = {id(output) for node in doomed for output in node.outputs}
    ids = {id(node) for node in doomed}
    for node in doomed:
        node.inputs.clear()
        node.outputs.clear()
    graph.nodes[:] = [node for node in graph.nodes if id(node) not in ids]
    for node in graph.nodes:
        if node.op in _DROPPING and any(id(tensor) in lost for tensor in node.inputs):
            node.inputs = [tensor for tensor in node.inputs if id(tensor) not in lost]


def _write_back(
    draft: Draft, graph: gs.Graph, pairs: Iterable[tuple[gs.Node, onnx.NodeProto]]
) -> None:
    proto_of = {}
    for ours, theirs in pairs:
        theirs.input[:] = [tensor.name for tensor in ours.inputs]
        theirs.output[:] = [tensor.name for tensor in ours.outputs]
        proto_of[id(ours)] = theirs
    draft.nodes[:] = [proto_of.get(id(node)) or _new(node) for node in graph.nodes]


def _new(node: gs.Node) -> onnx.NodeProto:
    return onnx.helper.make_node(
        node.op,
        [tensor.name for tensor in node.inputs],
        [tensor.name for tensor in node.outputs],
        name=node.name,
    )
