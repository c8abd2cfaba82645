"""One label per position of every tensor axis, and what ties labels together.

An axis is an array of labels, or None when no position of it may go. Initializers are born with
fresh labels on every axis; ``rules`` tie them to the activations that meet them. A position whose
label is frozen stays, and the first reason given for it is the one reported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx

from graph_analysis.coupling import FIXED, Labels
from graph_analysis.crossings import Crossings, settle_crossings
from graph_analysis.errors import ModelError
from graph_analysis.masking import FORMS, Mask
from graph_analysis.trace_graph import Edge, TraceGraph, Vertex

_SAME_POSITIONS = frozenset({"Cast", "DequantizeLinear", "Identity", "QuantizeLinear"})
MAX_LABELS = 1 << 25
Axis = Labels | None
Axes = list[Axis]


@dataclass(kw_only=True)
class Labelling:
    """Labels of all tensors while the rules run over a graph.

    Attributes:
        graph: The graph that is being labelled.
        axes: Tensor -> labels of each axis.
        unzeroable: Initializers that are cut but never set to 0 (variances, divisors).
        tiled: (tensor, axis) of free length that holds a copy of its labels for every sample.
        integers: Quantised weights: integer initializers that are cut like float ones.
        born: (initializer, axis) -> vertices whose output channels it holds.
        heads: Labels whose units are attention heads.
        masks: Operators with statistics over an axis, and the labels of that axis.
        demands: Where removing is exact only if the position is 0 (``zeroes`` sees to it).
        gated: Edges into Concats whose positions can go without those that they come from.
        gates: Those of them that were met, and the label that goes with such an edge alone.
    """

    graph: TraceGraph
    gated: frozenset[Edge] = frozenset()
    axes: dict[str, Axes] = field(default_factory=dict)
    unzeroable: set[str] = field(default_factory=set)
    tiled: set[tuple[str, int]] = field(default_factory=set)
    integers: set[str] = field(default_factory=set)
    born: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    heads: list[Labels] = field(default_factory=list)
    masks: list[tuple[Mask, Labels]] = field(default_factory=list)
    demands: list["Demand"] = field(default_factory=list)
    gates: dict[Edge, int] = field(default_factory=dict)
    _count: int = 1
    _ties: list[tuple[Labels, Labels]] = field(default_factory=list)
    _frozen: list[tuple[Labels, str]] = field(default_factory=list)
    _crossings: list[tuple[Labels, Labels, Labels]] = field(default_factory=list)

    def of(self, name: str) -> Axes:
        """Labels of a tensor; a float initializer is born on first use, else unknown is fixed."""
        if name in self.axes:
            return self.axes[name]
        shape = self.graph.shape(name) or ()
        if name not in self.graph.initializers or not self.graph.is_float(name):
            return [None] * len(shape)  # integers are indices and sizes, not weights
        axes: Axes = [self.fresh(length) for length in shape]
        self.axes[name] = axes
        return axes

    def filled(self, shape: Sequence[int]) -> Axes:
        """Labels of a new tensor that holds one number everywhere: any position may go."""
        return [self._fresh(length) if length > 1 else None for length in shape]

    def of_integers(self, name: str) -> Axes:
        """The same for a quantised operator, to which an integer initializer is a weight."""
        if name not in self.graph.initializers or name in self.axes or self.graph.is_float(name):
            return self.of(name)
        self.integers.add(name)
        self.axes[name] = [self.fresh(length) for length in self.graph.shape(name) or ()]
        return self.axes[name]

    def fresh(self, length: int) -> Labels | None:
        """New labels for an axis; a single position gets none."""
        return self._fresh(length) if length > 1 else None

    def _fresh(self, length: int) -> Labels:
        start = self._count
        self._count += length
        if self._count > MAX_LABELS:
            message = f"the network's axes have more than {MAX_LABELS:,} positions, too many to"
            message += " follow; analyse it for smaller inputs, or a smaller network"
            raise ModelError(message, code="model-too-complex")
        return np.arange(start, start + length, dtype=np.int64)

    def tie(self, left: Axis, right: Axis, reason: str) -> None:
        """Positions of two axes go together; against a fixed axis the other stays."""
        if left is None or right is None:
            self.freeze(left if right is None else right, reason)
            return
        if left.size != right.size:
            self.freeze(left, f"{reason}: lengths do not fit")
            self.freeze(right, f"{reason}: lengths do not fit")
            return
        fixed = (left == FIXED) | (right == FIXED)
        if fixed.any():
            self.freeze(left[fixed], reason)
            self.freeze(right[fixed], reason)
            left, right = left[~fixed], right[~fixed]
        self._ties.append((left, right))

    def tie_all(self, labels: Labels) -> None:
        """Along the last axis of ``labels`` all positions go together."""
        flat = labels.reshape(-1, labels.shape[-1])
        for column in range(1, flat.shape[1]):
            self.tie(flat[:, 0], flat[:, column], "goes together with a position that stays")

    def freeze(self, axis: Axis, reason: str) -> None:
        """No position of the axis may go."""
        if axis is not None and axis.size:
            self._frozen.append((axis[axis != FIXED], reason))

    def freeze_all(self, name: str, reason: str) -> None:
        """No position of any axis of the tensor may go."""
        for axis in self.of(name):
            self.freeze(axis, reason)

    def mask(self, vertex: Vertex, axis: int, reason: str, name: str = "") -> None:
        """``vertex`` takes statistics over ``axis`` of an input; what goes is masked there.

        It is the first input, unless ``name`` is another one. Freezes the axis, for ``reason``,
        where the operator has no masked form.
        """
        name = name or vertex.inputs[0]
        labels, shape = self.of(name)[axis], self.graph.shape(name) or ()
        if labels is None:
            return
        by_sample = (name, axis) in self.tiled  # a mask has one length, this axis has not
        if vertex.op_type not in FORMS or by_sample or not self.graph.is_float(name):
            self.freeze(labels, reason)
            return
        mask = Mask(
            name=f"{vertex.name}/mask{axis}",
            node=vertex.name,
            tensor=name,
            axis=axis,
            rank=len(shape),
            length=shape[axis],
            dtype=self.graph.shapes.dtype.get(name, onnx.TensorProto.FLOAT),
        )
        self.masks.append((mask, labels))

    def require_zero(self, axis: Axis, names: Sequence[str], reason: str) -> None:
        """Positions stay unless one of the tensors ``names`` is 0 there once they are removed."""
        if axis is not None:
            self.demands.append(Demand(labels=axis, tensors=tuple(names), reason=reason))

    def mask_unless_zero(self, vertex: Vertex, axis: int, reason: str) -> None:
        """``mask``, where the first input of ``vertex`` is not 0 once positions are removed."""
        labels = self.of(vertex.inputs[0])[axis]
        if labels is not None:
            demand = Demand(
                labels=labels,
                tensors=(vertex.inputs[0],),
                reason=reason,
                otherwise=lambda: self.mask(vertex, axis, reason),
            )
            self.demands.append(demand)

    def forbid_zero(self, axis: Axis, name: str, reason: str) -> None:
        """Positions stay if the tensor ``name`` is 0 there once they are removed."""
        if axis is not None:
            demand = Demand(labels=axis, tensors=(name,), reason=reason, zero=False)
            self.demands.append(demand)

    def cross(self, rows: Labels, columns: Labels) -> Labels:
        """Labels [rows, columns] of positions that go when their row goes or their column does."""
        grid_rows, grid_columns = np.broadcast_arrays(rows[:, None], columns[None, :])
        crossing = self._fresh(rows.size * columns.size).reshape(grid_rows.shape)
        self._crossings.append((crossing.ravel(), grid_rows.ravel(), grid_columns.ravel()))
        return crossing

    def gate(self, edge: Edge, labels: Labels) -> Labels:
        """Positions behind a gated edge: they go with those before it, or with the edge alone."""
        gate = self._fresh(1)
        self.gates[edge] = int(gate[0])
        return self.cross(labels, gate).ravel()

    def note_born(self, name: str, axis: int, vertex: Vertex) -> None:
        """``axis`` of the initializer holds the output channels of ``vertex``."""
        while name in self.graph.producer:
            maker = self.graph.vertices[self.graph.producer[name]]
            if maker.op_type not in _SAME_POSITIONS:
                break
            name = maker.inputs[0]
        if name in self.graph.initializers:
            self.born.setdefault((name, axis), set()).add(vertex.index)

    def settle(self) -> "Classes":
        """Couple everything; what remains are classes of labels that may go."""
        root, crossings = settle_crossings(self._count, self._ties, self._crossings)
        reasons: list[str] = []
        reason_of = np.full(self._count, -1, np.int64)
        for number, (labels, reason) in enumerate(self._frozen):
            reasons.append(reason)
            roots = np.unique(root[labels])
            unset = roots[reason_of[roots] < 0]
            reason_of[unset] = number
        reason_of[FIXED] = max(reason_of[FIXED], 0) if reasons else -1
        crossings.pass_on(reason_of)
        frozen = reason_of[root] >= 0
        frozen[FIXED] = True
        class_of = np.where(frozen, -1, root)
        head = np.zeros(self._count, bool)
        for labels in self.heads:
            head[root[labels]] = True
        for parents in (crossings.rows, crossings.columns):
            np.logical_or.at(head, parents, head[crossings.crossing])
        return Classes(
            class_of=class_of,
            reason_of=reason_of[root],
            reasons=tuple(reasons),
            is_head=head[root],
            crossings=crossings.without(frozen),
        )


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Positions that may go only if one of ``tensors`` is 0 there (or, not ``zero``, is not).

    If they may not, ``otherwise`` is done, or they are frozen.
    """

    labels: Labels
    tensors: tuple[str, ...]
    reason: str
    zero: bool = True
    otherwise: Callable[[], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The coupled labels: ``class_of`` label -> class (a label), or -1 for what stays."""

    class_of: npt.NDArray[np.int64]
    reason_of: npt.NDArray[np.int64]
    reasons: Sequence[str]
    is_head: npt.NDArray[np.bool_]
    crossings: Crossings

    def of(self, axis: Axis) -> npt.NDArray[np.int64] | None:
        """Class of every position of an axis; None when no position may go."""
        if axis is None:
            return None
        found = self.class_of[axis]
        return found if (found >= 0).any() else None

    def reason(self, axis: Axis) -> str:
        """Why the first frozen position of an axis stays."""
        if axis is None:
            return "a single position must stay"
        numbers = self.reason_of[axis]
        numbers = numbers[numbers >= 0]
        return self.reasons[numbers[0]] if numbers.size else "a group of one unit must stay"
