"""Bodies of If, Loop and Scan laid out flat, so that their nodes are vertices like all others.

The flat view is a graph without bodies that no runtime executes. A node of a body keeps its place
in the order of execution, what it captures is simply the outer tensor, and the node that owned the
body stands behind it:

=====  ==================================================================================
If     ``condition, outputs of one branch, outputs of the other -> the node's outputs``
Loop   ``LoopBody``: the node's inputs -> inputs of the body; ``Loop``: inputs of the body,
       outputs of the body -> the node's outputs
Scan   the same with ``ScanBody``
=====  ==================================================================================

They belong to the domain ``CONTROL``. Names are unique over the whole view; a name that a file uses
in several bodies gets a number. Putting everything back is the business of ``folding``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

CONTROL = "secateur.control"
MAX_DEPTH = 8  # bodies inside bodies
MAX_NODES = 20_000  # in all bodies below one node of the main graph
_KINDS = ("If", "Loop", "Scan")
_ADDED = frozenset({"control", "carried", "is_counted", "stated"})  # attributes that no file has


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One body: number, owner, and what its graph holds besides nodes and tensors."""

    parent: int
    control: str  # name of the owner in the flat view
    attribute: str
    place: int  # of the attribute among those of the owner
    template: onnx.GraphProto  # without nodes, initializers and annotations


@dataclass(kw_only=True)
class Bodies:
    """How a flat view came about.

    Attributes:
        scopes: By number; the main graph has number 0 and no entry.
        scope_of: Node -> number of its body; nodes of the main graph are absent.
        home: Initializer -> number of the body that holds it; those of the main graph are absent.
        tensor_names: Tensor -> its name in the file, where that is another.
        node_names: The same for nodes; empty for a node that had no name.
        left_whole: Node whose bodies were not laid out -> why.
    """

    scopes: dict[int, Scope] = field(default_factory=dict)
    scope_of: dict[str, int] = field(default_factory=dict)
    home: dict[str, int] = field(default_factory=dict)
    tensor_names: dict[str, str] = field(default_factory=dict)
    node_names: dict[str, str] = field(default_factory=dict)
    left_whole: dict[str, str] = field(default_factory=dict)

    def with_unique_names(self) -> "Bodies":
        """The same where bodies put back keep the names of the flat view."""
        return replace(self, tensor_names={}, node_names={})

    def owners(self, node: str) -> tuple[str, ...]:
        """The control nodes around a node, innermost first; a control node is in its own body."""
        return self.owners_of_scope(self.scope_of.get(node, 0))

    def owners_of_scope(self, number: int) -> tuple[str, ...]:
        """The control nodes around a body, innermost first."""
        found = []
        while number:
            found.append(self.scopes[number].control)
            number = self.scopes[number].parent
        return tuple(found)

    def depth(self, number: int) -> int:
        """How many bodies lie around a node of body ``number``."""
        return len(self.owners_of_scope(number))


def graphs_of(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Attribute and graph of every body that ``node`` carries."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        for graph in attribute.graphs:
            yield attribute.name, graph


def has_bodies(graph: onnx.GraphProto) -> bool:
    """Whether any node of a graph carries a body."""
    return any(True for node in graph.node for _ in graphs_of(node))


def flatten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Bodies]:
    """The flat view of ``model``, whose nodes have unique names; ``model`` is not changed.

    A node of the main graph whose bodies are nested deeper than ``MAX_DEPTH``, hold more than
    ``MAX_NODES`` nodes, or cannot be laid out at all stays as it is.
    """
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    del flat.graph.node[:]
    layout = _Layout(flat.graph, model.graph)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    for node in model.graph.node:
        bodies = list(graphs_of(node))
        reason = _obstacle(node, opset) if bodies else ""
        if reason:
            layout.bodies.left_whole[node.name] = reason
        if bodies and not reason:
            layout.control(node, {}, 0)
        else:
            flat.graph.node.append(node)
    return flat, layout.bodies


def _obstacle(node: onnx.NodeProto, opset: int) -> str:
    """Why the bodies of a node cannot be laid out; empty if they can."""
    count, stack = 0, [(node, 1)]
    while stack:
        owner, depth = stack.pop()
        if owner.op_type not in _KINDS or owner.domain not in ("", "ai.onnx"):
            return f"the body of a {owner.op_type!r} is not looked into"
        if not _fits(owner):
            return "its body does not fit its inputs and outputs"
        if owner.op_type == "Scan" and opset < 9:
            return "the batched Scan of opset 8 is not looked into"
        if depth > MAX_DEPTH:
            return f"bodies are nested deeper than {MAX_DEPTH}"
        for _, body in graphs_of(owner):
            if body.sparse_initializer:
                return "a body holds a sparse weight"
            count += len(body.node)
            stack += [(inner, depth + 1) for inner in body.node if any(graphs_of(inner))]
        if count > MAX_NODES:
            return f"bodies hold more than {MAX_NODES} nodes"
    return ""


def _fits(node: onnx.NodeProto) -> bool:
    """Whether a node and its bodies have the numbers of inputs and outputs that ONNX asks for."""
    found = [body for _, body in graphs_of(node)]
    made = {len(body.output) for body in found}
    if node.op_type == "If":
        each = len(found) == 2 and len(made) == 1 and len(node.input) == 1
        return each and min(made) >= max(len(node.output), 1) and not any(b.input for b in found)
    extra = 1 if node.op_type == "Loop" else 0  # the condition
    if len(found) != 1 or len(node.input) < 1 + extra:
        return False
    given, carried = len(found[0].input), _carried(node)
    return (
        given == len(node.input)
        and carried >= 0
        and min(made) >= max(len(node.output), carried) + extra
    )


class _Layout:
    """Writes the bodies of one model into a flat graph."""

    def __init__(self, flat: onnx.GraphProto, main: onnx.GraphProto) -> None:
        self.flat = flat
        self.bodies = Bodies()
        self._tensors = {v.name for v in (*main.input, *main.output, *main.initializer)}
        self._tensors |= {name for node in main.node for name in (*node.input, *node.output)}
        self._nodes = {node.name for node in main.node}

    def control(self, node: onnx.NodeProto, names: Mapping[str, str], scope: int) -> None:
        """Lay out a control node of body ``scope``, where the file's ``names`` have changed."""
        name = self._node_name(node, scope)
        inputs = [names.get(each, each) for each in node.input]
        plain = [a for a in node.attribute if a.type != onnx.AttributeProto.GRAPH]
        given: list[str] = []  # inputs of the body
        made: list[str] = []  # outputs of all bodies
        carried, counted = 0, False
        for attribute, body in graphs_of(node):
            number = len(self.bodies.scopes) + 1
            self.bodies.scopes[number] = Scope(
                parent=scope,
                control=name,
                attribute=attribute,
                place=[a.name for a in node.attribute].index(attribute),
                template=_template(body),
            )
            inner = dict(names)
            given = [self._declare(value.name, inner) for value in body.input]
            if node.op_type != "If":
                carried = _carried(node)
                self._enter(node, name, inputs, given, number, carried, plain)
            for tensor in body.initializer:
                hoisted = self.flat.initializer.add()
                hoisted.CopyFrom(tensor)
                hoisted.name = self._declare(tensor.name, inner)
                self.bodies.home[hoisted.name] = number
            for each in body.node:
                self._node(each, inner, number)
            made += [inner.get(value.name, value.name) for value in body.output]
            counted = node.op_type == "Loop" and _keeps_condition(body)
            self._annotate(body, inner)
        out = self.flat.node.add(
            op_type=node.op_type, domain=CONTROL, name=name, doc_string=node.doc_string
        )
        out.metadata_props.extend(node.metadata_props)
        out.input.extend([*(inputs if node.op_type == "If" else given), *made])
        out.output.extend(names.get(each, each) for each in node.output)
        last = next(reversed(list(graphs_of(node))))[1]
        missing = len(last.output) - int(node.op_type == "Loop") - len(node.output)
        out.output.extend([""] * missing)  # outputs at the end may be left out
        out.attribute.extend(plain)
        out.attribute.append(onnx.helper.make_attribute("control", name))
        out.attribute.append(onnx.helper.make_attribute("stated", len(node.output)))
        if node.op_type != "If":
            out.attribute.append(onnx.helper.make_attribute("carried", carried))
            out.attribute.append(onnx.helper.make_attribute("is_counted", int(counted)))

    def _enter(
        self,
        node: onnx.NodeProto,
        name: str,
        inputs: list[str],
        given: list[str],
        number: int,
        carried: int,
        plain: list[onnx.AttributeProto],
    ) -> None:
        enter = self.flat.node.add(op_type=f"{node.op_type}Body", domain=CONTROL)
        enter.name = self._free(f"{name}/body", self._nodes)
        enter.input.extend(inputs)
        enter.output.extend(given)
        enter.attribute.extend(plain)
        enter.attribute.append(onnx.helper.make_attribute("control", name))
        enter.attribute.append(onnx.helper.make_attribute("carried", carried))
        self.bodies.scope_of[enter.name] = number

    def _node(self, node: onnx.NodeProto, names: dict[str, str], scope: int) -> None:
        for output in node.output:
            if output:
                self._declare(output, names)
        if any(graphs_of(node)):
            self.control(node, names, scope)
            return
        copy = self.flat.node.add()
        copy.CopyFrom(node)
        copy.name = self._node_name(node, scope)
        copy.input[:] = [names.get(each, each) for each in node.input]
        copy.output[:] = [names.get(each, each) for each in node.output]

    def _declare(self, name: str, names: dict[str, str]) -> str:
        """A tensor made in a body: its name in the flat view."""
        names[name] = self._free(name, self._tensors)
        if names[name] != name:
            self.bodies.tensor_names[names[name]] = name
        return names[name]

    def _node_name(self, node: onnx.NodeProto, scope: int) -> str:
        if not scope:
            return str(node.name)
        name = self._free(node.name or f"{node.op_type}_in_body", self._nodes)
        self.bodies.scope_of[name] = scope
        if name != node.name:
            self.bodies.node_names[name] = node.name
        return name

    def _annotate(self, body: onnx.GraphProto, names: Mapping[str, str]) -> None:
        known = {value.name for value in self.flat.value_info}
        for value in (*body.input, *body.output, *body.value_info):
            name = names.get(value.name, value.name)
            if name in known or value.name not in names or not value.HasField("type"):
                continue
            known.add(name)
            entry = self.flat.value_info.add()
            entry.CopyFrom(value)
            entry.name = name

    @staticmethod
    def _free(wanted: str, taken: set[str]) -> str:
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}__{number}", number + 1
        taken.add(name)
        return name


def _template(body: onnx.GraphProto) -> onnx.GraphProto:
    template = onnx.GraphProto()
    template.CopyFrom(body)
    for part in (template.node, template.initializer, template.value_info):
        del part[:]
    return template


def _carried(node: onnx.NodeProto) -> int:
    """How many tensors go from one iteration to the next."""
    if node.op_type == "Loop":
        return max(len(node.input) - 2, 0)
    scanned = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
    return len(node.input) - int(scanned)


def _keeps_condition(body: onnx.GraphProto) -> bool:
    """Whether a Loop's condition after an iteration is the one before it, or always true."""
    name, makers = body.output[0].name, {n.output[0]: n for n in body.node if n.output}
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    tensors = {tensor.name: tensor for tensor in body.initializer}
    if name in makers and makers[name].op_type == "Constant":
        value = next((a.t for a in makers[name].attribute if a.name == "value"), None)
        return value is not None and bool(np.all(onnx.numpy_helper.to_array(value)))
    if name in tensors:
        return bool(np.all(onnx.numpy_helper.to_array(tensors[name])))
    return bool(name == body.input[1].name)


def control_attributes(node: onnx.NodeProto) -> list[onnx.AttributeProto]:
    """The attributes of a control node that the file states."""
    return [attribute for attribute in node.attribute if attribute.name not in _ADDED]
