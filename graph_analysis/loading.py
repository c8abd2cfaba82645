"""Bytes of an ONNX file -> the normalised working copy that every later stage reads.

Done here: data of other files and sparse initializers taken in, local functions inlined, Constant
nodes turned into initializers, Identity of an initializer resolved, equal vectors that an exporter
merged given back their own tensors, unique node names. Kept as in the file: opset, IR version,
metadata, its inputs and outputs.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import checker, inliner, numpy_helper, shape_inference

from graph_analysis.bodies import CONTROL, Bodies, flatten, graphs_of, has_bodies
from graph_analysis.errors import ModelError
from graph_analysis.external_data import densify, embed, external_tensors
from graph_analysis.folding import fold
from graph_analysis.model_file import WireError, read_model
from graph_analysis.ordering import sort_nodes
from graph_analysis.soundness import check_functions, check_sound

_UNSHARED_OPS = frozenset(
    {
        "BatchNormalization",
        "ConvInteger",
        "DequantizeLinear",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)
_ELEMENTWISE = frozenset({"Add", "BiasGelu", "Div", "FastGelu", "Mul", "PRelu", "Sub"})
_BIASED = frozenset({"Conv", "ConvTranspose", "FusedConv", "FusedGemm", "Gemm"})


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready for analysis; nobody modifies ``model``.

    Attributes:
        model: The normalised working copy.
        flat: The same with the bodies of If, Loop and Scan laid out (``bodies``): what is analysed
            and cut. Without bodies it is ``model`` itself.
        bodies: How to put them back.
        sha256: Digest of the bytes as they came in, those of other files after those of the model.
        generated_names: Node names that the file did not have.
        copies: Un-shared initializer -> the one of the file that it is a copy of.
    """

    model: onnx.ModelProto
    sha256: str
    generated_names: frozenset[str]
    copies: Mapping[str, str] = field(default_factory=dict)
    flat: onnx.ModelProto
    bodies: Bodies = field(default_factory=Bodies)

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return next(int(o.version) for o in self.model.opset_import if o.domain in ("", "ai.onnx"))


def load_model(source: Path | bytes) -> LoadedModel:
    """Read and normalise a model.

    Weights in other files are read if ``source`` is a path; they must lie in its folder.

    Raises:
        ModelError: The file is unreadable, truncated, no ONNX model, has nothing to run, or keeps
            weights in other files that cannot be had.
    """
    if isinstance(source, bytes):
        model, digest = _parse(source), hashlib.sha256(source)
    else:
        model, digest = _read(source)
    _check(model)
    for tensor in _embedded(model, source):
        digest.update(tensor.raw_data)
    densify(model.graph)
    if model.functions:
        model = inlined(model)
    sort_nodes(model.graph)
    check_sound(model)
    generated = name_nodes(model.graph)
    flat, bodies = flatten(model) if has_bodies(model.graph) else (model, Bodies())
    homes = {n.output[0]: bodies.scope_of.get(n.name, 0) for n in flat.graph.node if n.output}
    _resolve_constants(flat.graph)
    copies = _unshare(flat.graph)
    for tensor in flat.graph.initializer:  # constants of a body, and copies, stay in that body
        home = homes.get(tensor.name) or bodies.home.get(copies.get(tensor.name, ""), 0)
        if home:
            bodies.home[tensor.name] = home
    return LoadedModel(
        model=fold(flat, bodies),
        flat=flat,
        bodies=bodies,
        sha256=digest.hexdigest(),
        generated_names=generated,
        copies=copies,
    )


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its local functions expanded where they are called.

    Raises:
        ModelError: They cannot be expanded, or would grow beyond all measure.
    """
    check_functions(model)
    try:
        return inliner.inline_local_functions(model, convert_version=True)
    except (RuntimeError, checker.ValidationError, shape_inference.InferenceError) as error:
        message = "the model's local functions cannot be expanded; export it without functions"
        raise ModelError(message, code="model-functions") from error


def _read(path: Path) -> tuple[onnx.ModelProto, "hashlib._Hash"]:
    try:
        try:
            return read_model(path)
        except (WireError, DecodeError):  # read as one string, it is said what is wrong
            data = path.read_bytes()
            return _parse(data), hashlib.sha256(data)
    except OSError as error:
        message = f"cannot read model {str(path)!r}: {error.strerror}; check the path"
        raise ModelError(message, code="model-unreadable", param=str(path)) from error


def _parse(data: bytes) -> onnx.ModelProto:
    if not data:
        msg = "the model file is empty; upload an ONNX file"
        raise ModelError(msg, code="model-empty")
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        # field 1 (ir_version, varint) starts every file that an ONNX writer made
        if data[:1] == b"\x08" and data[1:2] < b"\x40":
            message = "the ONNX file is truncated or damaged; export or upload it again"
            raise ModelError(message, code="model-truncated") from error
        message = "the file is not an ONNX model (its bytes are no ONNX protobuf)"
        raise ModelError(message + "; export the network to ONNX first") from error


def _check(model: onnx.ModelProto) -> None:
    if not model.graph.node:
        message = "the file holds no ONNX nodes; export the network to ONNX again"
        raise ModelError(message, code="model-empty" if model.ir_version else "model-not-onnx")
    if not model.graph.input or not model.graph.output:
        msg = "the model has no inputs or no outputs"
        raise ModelError(msg, code="model-no-io")
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        message = "the model names no default opset; export it again"
        raise ModelError(message, code="model-opset")


def _embedded(model: onnx.ModelProto, source: Path | bytes) -> list[onnx.TensorProto]:
    """The tensors whose data was in other files; it is in the model from now on."""
    external = external_tensors(model)
    if external and isinstance(source, bytes):
        name = external[0].name
        message = f"weight {name!r} lies in a separate file; save the model as one file"
        raise ModelError(message, code="model-external-data", param=name)
    if not isinstance(source, bytes):
        embed(model, source.parent)
    return external


def name_nodes(graph: onnx.GraphProto) -> frozenset[str]:
    """Give every node of the main graph a name of its own; returns those that are new."""
    taken = Counter(node.name for node in graph.node)
    generated = set()
    for index, node in enumerate(graph.node):
        if node.name and taken[node.name] == 1:
            continue
        name = f"{node.op_type}_{index}"
        while name in taken:
            name += "_"
        taken[name] += 1
        node.name = name
        generated.add(name)
    return frozenset(generated)


def _resolve_constants(graph: onnx.GraphProto) -> None:
    outputs = {value.name for value in graph.output} | _must_be_made(graph)
    known = {tensor.name for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for slot, name in enumerate(node.input):
            if name in renamed:
                node.input[slot] = renamed[name]
        tensor = _constant_value(node) if node.output[0] not in outputs else None
        if tensor is not None:
            graph.initializer.append(tensor)
            known.add(tensor.name)
        elif (
            node.op_type == "Identity" and node.input[0] in known and node.output[0] not in outputs
        ):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _must_be_made(graph: onnx.GraphProto) -> set[str]:
    """Tensors that a node must make: outputs of bodies, and what a body that stays one captures."""
    names: set[str] = set()
    for node in graph.node:
        if node.domain == CONTROL and not node.op_type.endswith("Body"):
            names.update(node.input)
        for _, body in graphs_of(node):
            names |= _tensor_names(body)
    return names


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    if not node.attribute:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = node.output[0]
        return tensor
    if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
        dtype = np.float32 if "float" in attribute.name else np.int64
        value = onnx.helper.get_attribute_value(attribute)
        return numpy_helper.from_array(np.asarray(value, dtype), node.output[0])
    return None


def _unshare(graph: onnx.GraphProto) -> dict[str, str]:
    """Give every vector in a normalisation, bias or scale slot its own tensor; copy -> original.

    Exporters merge weights that are equal at export time: zeros, ones, one value throughout. What
    holds different values was shared on purpose and keeps its one tensor, as do matrices and tables
    (a tied embedding).
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    used: Counter[str] = Counter()
    copies: dict[str, str] = {}
    taken = _tensor_names(graph)
    for node in graph.node:
        for slot, name in enumerate(node.input):
            tensor = tensors.get(name)
            if tensor is None or not _is_unshared_slot(node, slot, tensor):
                continue
            used[name] += 1
            if used[name] == 1:
                continue
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = _free_name(f"{name}__{used[name]}", taken)
            graph.initializer.append(copy)
            node.input[slot] = copy.name
            copies[copy.name] = name
    return copies


def _is_uniform(tensor: onnx.TensorProto) -> bool:
    """Whether all elements are equal."""
    values = numpy_helper.to_array(tensor).ravel()
    return bool(np.all(values == values[:1]))


def _tensor_names(graph: onnx.GraphProto) -> set[str]:
    """Names that a new tensor must not have, those inside bodies included."""
    values = (*graph.input, *graph.output, *graph.initializer, *graph.value_info)
    names = {value.name for value in values}
    for node in graph.node:
        names.update(node.input, node.output)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                names |= _tensor_names(body) if body.node else set()
    return names


def _free_name(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def _is_unshared_slot(node: onnx.NodeProto, slot: int, tensor: onnx.TensorProto) -> bool:
    if sum(length > 1 for length in tensor.dims) != 1 or not _is_uniform(tensor):
        return False
    if node.op_type in _UNSHARED_OPS:
        return slot > 0
    return node.op_type in _ELEMENTWISE or (node.op_type in _BIASED and slot == 2)
