"""Walks an ONNX graph node by node and has translators write the torch graph.

Requires a graph as ``scopes`` prepares it, with sorted nodes; changes nothing in it. What a node
needs to know about its operator is in ``ops``, what training may change in ``roles``.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import onnx
import torch

from graph_analysis.bodies import graphs_of
from graph_analysis.errors import ModelError, SecateurError
from graph_analysis.masking import MASK_DOC
from optimizer.bridge.arrays import constant_proto, dtype_of, tensor_from_proto
from optimizer.bridge.bindings import Binding, Bindings
from optimizer.bridge.body_import import Bodies
from optimizer.bridge.call import Call
from optimizer.bridge.expansion import BODY_DOC
from optimizer.bridge.fresh import fresh_weights
from optimizer.bridge.names import attribute_paths
from optimizer.bridge.registry import (
    HostTranslator,
    Translator,
    UnsupportedVariant,
    find,
    find_on_host,
)
from optimizer.bridge.roles import integer_weights, trainable_initializers
from optimizer.bridge.scopes import all_nodes
from optimizer.bridge.unknown import (
    names_read,
    unknown_operators,
    unsupported,
    untranslatable,
)
from optimizer.bridge.values import Value, constant_of
from optimizer.bridge.writer import TENSOR, Writer
from optimizer.errors import UnsupportedOperator, UnsupportedOperatorsError

_LARGE = 1024  # bytes of an initializer that shape inference does not need to see


class GraphImport:
    """One pass over one graph.

    Attributes:
        writer: The torch graph so far.
        paths: Initializer name to attribute path.
        trainable: Names of the initializers that become parameters.
        fresh: What the trainable ones start with if they are trained from scratch.
        integer_weights: Names of the initializers that are weights but integers.
        is_done: Whether ``run`` got to its end.
        values: What has been translated, by name.

    Args:
        model: As ``scopes.prepare`` leaves it.
        bindings: Sizes of the free axes.
        flat: The same graph without bodies, if it has any.
        trained: Names of the initializers that train, where that is not for ``roles`` to decide.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        bindings: Bindings,
        flat: onnx.GraphProto | None = None,
        trained: Container[str] | None = None,
    ) -> None:
        self._model = model
        self._flat = model.graph if flat is None else flat
        self._graph = model.graph
        self._bindings = bindings
        self._opsets = {item.domain or "ai.onnx": item.version for item in model.opset_import}
        self.values: dict[str, Value] = {}
        self._unsupported: list[UnsupportedOperator] = []
        self._lost: set[str] = set()  # values behind unsupported nodes
        self._initializers = {proto.name: proto for proto in self._graph.initializer}
        self._initializers |= _constants_as_initializers(all_nodes(self._graph.node))
        self.is_done = False
        self.paths = attribute_paths(self._initializers)
        graph_for_roles = self._graph_for_roles()
        if trained is None:
            trained = trainable_initializers(graph_for_roles)
        self.trainable = frozenset(name for name in self._initializers if name in trained)
        self.fresh = fresh_weights(graph_for_roles, self.trainable)
        self.integer_weights = integer_weights(graph_for_roles)
        self.writer = Writer(self.paths, batch=bindings.batch)

    def run(self) -> None:
        """Translate everything.

        Raises:
            UnsupportedOperatorsError: Some operators have no torch function.
            ModelError: A node reads a value that nothing before it writes.
        """
        for binding, info in zip(self._bindings.inputs, free_inputs(self._graph), strict=True):
            self.values[binding.name] = self._input(info, binding)
        self.translate(self._graph.node)
        if self._unsupported:
            raise UnsupportedOperatorsError(_merged(self._unsupported))
        for info in free_inputs(self._graph):
            _refuse_strings(info)
        outputs = [self.lookup(info.name, "the graph's outputs") for info in self._graph.output]
        outputs = [self.writer.tensor(each) if each.is_tensor else each for each in outputs]
        if any(self._has_lost_batch(output) for output in outputs):
            self.writer.binds_batch = True
        nodes = tuple(self.writer.node(output) for output in outputs)
        self.writer.graph.output(nodes[0] if len(nodes) == 1 else nodes)
        self.is_done = True

    def _input(self, info: onnx.ValueInfoProto, binding: Binding) -> Value:
        is_optional = info.type.HasField("optional_type")
        kind = info.type.optional_type.elem_type if is_optional else info.type
        is_sequence = kind.HasField("sequence_type")
        dtype = dtype_of(_element_kind(info)) or torch.float32
        value = self.writer.input(binding.name, dtype, binding.shapes)
        return replace(value, is_sequence=is_sequence, is_optional=is_optional)

    def _has_lost_batch(self, output: Value) -> bool:
        """Whether an output keeps its shape although the batch has another size."""
        static = output.static_shape
        return (
            self._bindings.relaxes_batch
            and bool(static)
            and output.constant is None
            and static is not None
            and static[0] == self._bindings.batch
        )

    @property
    def is_stopped(self) -> bool:
        """Whether something unsupported was found, so that only more of that is looked for."""
        return bool(self._unsupported)

    def translate(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Translate nodes in order; what they make is in ``values``."""
        for node in nodes:
            self._translate(node)

    def _translate(self, node: onnx.NodeProto) -> None:
        opset = self._opsets.get(node.domain or "ai.onnx", 1)
        translator = find(node.domain, node.op_type, opset)
        if translator is None or not self._lost.isdisjoint(names_read(node)):
            self._unsupported += unknown_operators(node, self._opsets)
            self._lost.update(filter(None, node.output))  # what follows is only looked up
            return
        inputs = [self.lookup(name, f"node '{node.name}'") if name else None for name in node.input]
        bodies = Bodies(self, node)
        call = Call(node, opset, inputs, self.writer, self.find, bodies, self._element_type)
        self.writer.name_next(next((name for name in node.output if name), node.name))
        try:
            results = self._results(call, translator)
        except UnsupportedVariant as error:
            self._unsupported.append(unsupported(node, opset, str(error)))
            self._lost.update(filter(None, node.output))
            return
        except SecateurError:
            raise
        except Exception as error:  # noqa: BLE001 - no list of what odd nodes bring about ends
            self._unsupported.append(unsupported(node, opset, untranslatable(error)))
            self._lost.update(filter(None, node.output))
            return
        if self._unsupported and any(True for _ in graphs_of(node)):
            self._lost.update(filter(None, node.output))  # bodies were looked through only
            return
        for name, result in zip(node.output, results, strict=False):
            if name:
                self.values[name] = self._completed(name, result)
                if result.node is not None:
                    result.node.meta.setdefault(TENSOR, name)

    def _results(self, call: Call, translator: Translator) -> Sequence[Value]:
        on_host = self._on_host(call)
        host_result = on_host(call) if on_host else None
        if host_result is not None:
            return [host_result]
        result = translator(call)
        return [result] if isinstance(result, Value) else result

    def _on_host(self, call: Call) -> HostTranslator | None:
        present = [value for value in call.inputs if value is not None]
        if not any(value.is_host for value in present):
            return None
        if all(value.is_host or value.is_small_constant for value in present):
            return find_on_host(call.node.domain, call.node.op_type)
        return None

    def lookup(self, name: str, reader: str) -> Value:
        """Return what a name stands for.

        Raises:
            ModelError: Nothing so far is called so.
        """
        if name in self.values:
            return self.values[name]
        found = self.find(name)
        if found is None:
            message = (
                f"{reader} reads '{name}', which no input, initializer or earlier node provides; "
                "check the file with onnx.checker"
            )
            raise ModelError(
                message,
                code="model-output-missing",
                param=name,
            )
        return found

    def find(self, name: str) -> Value | None:
        """Return what a name stands for, ``None`` if nothing so far is called so."""
        if name in self.values:
            return self.values[name]
        if name not in self._initializers:
            return None
        try:
            tensor = tensor_from_proto(self._initializers[name])
        except TypeError as error:
            raise ModelError(str(error), code="model-dtype", param=name) from error
        if name in self.trainable:
            self.values[name] = self.writer.parameter(name, tensor)
        elif self._initializers[name].doc_string == MASK_DOC:  # changes while units go
            self.values[name] = self.writer.buffer(constant_of(tensor, initializer=name))
        else:
            self.values[name] = constant_of(tensor, initializer=name)
        return self.values[name]

    def _completed(self, name: str, value: Value) -> Value:
        """Add what ONNX infers where probing found nothing."""
        if not value.is_tensor or (value.dtype is not None and value.rank is not None):
            return value
        tensor = self.inferred.get(name)
        if tensor is None:
            return value
        rank = len(tensor.shape.dim) if tensor.HasField("shape") else None
        dtype = value.dtype or dtype_of(tensor.elem_type)
        return replace(value, dtype=dtype, inferred_rank=value.inferred_rank or rank)

    def _element_type(self, name: str) -> int:
        """ONNX element type of a value, 0 if it is not known; torch may hold it as another one."""
        if name in self._initializers:
            return int(self._initializers[name].data_type)
        infos = (*self._graph.input, *self._graph.value_info)
        stated = next((info for info in infos if info.name == name), None)
        if stated is not None and stated.type.tensor_type.elem_type:
            return int(stated.type.tensor_type.elem_type)
        return int(self.inferred[name].elem_type) if name in self.inferred else 0

    @property
    def initializers(self) -> list[onnx.TensorProto]:
        """All initializers, those that a Constant node holds included."""
        return list(self._initializers.values())

    @cached_property
    def inferred(self) -> dict[str, onnx.TypeProto.Tensor]:
        """What ONNX infers of tensors, also of those in bodies, by name."""
        light = onnx.ModelProto()
        light.CopyFrom(self._model)
        for proto in light.graph.initializer:
            if len(proto.raw_data) > _LARGE:
                proto.ClearField("raw_data")
        try:
            graph = onnx.shape_inference.infer_shapes(light, data_prop=False).graph
        except (onnx.shape_inference.InferenceError, ValueError):
            graph = self._graph
        bodies = [body for node in all_nodes(graph.node) for _, body in graphs_of(node)]
        return {
            info.name: info.type.tensor_type
            for each in (graph, *bodies)
            for info in (*each.value_info, *each.output)
        }

    def _graph_for_roles(self) -> onnx.GraphProto:
        graph = onnx.GraphProto()
        graph.input.extend(self._flat.input)
        graph.initializer.extend(self._initializers.values())
        graph.node.extend(node for node in self._flat.node if node.op_type != "Constant")
        return graph


def _refuse_strings(info: onnx.ValueInfoProto) -> None:
    if _element_kind(info) == onnx.TensorProto.STRING:
        message = (
            f"input '{info.name}' holds strings, which torch cannot; cut what reads it from the "
            "graph and feed numbers"
        )
        raise ModelError(message, code="model-dtype", param=info.name)


def _element_kind(info: onnx.ValueInfoProto) -> int:
    """ONNX element type of an input, of its tensors if it is a sequence or an optional."""
    kind = info.type
    if kind.HasField("optional_type"):
        kind = kind.optional_type.elem_type
    if kind.HasField("sequence_type"):
        kind = kind.sequence_type.elem_type
    return int(kind.tensor_type.elem_type)


def free_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the graph inputs that are not initializers (IR version 3 lists those as well)."""
    initializers = {proto.name for proto in graph.initializer}
    return [info for info in graph.input if info.name not in initializers]


def _constants_as_initializers(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.TensorProto]:
    found = {}
    for node in nodes:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            proto = None if node.doc_string == BODY_DOC else constant_proto(node)
            if proto is not None:
                proto.name = node.output[0]
                found[proto.name] = proto
    return found


def _merged(found: Sequence[UnsupportedOperator]) -> list[UnsupportedOperator]:
    """Join findings that differ only in their node."""
    merged: dict[tuple[str, str, str], UnsupportedOperator] = {}
    for item in found:
        key = (item.domain, item.op_type, item.reason)
        known = merged.get(key)
        nodes = (*known.nodes, *item.nodes) if known else item.nodes
        merged[key] = replace(item, nodes=tuple(dict.fromkeys(nodes)))
    return list(merged.values())
