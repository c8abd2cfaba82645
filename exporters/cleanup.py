"""What became useless or untrue with the cut: dead nodes, unused weights, stale annotations.

Only what *became* so: a node or an initializer that nothing used in the file that came in is the
user's business and stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx

from exporters.draft import Draft, bodies, inputs_of, names_of
from exporters.errors import SurgeryError


def live_nodes(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that ``outputs`` depend on, directly or through others, in order."""
    needed = set(outputs)
    live = []
    for node in reversed(nodes):
        if any(name in needed for name in node.output if name):
            live.append(node)
            needed.update(inputs_of(node))
    return live[::-1]


def remove_dead(draft: Draft) -> None:
    """Delete nodes that no output needs any more, and initializers that nothing reads any more.

    Ensures that what stays is complete: every tensor that is read is there.

    Raises:
        SurgeryError: A live node, or a graph output, reads a tensor that nothing produces.
    """
    outputs = [value.name for value in draft.model.graph.output]
    idle = _idle_before(draft, outputs)
    live = {id(node) for node in live_nodes(draft.nodes, outputs)}
    present = _given(draft)
    kept = []
    for node in draft.nodes:
        is_live = id(node) in live
        missing = [name for name in _outer_inputs(node) if name not in present]
        if is_live and missing:
            message = f"node {node.name!r} stays but reads {missing[0]!r}, which was removed"
            raise SurgeryError(message, param=node.name)
        if is_live or (node.name in idle and not missing):
            kept.append(node)
            present.update(node.output)
    draft.nodes[:] = kept
    for name in outputs:
        if name not in present:
            msg = f"output {name!r} of the model was removed"
            raise SurgeryError(msg, param=name)
    _drop_initializers(draft)


def share_equal(draft: Draft, copies: Mapping[str, str]) -> None:
    """Let copies that still equal what they were copied from share its tensor again.

    Except those that were cut to a single element: loading the file would not part them again, and
    what was independent would be tied.

    Args:
        draft: Cut already.
        copies: Copy -> original, as ``LoadedModel.copies`` has them.
    """
    shared = {
        copy: original
        for copy, original in copies.items()
        if copy in draft.initializers
        and original in draft.initializers
        and any(length > 1 for length in draft.initializers[copy].dims)
        and _is_same(draft.initializers[copy], draft.initializers[original])
    }
    for node in draft.nodes:
        for slot, name in enumerate(node.input):
            if name in shared:
                node.input[slot] = shared[name]
    for name in shared:
        del draft.initializers[name]


def _is_same(one: onnx.TensorProto, other: onnx.TensorProto) -> bool:
    if one.data_type != other.data_type or list(one.dims) != list(other.dims):
        return False
    arrays = onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other)
    return arrays[0].tobytes() == arrays[1].tobytes()


def _idle_before(draft: Draft, outputs: Iterable[str]) -> set[str]:
    origin = list(draft.origin.values())
    return set(draft.origin) - {node.name for node in live_nodes(origin, outputs)}


def _given(draft: Draft) -> set[str]:
    inputs = {value.name for value in draft.model.graph.input}
    sparse = {tensor.values.name for tensor in draft.model.graph.sparse_initializer}
    return inputs | sparse | set(draft.initializers)


def _outer_inputs(node: onnx.NodeProto) -> set[str]:
    """Tensors of the surrounding graph that ``node`` and its bodies read."""
    names = {name for name in node.input if name}
    for body in bodies(node):
        own = {value.name for value in (*body.input, *body.initializer)}
        own.update(tensor.values.name for tensor in body.sparse_initializer)
        for inner in body.node:
            names |= _outer_inputs(inner) - own
            own.update(inner.output)
        names |= {value.name for value in body.output} - own
    return names


def _drop_initializers(draft: Draft) -> None:
    outputs = {value.name for value in draft.model.graph.output}
    used_before = outputs.union(*map(_outer_inputs, draft.origin.values()))
    used_now = outputs.union(*map(_outer_inputs, draft.nodes))
    for name in list(draft.initializers):
        if name in used_before and name not in used_now:
            del draft.initializers[name]
            _drop_named(draft.model.graph.input, {name})


def update_annotations(draft: Draft, generated_names: Iterable[str]) -> None:
    """Make value infos and quantisation annotations true again; blank the names we made up.

    A length that changed is written where the file stated a number; a symbol stays. Entries of
    tensors that are gone go with them.
    """
    graph = draft.model.graph
    gone = names_of(draft.origin.values()) - names_of(draft.nodes)
    _drop_named(graph.value_info, gone)
    for value in (*graph.value_info, *graph.input):
        _update_lengths(value, {axis: len(i) for axis, i in draft.keep.get(value.name, {}).items()})
        if value.name in draft.initializers:  # rewritten ones too: indices, sizes of parts
            _update_lengths(value, dict(enumerate(draft.initializers[value.name].dims)))
    stale = [a for a in graph.quantization_annotation if a.tensor_name in gone]
    for annotation in stale:
        graph.quantization_annotation.remove(annotation)
    blank = set(generated_names)
    for node in draft.nodes:
        if node.name in blank:
            node.ClearField("name")


def _update_lengths(value: onnx.ValueInfoProto, lengths: Mapping[int, int]) -> None:
    if not lengths or not value.type.tensor_type.HasField("shape"):
        return
    dims = value.type.tensor_type.shape.dim
    for axis, length in lengths.items():
        if axis < len(dims) and dims[axis].HasField("dim_value"):
            dims[axis].dim_value = length


def _drop_named(entries: Any, names: set[str]) -> None:
    rest = [entry for entry in entries if entry.name not in names]
    if len(rest) < len(entries):
        del entries[:]
        entries.extend(rest)
