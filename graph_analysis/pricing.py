"""What remains of a model costs, and what a unit or a structure is worth, from its ``CostModel``.

The remainder is counted with all products at once; a unit is priced by what it touches only.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from math import prod
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from graph_analysis.costs import CostModel
from graph_analysis.crossings import Crossings
from graph_analysis.effects import Survivors
from graph_analysis.multiplications import Product
from graph_analysis.places import NO_INTS, Ints, ranges
from graph_analysis.trace_graph import TraceGraph

Marks = npt.NDArray[np.bool_]  # by class: what is removed
Owner = TypeVar("Owner")


class ProductIndex(Generic[Owner]):
    """The products of many owners: counted at once, or by the classes that they contain."""

    def __init__(self, products: Mapping[Owner, Sequence[Product]]) -> None:
        flat = [(owner, product) for owner, own in products.items() for product in own]
        axes = [axis for _, product in flat for axis in product.axes]
        self._owners = [owner for owner, _ in flat]
        self._factors = [product.factor for _, product in flat]
        self._axes_of = [len(product.axes) for _, product in flat]
        self._first_axis = np.cumsum([0, *self._axes_of]).tolist()
        self._product_of = np.repeat(np.arange(len(flat)), np.array(self._axes_of, np.int64))
        self._lengths = np.array([axis.size for axis in axes], np.int64)
        kept = [axis[axis >= 0] for axis in axes]  # never empty: such axes are part of the factor
        sizes = np.array([axis.size for axis in kept], np.int64)
        self._starts = np.cumsum(sizes) - sizes
        self._classes: Ints = np.concatenate([NO_INTS, *kept])
        order = np.argsort(self._classes, kind="stable")
        self._sorted = self._classes[order]
        self._axis_of = np.repeat(np.arange(sizes.size), sizes)[order]

    def count(self, gone: Marks) -> dict[Owner, int]:
        """Every owner's sum of products when the classes marked in ``gone`` are removed."""
        kept = self._lengths
        if kept.size:
            kept = kept - np.add.reduceat(gone[self._classes], self._starts, dtype=np.int64)
        left = iter(kept.tolist())
        counts: dict[Owner, int] = defaultdict(int)
        for owner, factor, axes in zip(self._owners, self._factors, self._axes_of, strict=True):
            counts[owner] += factor * prod(islice(left, axes))  # may need more than 64 bits
        return counts

    def lost(self, classes: Ints) -> dict[Owner, int]:
        """What the owners touched lose when some classes go."""
        axes, times = np.unique(self._axis_of[ranges(self._sorted, classes)], return_counts=True)
        gone = dict(zip(axes.tolist(), times.tolist(), strict=True))
        lost: dict[Owner, int] = defaultdict(int)
        for number in np.unique(self._product_of[axes]).tolist():
            own = range(self._first_axis[number], self._first_axis[number + 1])
            lengths = [int(self._lengths[axis]) for axis in own]
            kept = (n - gone.get(axis, 0) for n, axis in zip(lengths, own, strict=True))
            lost[self._owners[number]] += self._factors[number] * (prod(lengths) - prod(kept))
        return lost


class Prices:
    """Costs of a graph after any removal."""

    def __init__(
        self, graph: TraceGraph, costs: CostModel, crossings: Crossings, classes: int
    ) -> None:
        self._graph = graph
        self._costs = costs
        self._crossings = crossings
        self._macs = ProductIndex(costs.macs)
        self._elements = ProductIndex({name: (one,) for name, one in costs.elements.items()})
        none = np.zeros(classes + 1, bool)
        self.whole_macs: Mapping[int, int] = self._macs.count(none)
        self.whole_elements: Mapping[str, int] = self._elements.count(none)

    def macs(self, gone: Marks, remaining: Survivors) -> int:
        """Multiply-accumulates of what remains, per sample."""
        counts = self._macs.count(gone)
        return sum(counts.values()) - sum(counts.get(index, 0) for index in remaining.removed)

    def elements(self, gone: Marks, remaining: Survivors, *, in_bytes: bool) -> int:
        """Parameters, or bytes of all initializers, that are still used."""
        counts = self._elements.count(gone)
        unused = self._unused(remaining.removed)
        if in_bytes:
            sizes = self._costs.item_bytes
            return sum(n * sizes[name] for name, n in counts.items() if name not in unused)
        return sum(counts[name] for name in self._costs.parameters if name not in unused)

    def macs_lost(self, classes: Ints, removed: frozenset[int] = frozenset()) -> int:
        """Multiply-accumulates that go with some classes and vertices."""
        shrunk = self._macs.lost(self._crossings.closure(classes))
        kept = sum(lost for index, lost in shrunk.items() if index not in removed)
        return kept + sum(self.whole_macs.get(index, 0) for index in removed)

    def parameters_lost(self, classes: Ints, removed: frozenset[int] = frozenset()) -> int:
        """Parameters that go with some classes and vertices."""
        shrunk = self._elements.lost(self._crossings.closure(classes))
        parameters, unused = self._costs.parameters, self._unused(removed)
        kept = sum(n for name, n in shrunk.items() if name in parameters and name not in unused)
        return kept + sum(self.whole_elements[name] for name in unused if name in parameters)

    def _unused(self, removed: frozenset[int]) -> set[str]:
        """Initializers that only removed vertices read."""
        vertices, uses = self._graph.vertices, self._graph.consumers
        read = {name for index in removed for name in vertices[index].inputs if name}
        return {
            name
            for name in read
            if name in self._costs.elements and all(index in removed for index, _ in uses[name])
        }
