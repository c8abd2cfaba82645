"""Attention as one operator: heads are the units, standard (opset 23) and com.microsoft alike.

A tensor holds its heads either on an axis of their own, or packed: heads times head size on the
last axis. The head size is summed over inside the operator and stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graph_analysis.coupling import FIXED, Labels
from graph_analysis.labels import Axes, Axis, Labelling
from graph_analysis.trace_graph import Vertex

_HEAD_SIZE = "sums over it"


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Reads the heads of the tensors around one attention vertex, and ties them."""

    labelling: Labelling
    vertex: Vertex

    def input(self, slot: int) -> str:
        """Name of an input, or empty if it is not given."""
        return self.vertex.inputs[slot] if slot < len(self.vertex.inputs) else ""

    def packed(self, labels: Axis, count: int) -> Axis:
        """One label per head of an axis of heads times head size, its positions tied."""
        if labels is None:
            return None
        rows = labels.reshape(count, -1)
        self.labelling.tie_all(rows)
        return rows[:, 0]

    def own_axis(self, name: str, axis: int) -> Axis:
        """The heads of a tensor with an axis for them; a single one ties nothing."""
        return self.labelling.of(name)[axis] if name else None

    def tie(self, name: str, axis: int, heads: Axis) -> None:
        """An optional tensor (mask, bias, past) with heads on ``axis``; a length of 1 is shared."""
        shape = self.labelling.graph.shape(name) or () if name else ()
        for place, labels in enumerate(self.labelling.of(name) if name else ()):
            if place != axis:
                self.labelling.freeze(labels, self.reason(_HEAD_SIZE))
            elif shape[axis] > 1:
                self.labelling.tie(labels, heads, self.reason("meets fixed heads"))

    def freeze(self, name: str, axis: int, why: str) -> None:
        """An axis that stays."""
        if name:
            self.labelling.freeze(self.labelling.of(name)[axis], self.reason(why))

    def reason(self, why: str) -> str:
        """The reason, with the vertex that gives it."""
        return f"{self.vertex.name!r} {why}"

    def join(self, query: Axis, key: Axis, value: Axis, groups: int, each: int) -> None:
        """Key heads go with value heads; a query head goes with its key head or with its slot."""
        reason = self.reason("meets fixed heads")
        if groups > 1:
            self.labelling.tie(key, value, reason)
        if each == 1:
            self.labelling.tie(query, key, reason)
        elif query is not None:
            rows = _or_fixed(key, groups)
            slots = self.labelling.fresh(each)
            assert slots is not None  # more than one
            crossed = self.labelling.cross(rows, slots).ravel()
            self.labelling.tie(query, crossed, reason)
        else:
            self.labelling.freeze(key, reason)
        if query is not None:
            self.labelling.heads.append(query)


def _or_fixed(axis: Axis, length: int) -> Labels:
    return np.full(length, FIXED, np.int64) if axis is None else axis


def attention(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """com.microsoft Attention: one projection makes query, key and value."""
    heads = Heads(labelling=labelling, vertex=vertex)
    count = vertex.attributes["num_heads"]
    x, weight = labelling.of(heads.input(0)), labelling.of(heads.input(1))
    labelling.tie(x[2], weight[0], heads.reason("its input channels stay"))
    labelling.freeze(x[1], heads.reason("normalises over it"))
    labelling.note_born(heads.input(1), 1, vertex)
    if heads.input(2):
        labelling.tie(labelling.of(heads.input(2))[0], weight[1], heads.reason("its heads stay"))
    width = (labelling.graph.shape(heads.input(1)) or (0, 0))[1]
    sizes = vertex.attributes.get("qkv_hidden_sizes") or [width // 3] * 3
    parts = _parts(weight[1], sizes)
    query, key, value = (heads.packed(part, count) for part in parts)
    heads.join(query, key, value, count, 1)
    heads.tie(heads.input(4), 2, query)
    heads.tie(heads.input(5), 1, query)
    outputs: list[Axes] = [[x[0], None, parts[2]], [None, x[0], query, None, None]]
    return outputs[: len(vertex.outputs)]


def _parts(labels: Axis, sizes: Sequence[int]) -> list[Axis]:
    if labels is None:
        return [None] * len(sizes)
    return [*np.split(labels, np.cumsum(sizes)[:-1])]


def multi_head(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """com.microsoft MultiHeadAttention: projections done outside, packed or one by one."""
    heads = Heads(labelling=labelling, vertex=vertex)
    count = vertex.attributes["num_heads"]
    names = [heads.input(slot) for slot in range(3)]
    found, widths = [], []
    for name in names:
        if name:
            axes = labelling.of(name)
            own = {4: 1, 5: 2}.get(len(axes))
            widths.append(axes[-1] if own is None else None)
            found.append(heads.packed(axes[-1], count) if own is None else axes[own])
            _freeze_tokens(heads, name, own)
    for other in found[1:]:
        labelling.tie(found[0], other, heads.reason("meets fixed heads"))
    if found[0] is not None:
        labelling.heads.append(found[0])
    _bias(heads, count, found[0])
    heads.tie(heads.input(5), 1, found[0])
    for slot in (6, 7):
        heads.tie(heads.input(slot), 1, found[0])
    out = widths[-1] if widths[-1] is not None else _spread(labelling, vertex, found[-1])
    first: Axes = [labelling.of(names[0])[0], None, out]
    return [first, *([None, found[0], None, None] for _ in vertex.outputs[1:])]


def _freeze_tokens(heads: Heads, name: str, own: int | None) -> None:
    axes = range(1, len(heads.labelling.of(name)))
    for axis in axes:
        if axis != (own if own is not None else len(axes)):
            heads.freeze(name, axis, _HEAD_SIZE)


def _bias(heads: Heads, count: int, query: Axis) -> None:
    """The bias of MultiHeadAttention: query, key and value one after another."""
    name = heads.input(3)
    labels = heads.labelling.of(name)[0] if name else None
    if labels is None:
        return
    shapes = [heads.labelling.graph.shape(heads.input(slot)) or () for slot in (0, 2)]
    first = shapes[0][-1] if len(shapes[0]) == 3 else labels.size // 3
    for part in (labels[:first], labels[first : 2 * first], labels[2 * first :]):
        heads.labelling.tie(heads.packed(part, count), query, heads.reason("meets fixed heads"))


def _spread(labelling: Labelling, vertex: Vertex, heads: Axis) -> Axis:
    """Packed labels of the output, each head as often as its size."""
    width = (labelling.graph.shape(vertex.outputs[0]) or (0,))[-1]
    return None if heads is None else np.repeat(heads, width // heads.size)


def grouped_query(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """com.microsoft GroupQueryAttention: several query heads for one of key and value."""
    heads = Heads(labelling=labelling, vertex=vertex)
    count, groups = vertex.attributes["num_heads"], vertex.attributes["kv_num_heads"]
    query_name, key_name, value_name = (heads.input(slot) for slot in range(3))
    x = labelling.of(query_name)
    width = (labelling.graph.shape(query_name) or (0,))[-1]
    parts: list[Axis]
    if key_name:
        parts = [labelling.of(name)[2] for name in (query_name, key_name, value_name)]
    else:
        size = width // (count + 2 * groups)
        parts = _parts(x[2], [count * size, groups * size, groups * size])
    query = heads.packed(parts[0], count)
    key, value = (heads.packed(part, groups) for part in parts[1:])
    for slot in (3, 4):
        heads.tie(heads.input(slot), 1, key)
    heads.join(query, key, value, groups, count // groups)
    for slot in (7, 8):
        if heads.input(slot):
            labelling.freeze_all(heads.input(slot), heads.reason("reads its angles"))
    for name in (query_name, key_name, value_name):
        heads.freeze(name, 1, _HEAD_SIZE)
    heads.tie(heads.input(10), 1, query)
    return [[x[0], None, parts[0]], *([x[0], key, None, None] for _ in vertex.outputs[1:])]


def standard(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Attention of opset 23: heads on axis 1, or packed with their numbers as attributes."""
    heads = Heads(labelling=labelling, vertex=vertex)
    names = [heads.input(slot) for slot in range(3)]
    graph = labelling.graph
    shapes = [graph.shape(name) or () for name in names]
    packed = len(shapes[0]) == 3
    counts = (
        [vertex.attributes["q_num_heads"], *[vertex.attributes["kv_num_heads"]] * 2]
        if packed
        else [shape[1] for shape in shapes]
    )
    found = []
    for name, count in zip(names, counts, strict=True):
        axes = labelling.of(name)
        found.append(heads.packed(axes[2], count) if packed else axes[1])
        _freeze_tokens(heads, name, None if packed else 1)
        heads.freeze(name, 0, "pairs its samples with those of other tensors")
    query, key, value = found
    heads.join(query, key, value, counts[1], counts[0] // counts[1])
    mask = heads.input(3)
    if mask:
        heads.tie(mask, len(graph.shape(mask) or ()) - 3, query)
    for slot in (4, 5):
        heads.tie(heads.input(slot), 1, key)
    batch = labelling.of(names[0])[0]
    made = _spread(labelling, vertex, query) if packed else query
    first: Axes = [batch, None, made] if packed else [batch, made, None, None]
    rest: list[Axes] = [[batch, heads_, None, None] for heads_ in (key, value, query)]
    return [first, *rest][: len(vertex.outputs)]


def rotary(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """RotaryEmbedding: heads pass, positions inside a head are turned by their angle."""
    heads = Heads(labelling=labelling, vertex=vertex)
    x = list(labelling.of(vertex.inputs[0]))
    caches = (2, 3) if not vertex.is_standard else (1, 2)
    for slot in caches:
        labelling.freeze_all(heads.input(slot), heads.reason("reads its angles"))
    if len(x) == 4:
        heads.freeze(vertex.inputs[0], 3, "turns it by its angle")
        return [[x[0], x[1], x[2], None]]
    width = (labelling.graph.shape(vertex.inputs[0]) or (0,))[-1]
    count = vertex.attributes.get("num_heads", 0)
    angles = (labelling.graph.shape(heads.input(caches[0])) or (0,))[-1]
    heads.packed(x[2], count or width // (2 * angles))
    return [x]


MICROSOFT = {
    "Attention": attention,
    "GroupQueryAttention": grouped_query,
    "MultiHeadAttention": multi_head,
    "RotaryEmbedding": rotary,
}
RULES = {"Attention": standard, "RotaryEmbedding": rotary}
