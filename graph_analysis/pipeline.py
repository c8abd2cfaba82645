"""analyze(): the stages in order, and what can be asked of the result."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from graph_analysis.activations import ActivationBytes, activation_bytes
from graph_analysis.branches import gated_edges
from graph_analysis.costs import CostModel, cost_model
from graph_analysis.effects import Effects, Survivors, footprint, is_connected, is_dead, survivors
from graph_analysis.folding import fold
from graph_analysis.labels import Classes, Labelling
from graph_analysis.layers import parents
from graph_analysis.loading import LoadedModel
from graph_analysis.masking import Gate, Mask, maskable
from graph_analysis.node_groups import NodeGroup, node_groups
from graph_analysis.places import mask_places, weight_places
from graph_analysis.pricing import Prices
from graph_analysis.protection import protect
from graph_analysis.removal import removal_structures
from graph_analysis.rules import apply_rules
from graph_analysis.search_space import (
    Frozen,
    Group,
    GroupKind,
    ModelSummary,
    SearchSpace,
    SegmentEntry,
)
from graph_analysis.segments import SegmentGraph, segment_graph
from graph_analysis.shapes import infer_shapes
from graph_analysis.solution import Solution
from graph_analysis.structures import Refused, Structure
from graph_analysis.trace_graph import Edge, TraceGraph, trace
from graph_analysis.zeroes import settled

USUAL_MULTIPLE = 8  # what the commands keep widths to; others fall out of blocked convolutions


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions:
    """What the user asks of a search space.

    Attributes:
        input_shapes: Input name -> shape, for axes the model leaves free.
        protect: Patterns (``*``, ``?``) on names of nodes, tensors and initializers that stay.
        kinds: Kinds of groups to generate.
        multiple: Kept units of a node group are a multiple of this where the group is large enough.
        min_units: Units that every node group keeps at least.
    """

    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    protect: tuple[str, ...] = ()
    kinds: frozenset[GroupKind] = frozenset(GroupKind)
    multiple: int = 1
    min_units: int = 1


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One analysed model: its search space, and what any solution of it does."""

    loaded: LoadedModel
    options: AnalysisOptions
    graph: TraceGraph
    labelling: Labelling
    classes: Classes
    costs: CostModel
    prices: Prices
    segments: SegmentGraph
    structures: tuple[Structure, ...]
    node_groups: tuple[NodeGroup, ...]
    refused: tuple[Refused, ...]
    space: SearchSpace
    protected: frozenset[int]  # vertices that no removal may take along

    @cached_property
    def structure_by_id(self) -> Mapping[str, Structure]:
        """Removal structures, by group id."""
        return {entry.group.id: entry for entry in self.structures}

    @cached_property
    def classes_by_id(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Node groups' classes of every unit, by group id."""
        return {e.group.id: np.asarray(e.classes, np.int64) for e in self.node_groups}

    @cached_property
    def masks(self) -> tuple[Mask | Gate, ...]:
        """Masks of all operators that take statistics over something that may go, and all gates."""
        used = {slices.initializer for group in self.space.groups for slices in group.masks}
        masks = [mask for mask, _ in self.labelling.masks if mask.name in used]
        gates = {gate.name: gate for entry in self.structures for gate in entry.gates}
        return (*masks, *gates.values())

    def maskable(self, solution: Solution | None = None) -> onnx.ModelProto:
        """The working copy in its masked form: with all masks, or those that a solution needs.

        What is in bodies has the names of the flat view, by which the search space calls it.
        """
        return fold(self.maskable_flat(solution), self.loaded.bodies.with_unique_names())

    def maskable_flat(self, solution: Solution | None = None) -> onnx.ModelProto:
        """The same as a flat view (``bodies``), if the model has bodies."""
        masks = self.masks
        if solution is not None:
            groups = [self.space.group_by_id[key] for key in solution.removed]
            used = {slices.initializer for group in groups for slices in group.masks}
            masks = tuple(mask for mask in masks if mask.name in used)
        return maskable(self.loaded.flat, masks)

    def gone(self, solution: Solution) -> npt.NDArray[np.bool_]:
        """Which classes (by label) a solution removes; the last entry, index -1, is never set."""
        marks = np.zeros(len(self.classes.class_of) + 1, bool)
        for key, units in solution.removed.items():
            if key in self.structure_by_id:
                marks[list(self.structure_by_id[key].classes)] = True
            else:
                marks[self.classes_by_id[key][list(units)]] = True
        self.classes.crossings.spread(marks)
        return marks

    def survivors(self, solution: Solution) -> Survivors:
        """Which vertices remain."""
        cuts: set[Edge] = set()
        for key in solution.removed:
            if key in self.structure_by_id:
                cuts |= self.structure_by_id[key].edges
        return survivors(self.graph, cuts)

    def is_intact(self, remaining: Survivors) -> bool:
        """Whether inputs still reach all outputs and nothing protected is gone."""
        return is_connected(self.graph, remaining) and not remaining.removed & self.protected

    def effects(self, solution: Solution) -> Effects:
        """What a solution does to every tensor and node."""
        return footprint(
            self.graph, self.labelling, self.classes, self.survivors(solution), self.gone(solution)
        )

    def macs(self, solution: Solution) -> int:
        """Multiply-accumulates of what remains, per sample."""
        return self.remaining_macs(self.gone(solution), self.survivors(solution))

    def remaining_macs(self, gone: npt.NDArray[np.bool_], remaining: Survivors) -> int:
        """The same, from marks of removed classes and remaining vertices."""
        return self.prices.macs(gone, remaining)

    def parameters(self, solution: Solution) -> int:
        """Float weight elements of what remains, un-shared copies counted one by one."""
        gone, remaining = self.gone(solution), self.survivors(solution)
        return self.remaining_elements(gone, remaining, in_bytes=False)

    def bytes(self, solution: Solution) -> int:
        """Bytes of all weights of what remains, statistics and scales among them."""
        gone, remaining = self.gone(solution), self.survivors(solution)
        return self.remaining_elements(gone, remaining, in_bytes=True)

    def activation_bytes(self, solution: Solution) -> ActivationBytes:
        """Activation memory of what remains, for one run under the analysis binding."""
        return activation_bytes(self.graph, self.effects(solution).shapes, self.survivors(solution))

    def remaining_elements(
        self, gone: npt.NDArray[np.bool_], remaining: Survivors, *, in_bytes: bool
    ) -> int:
        """Parameters, or bytes of all weights, that are still used."""
        return self.prices.elements(gone, remaining, in_bytes=in_bytes)

    def violations(self, solution: Solution) -> tuple[str, ...]:
        """Why a solution is not valid; empty when it is (DESIGN.md 4.6)."""
        remaining = self.survivors(solution)
        found = [f"joint {name!r} loses all its inputs" for name in remaining.starved]
        if not is_connected(self.graph, remaining):
            found.append("no path from a graph input to every graph output remains")
        lost = sorted(remaining.removed & self.protected)
        found += [f"{self.graph.vertices[index].name!r} is protected" for index in lost]
        for key in solution.removed:
            structure = self.structure_by_id.get(key)
            if structure is not None and self._is_dead_without(key, solution):
                found.append(f"structure {key!r} is already dead")
        gone, concat = self.gone(solution), self._gone_at_concats(solution)
        for entry in self.node_groups:
            key = entry.group.id
            dead = self._is_dead(entry, remaining, concat)
            if dead and key in solution.removed:
                found.append(f"group {key!r} is already dead")
            kept = entry.group.units - int(gone[list(entry.classes)].sum())
            least = self.least(entry.group)
            if not dead and kept < least:
                found.append(f"group {key!r} keeps {kept} units, {least} must stay")
        return tuple(found)

    def least(self, group: Group, min_units: int | None = None) -> int:
        """Units that a node group keeps at least, whatever its multiple.

        A statistic over one position only (a LayerNorm of one channel) is nothing but rounding, so
        two stay where one is taken.
        """
        wanted = max(min_units or self.options.min_units, 2 if group.masked else 1)
        return min(wanted, group.units)

    def _is_dead_without(self, key: str, solution: Solution) -> bool:
        others = {k: units for k, units in solution.removed.items() if k != key}
        without = self.survivors(Solution(space=solution.space, removed=others))
        return is_dead(self.graph, self.structure_by_id[key].edges, without)

    def dead(self, solution: Solution) -> frozenset[str]:
        """Groups that are gone with other structures that a solution erases, chosen or not.

        Of structures that take each other along (a union and all its parts) the largest is alive.
        """
        remaining, concat = self.survivors(solution), self._gone_at_concats(solution)
        if not (remaining.removed or remaining.dropped):
            return frozenset()
        structures = {
            key
            for key, entry in self.structure_by_id.items()
            if key not in solution.removed and is_dead(self.graph, entry.edges, remaining)
        }
        chosen = [
            self.structure_by_id[key] for key in solution.removed if key in self.structure_by_id
        ]
        left = dict(solution.removed)
        for entry in sorted(chosen, key=lambda one: (len(one.edges), len(one.vertices))):
            if self._is_dead_without(entry.group.id, Solution(space="", removed=left)):
                del left[entry.group.id]
                structures.add(entry.group.id)
        groups = (e for e in self.node_groups if self._is_dead(e, remaining, concat))
        return frozenset(structures.union(entry.group.id for entry in groups))

    def _gone_at_concats(self, solution: Solution) -> set[int]:
        structures = self.structure_by_id
        keys = (key for key in solution.removed if key in structures)
        return {unit for key in keys for unit in structures[key].classes}

    def _is_dead(self, entry: NodeGroup, remaining: Survivors, concat: set[int]) -> bool:
        if concat.issuperset(entry.classes):
            return True
        return all(
            index in remaining.removed
            for slices in entry.group.cut
            for index, _ in self.graph.consumers[slices.initializer]
        )


def analyze(loaded: LoadedModel, *, options: AnalysisOptions | None = None) -> Analysis:
    """Generate the search space of a model.

    Raises:
        ModelError: An option names an input that the model does not have, or a shape does not fit.
        InputError: Nothing is called what an option protects.
    """
    options = options or AnalysisOptions()
    first = infer_shapes(loaded.flat, scale=1, given=options.input_shapes)
    second = infer_shapes(loaded.flat, scale=2, given=options.input_shapes)
    graph = trace(loaded.flat, first, second, loaded.bodies)
    segments = segment_graph(graph)
    gated = gated_edges(graph, segments.pieces)
    labelling, classes, protected = _labelled(graph, gated, options.protect)
    costs = cost_model(graph, labelling, classes)
    prices = Prices(graph, costs, classes.crossings, len(classes.class_of))
    places, masked = weight_places(labelling, classes), mask_places(labelling, classes)
    groups, frozen = node_groups(
        graph,
        labelling,
        classes,
        places=places,
        masked=masked,
        prices=prices,
        protect=options.protect,
        kinds=options.kinds,
    )
    structures: list[Structure] = []
    refused: list[Refused] = []
    if GroupKind.OPERATOR in options.kinds:
        structures, refused = removal_structures(
            graph,
            segments,
            labelling,
            classes,
            costs,
            places=places,
            masked=masked,
            protect=options.protect,
        )
    summary = ModelSummary(
        sha256=loaded.sha256,
        opset=graph.opset,
        producer=" ".join(
            part for part in (loaded.model.producer_name, loaded.model.producer_version) if part
        ),
        parameters=sum(
            prices.whole_elements[name] for name in costs.parameters if name not in loaded.copies
        ),
        macs=sum(prices.whole_macs.values()),
    )
    analysis = Analysis(
        loaded=loaded,
        options=options,
        graph=graph,
        labelling=labelling,
        classes=classes,
        costs=costs,
        prices=prices,
        segments=segments,
        structures=tuple(structures),
        node_groups=tuple(groups),
        refused=tuple(refused),
        space=SearchSpace(model=summary, segments=(), groups=(), frozen=()),
        protected=protected,
    )
    return _with_space(analysis, summary, tuple(frozen))


def _labelled(
    graph: TraceGraph, gated: frozenset[Edge], patterns: Collection[str]
) -> tuple[Labelling, Classes, frozenset[int]]:
    """Labels, classes, and the vertices that are protected by ``patterns``.

    A gated edge that cannot be told from the positions it carries is given up.
    """
    while True:
        labelling = apply_rules(graph, gated=gated)
        protected = protect(labelling, patterns)
        classes = settled(labelling)
        merged = _merged(labelling, classes)
        if not merged:
            return labelling, classes, protected
        gated -= merged


def _merged(labelling: Labelling, classes: Classes) -> set[Edge]:
    """Gates whose positions are also those of another gate, or are made elsewhere too."""
    unit_of = {edge: int(classes.class_of[gate]) for edge, gate in labelling.gates.items()}
    shared = Counter(unit_of.values())
    made = np.zeros(len(classes.class_of) + 1, bool)
    for name, axis in labelling.born if unit_of else ():
        along = classes.of(labelling.axes[name][axis])
        if along is not None:
            made[along[along >= 0]] = True
    found = set()
    for edge, unit in unit_of.items():
        marks = np.zeros_like(made)
        marks[unit] = True
        classes.crossings.spread(marks)
        if unit >= 0 and (shared[unit] > 1 or (marks & made).any()):
            found.add(edge)
    return found


def _with_space(analysis: Analysis, summary: ModelSummary, frozen: tuple[Frozen, ...]) -> Analysis:
    """Price the structures, find every group's parent, and write the space down."""
    structures: list[Structure] = []
    lost: list[_Loss] = []
    parent_of = parents(analysis.structures)
    for entry in analysis.structures:
        removed = survivors(analysis.graph, entry.edges).removed
        classes = np.array(entry.classes, np.int64)
        group = replace(
            entry.group,
            macs=analysis.prices.macs_lost(classes, removed),
            parameters=analysis.prices.parameters_lost(classes, removed),
            parent=parent_of.get(entry.group.id),
        )
        structures.append(replace(entry, group=group))
        lost.append(_Loss(group.macs, group.id, removed, frozenset(entry.classes)))
    taking = _Parents(lost)
    groups = [
        replace(e, group=replace(e.group, parent=taking.of(e, _users(analysis.graph, e))))
        for e in analysis.node_groups
    ]
    space = SearchSpace(
        model=summary,
        segments=tuple(
            SegmentEntry(
                id=segment.id,
                vertices=tuple(m.name for p in segment.pieces for m in p.members),
                inputs=segment.inputs,
                outputs=segment.outputs,
                joint=segment.joint,
            )
            for segment in analysis.segments.segments
        ),
        groups=(*(s.group for s in structures), *(n.group for n in groups)),
        frozen=frozen,
    )
    return replace(analysis, structures=tuple(structures), node_groups=tuple(groups), space=space)


def _users(graph: TraceGraph, entry: NodeGroup) -> set[int]:
    names = (slices.initializer for slices in entry.group.cut)
    return {index for name in names for index, _ in graph.consumers[name]}


class _Loss(NamedTuple):
    """What goes with a structure; ordered as parents are chosen, the cheapest first."""

    macs: int
    key: str
    vertices: frozenset[int]
    classes: frozenset[int]


class _Parents:
    """Finds the smallest structure that takes a whole node group along."""

    def __init__(self, lost: Sequence[_Loss]) -> None:
        self._by_vertex: dict[int, list[_Loss]] = defaultdict(list)
        self._by_class: dict[int, list[_Loss]] = defaultdict(list)
        for loss in lost:
            for vertex in loss.vertices:
                self._by_vertex[vertex].append(loss)
            for label in loss.classes:
                self._by_class[label].append(loss)

    def of(self, entry: NodeGroup, users: set[int]) -> str | None:
        """Id of the structure that takes all users or all classes along, if there is one."""
        above = [x for x in self._by_vertex.get(min(users), ()) if users <= x.vertices]
        above += [
            x
            for x in self._by_class.get(entry.classes[0], ())
            if x.classes.issuperset(entry.classes)
        ]
        return min((x.macs, x.key) for x in above)[1] if above else None
