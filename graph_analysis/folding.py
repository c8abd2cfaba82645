"""The flat view of If, Loop and Scan put back into bodies (see ``bodies`` for how it is laid out).

Works on an edited view as well. A node that the file did not have goes to the innermost body that
one of its inputs is made in; an initializer that the file did not have goes to the main graph,
where every body can capture it. What lived in a body, weights and constants, lives there again.
"""

from collections.abc import Iterable

import onnx

from graph_analysis.bodies import CONTROL, Bodies, control_attributes


def fold(flat: onnx.ModelProto, bodies: Bodies) -> onnx.ModelProto:
    """The runnable model of a flat view; the arguments are not changed."""
    if not bodies.scopes:
        return flat
    model = onnx.ModelProto()
    model.CopyFrom(flat)
    graph = model.graph
    for part in (graph.node, graph.initializer, graph.value_info):
        del part[:]
    _Folding(flat.graph, bodies).write(graph)
    return model


class _Folding:
    """Sorts the nodes and tensors of a flat graph into their bodies."""

    def __init__(self, flat: onnx.GraphProto, bodies: Bodies) -> None:
        self.bodies = bodies
        self.flat = flat
        self.nodes: dict[int, list[onnx.NodeProto]] = {0: []}
        self.made: dict[str, int] = {}  # tensor -> body
        self.graphs: dict[int, onnx.GraphProto] = {}
        self.scopes_of: dict[str, list[int]] = {}  # control node -> bodies
        for number, scope in bodies.scopes.items():
            self.scopes_of.setdefault(scope.control, []).append(number)
        self.enters: dict[str, onnx.NodeProto] = {}
        self.tensors: dict[int, list[onnx.TensorProto]] = {}
        self.noted: dict[int, list[str]] = {}  # body -> tensors with an annotation
        self.infos = {value.name: value for value in flat.value_info}

    def write(self, main: onnx.GraphProto) -> None:
        """Fill the main graph of the model."""
        for tensor in self.flat.initializer:
            number = self.bodies.home.get(tensor.name, 0)
            self.made[tensor.name] = number
            self.tensors.setdefault(number, []).append(tensor)
        for node in self.flat.node:
            self._sort(node)
        main.node.extend(self.nodes[0])
        main.initializer.extend(self.tensors.get(0, []))
        main.value_info.extend(v for v in self.flat.value_info if not self.made.get(v.name, 0))

    def _sort(self, node: onnx.NodeProto) -> None:
        control = _control_of(node)
        if control and node.op_type.endswith("Body"):
            self.enters[control] = node
            number = self.bodies.scope_of[node.name]
            self._note(node.output, number)
            return
        number = self._number(node)
        self._note(node.output, number)
        if control:
            node = self._owner(node, control)
        self.nodes.setdefault(number, []).append(self._restored(node) if number else node)

    def _note(self, names: Iterable[str], number: int) -> None:
        for name in filter(None, names):
            self.made[name] = number
            if name in self.infos:
                self.noted.setdefault(number, []).append(name)

    def _number(self, node: onnx.NodeProto) -> int:
        control = _control_of(node)
        if control:
            return self.bodies.scopes[self.scopes_of[control][0]].parent
        known = self.bodies.scope_of.get(node.name)
        if known is not None:
            return known
        found = {self.made.get(name, 0) for name in node.input}
        return max(found, key=self.bodies.depth, default=0)

    def _owner(self, node: onnx.NodeProto, control: str) -> onnx.NodeProto:
        """The control node with its bodies."""
        numbers = self.scopes_of[control]
        if node.op_type == "If":
            given, made = list(node.input[:1]), list(node.input[1:])
            inputs: list[str] = []
        else:
            enter = self.enters[control]
            given, inputs = list(enter.input), list(enter.output)
            made = list(node.input[len(inputs) :])
        stated = next(a.i for a in node.attribute if a.name == "stated")
        outputs = list(node.output)[:stated]
        owner = onnx.helper.make_node(node.op_type, given, outputs, name=node.name)
        if node.doc_string:
            owner.doc_string = node.doc_string
        owner.metadata_props.extend(node.metadata_props)
        attributes = control_attributes(node)
        each = len(made) // len(numbers)
        for place, number in enumerate(numbers):
            body = self._body(number, inputs, made[place * each : (place + 1) * each])
            scope = self.bodies.scopes[number]
            attributes.insert(scope.place, onnx.helper.make_attribute(scope.attribute, body))
        owner.attribute.extend(attributes)
        return owner

    def _body(self, number: int, inputs: Iterable[str], outputs: Iterable[str]) -> onnx.GraphProto:
        template = self.bodies.scopes[number].template
        body = onnx.GraphProto()
        body.CopyFrom(template)
        del body.input[:], body.output[:]
        nodes = self.nodes.pop(number, [])
        for name in inputs:
            self._add_info(body.input.add(), name)
        for entry, stated in zip(body.input, template.input, strict=False):
            _say_again(entry, stated)
        interface = set(inputs)
        for place, tensor in enumerate(outputs):
            # a runtime does not take a tensor of an outer graph for the output of a body
            name = tensor
            if self.made.get(tensor, 0) != number:
                name = f"{template.output[place].name}__from_outside{number}_{place}"
                source = self.bodies.tensor_names.get(tensor, tensor)
                nodes.append(onnx.helper.make_node("Identity", [source], [name], name=name))
            interface.add(name)
            self._add_info(body.output.add(), name)
            if not body.output[place].HasField("type") and template.output[place].HasField("type"):
                body.output[place].type.CopyFrom(template.output[place].type)
                _forget_lengths(body.output[place])
            _say_again(body.output[place], template.output[place])
        for tensor in self.tensors.get(number, []):
            copy = body.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = self._tensor(tensor.name)
        body.node.extend(nodes)
        for name in self.noted.get(number, []):
            if name not in interface:
                self._add_info(body.value_info.add(), name)
        return body

    def _add_info(self, entry: onnx.ValueInfoProto, name: str) -> None:
        value = self.infos.get(name)
        if value is not None:
            entry.CopyFrom(value)
        entry.name = self._tensor(name)

    def _restored(self, node: onnx.NodeProto) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._tensor(name) for name in node.input]
        copy.output[:] = [self._tensor(name) for name in node.output]
        name = self.bodies.node_names.get(node.name, node.name)
        copy.name = name
        if not name:
            copy.ClearField("name")
        return copy

    def _tensor(self, name: str) -> str:
        return self.bodies.tensor_names.get(name, name)


def _say_again(entry: onnx.ValueInfoProto, stated: onnx.ValueInfoProto) -> None:
    """Doc string and metadata of an input or output, if they are not there already."""
    if stated.doc_string:
        entry.doc_string = stated.doc_string
    del entry.metadata_props[:]
    entry.metadata_props.extend(stated.metadata_props)


def _forget_lengths(value: onnx.ValueInfoProto) -> None:
    """Keep type and rank, for which a runtime may ask."""
    if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()


def _control_of(node: onnx.NodeProto) -> str:
    if node.domain != CONTROL:
        return ""
    return str(next(a.s.decode() for a in node.attribute if a.name == "control"))
