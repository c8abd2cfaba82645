"""Is this a graph at all? What every later stage takes for granted, checked once, at the door.

1. Operator versions are ones that exist, and named once.
2. Every tensor is made once, before it is read; graph outputs are made by somebody.
3. Stored tensors have a known type, and as much data as their shape says.
4. Where the standard defines an operator, the node has inputs, outputs and attributes as defined.
5. Local functions expand to a bounded number of nodes.

Shapes that do not fit together are no business of this module: such operators are boundaries.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

import onnx
from google.protobuf.message import EncodeError
from onnx import checker, numpy_helper

from graph_analysis.errors import ModelError

MAX_EXPANDED_NODES = 200_000
_STANDARD = ("", "ai.onnx")
_LONGEST_OF_NOTHING = 1 << 20
_SHOWN = 80  # characters of a name in a message
_AGAIN = "; export it again"


def check_sound(model: onnx.ModelProto) -> None:
    """Check a model without local functions.

    Raises:
        ModelError: What is wrong, at which node or tensor.
    """
    _check_versions(model)
    _check_text(model)
    _check_graph(model.graph, frozenset())
    context = checker.C.CheckerContext()
    context.ir_version = min(max(1, model.ir_version), 1 << 30)
    context.opset_imports = {entry.domain: entry.version for entry in model.opset_import}
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for graph in _graphs(model.graph):
        for tensor in _tensors(graph):
            check_tensor(tensor)
        for node in graph.node:
            _check_node(node, versions, context)


def check_functions(model: onnx.ModelProto) -> None:
    """Check that local functions can be expanded, before anything expands them.

    Raises:
        ModelError: A function calls itself, or expansion makes more than ``MAX_EXPANDED_NODES``.
    """
    bodies = {(f.domain, f.name): f.node for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    for start in bodies:
        open_calls: list[tuple[str, str]] = []
        pending = [start]
        while pending:
            key = pending[-1]
            callees = [c for c in _calls(bodies[key]) if c in bodies]
            waiting = [callee for callee in callees if callee not in sizes]
            if key in sizes or not waiting:
                pending.pop()
                if open_calls and open_calls[-1] == key:
                    open_calls.pop()
                own = sum(1 for _ in _calls(bodies[key]))
                size = own + sum(sizes[callee] for callee in callees)
                sizes[key] = min(size, MAX_EXPANDED_NODES + 1)
                continue
            if not open_calls or open_calls[-1] != key:
                open_calls.append(key)
            if any(callee in open_calls for callee in waiting):
                _refuse(f"local function {_shown(key[1])} calls itself", "model-functions", key[1])
            pending.append(waiting[0])
    total = sum(1 + sizes.get(call, 0) for call in _calls(model.graph.node))
    if total > MAX_EXPANDED_NODES:
        message = f"local functions expand to more than {MAX_EXPANDED_NODES:,} operators"
        _refuse(message, "model-too-complex", None, "; export a smaller network")


def _calls(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, str]]:
    """(domain, operator) of every node, those in bodies included."""
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _calls(body.node)


def _check_versions(model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    found: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain in _STANDARD else entry.domain
        if found.setdefault(domain, entry.version) != entry.version:
            what = f"the model names operator set {_shown(domain)} in two versions"
            _refuse(what, "model-opset", None)
        known = newest if domain == "" else 2**31 - 1
        if not 1 <= entry.version <= known:
            what = f"the model asks for version {entry.version} of operator set {_shown(domain)}"
            _refuse(f"{what}, known are 1 to {known}", "model-opset", None)


def _check_text(model: onnx.ModelProto) -> None:
    """Names are text: protobuf hands out bytes where they are not."""
    texts: list[object] = [model.producer_name, model.producer_version]
    texts += [entry.domain for entry in model.opset_import]
    for graph in _graphs(model.graph):
        named = (*graph.input, *graph.output, *graph.initializer, *graph.value_info)
        texts += [value.name for value in named]
        for node in graph.node:
            texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
            texts += [attribute.name for attribute in node.attribute]
    for text in texts:
        if not isinstance(text, str):
            _refuse(f"the name {text!r:.80} is not valid UTF-8 text", "model-bad-name", None)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for body in bodies_of(node):
            yield from _graphs(body)


def bodies_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Every graph that ``node`` carries, whatever type the attribute claims."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _check_graph(graph: onnx.GraphProto, outside: frozenset[str]) -> None:
    """Names: made once, before they are read. A body sees what is outside of it."""
    inputs = [value.name for value in graph.input]
    stored = [tensor.name for tensor in graph.initializer]
    stored += [tensor.values.name for tensor in graph.sparse_initializer]
    for names, what in ((inputs, "input"), (stored, "initializer")):
        _check_unique(names, what)
    made = {*inputs, *stored}
    for node in graph.node:
        _check_reads(node, made, outside)
        for body in bodies_of(node):
            _check_graph(body, frozenset(made) | outside)
        if not node.output:
            _refuse(f"{_described(node)} has no outputs", "model-output-missing", node.name)
        for name in node.output:
            if name in made:
                what = f"tensor {_shown(name)} is made twice, the second time by"
                _refuse(f"{what} {_described(node)}", "model-duplicate-name", name)
            if name:
                made.add(name)
    outputs = [value.name for value in graph.output]
    _check_unique(outputs, "output")
    for name in outputs:
        if name not in made and name not in outside:
            what = f"nothing makes the graph output {_shown(name)}"
            _refuse(what, "model-output-missing", name)


def _check_unique(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            _refuse(f"an {what} has no name", "model-bad-name", None)
        if name in seen:
            _refuse(f"two {what}s are called {_shown(name)}", "model-duplicate-name", name)
        seen.add(name)


def _check_reads(node: onnx.NodeProto, made: set[str], outside: frozenset[str]) -> None:
    for name in node.input:
        if name and name not in made and name not in outside:
            what = f"{_described(node)} reads {_shown(name)}, which nothing makes before it"
            _refuse(what, "model-not-sorted", name)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def check_tensor(tensor: onnx.TensorProto) -> None:
    """Check that reading a tensor gives an array of its shape; raw bytes are not copied.

    Raises:
        ModelError: It does not hold what its type and shape say.
    """
    where = f"the stored tensor {_shown(tensor.name)}"
    if 0 in tensor.dims and max(tensor.dims) > _LONGEST_OF_NOTHING:
        _refuse(f"{where} holds nothing, in a shape of {list(tensor.dims)[:8]}",
                "model-tensor-size", tensor.name)  # fmt: skip
    if any(length < 0 for length in tensor.dims):
        _refuse(f"{where} has a negative length {list(tensor.dims)}", "model-dim-negative",
                tensor.name)  # fmt: skip
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        what = f"{where} lies in a separate file"
        _refuse(what, "model-external-data", tensor.name, "; save the model as one file")
    try:
        numpy_helper.to_array(tensor)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        shape = [*tensor.dims[:8]]
        what = f"{where} does not hold what its type {tensor.data_type} and shape {shape} say"
        raise ModelError(what + _AGAIN, code="model-tensor-size", param=tensor.name) from error


def _check_node(
    node: onnx.NodeProto, versions: Mapping[str, int], context: checker.C.CheckerContext
) -> None:
    """Against the standard's definition, if there is one: others are boundaries later."""
    version = versions.get(node.domain, versions.get("") if node.domain in _STANDARD else None)
    if not node.op_type or version is None:
        if not node.op_type:
            _refuse(f"node {_shown(node.name)} has no operator", "model-unsupported-op", node.name)
        return
    domain = "" if node.domain in _STANDARD else node.domain
    if not onnx.defs.has(node.op_type, max_inclusive_version=version, domain=domain):
        return
    if onnx.defs.get_schema(node.op_type, version, domain).deprecated:
        return  # the checker turns it away; runtimes still run it
    _check_counts(node)
    if any(True for _ in bodies_of(node)):
        return  # it would look for what the body captures; the body's own nodes are checked
    try:
        checker.check_node(node, context, checker.C.LexicalScopeContext())
    except (checker.ValidationError, EncodeError, RuntimeError, UnicodeDecodeError) as error:
        what = f"{_described(node)} is not as the standard defines it: {_first_line(error)}"
        raise ModelError(what + _AGAIN, code="model-attribute", param=node.name) from error


def _check_counts(node: onnx.NodeProto) -> None:
    """Numbers that must agree with how many inputs and outputs a node has.

    The onnx package checks none of them, and its shape inference dies of the one of Split.
    """
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Split" and "num_outputs" in attributes:
        if attributes["num_outputs"].i != len(node.output):
            what = f"{_described(node)} has {len(node.output)} outputs, its num_outputs says other"
            _refuse(what, "model-attribute", node.name)
    elif node.op_type == "Scan":
        scanned = attributes["num_scan_inputs"].i if "num_scan_inputs" in attributes else 0
        made = len(node.output) - (len(node.input) - scanned)
        counts = {"input": scanned, "output": made}
        for key in ("scan_input_axes", "scan_input_directions", "scan_output_axes",
                    "scan_output_directions"):  # fmt: skip
            given = len(attributes[key].ints) if key in attributes else 0
            if not 0 < scanned <= len(node.input) or given not in (0, counts[key.split("_")[1]]):
                what = f"{_described(node)} scans {scanned} inputs, its attributes say other"
                _refuse(what, "model-attribute", node.name)


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split("\n", maxsplit=1)[0].split())
    return text[:200].rstrip(".")


def _described(node: onnx.NodeProto) -> str:
    return f"node {_shown(node.name)} ({node.op_type[:_SHOWN]!r})"


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[: _SHOWN - 3] + "...")


def _refuse(what: str, code: str, param: str | None, advice: str = _AGAIN) -> NoReturn:
    raise ModelError(what + advice, code=code, param=param)
