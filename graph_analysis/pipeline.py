"""analyze(): the stages in order, and what can be asked of the result."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from graph_analysis.costs import CostModel, cost_model
from graph_analysis.effects import Effects, Survivors, footprint, is_connected, survivors
from graph_analysis.labels import Classes, Labelling
from graph_analysis.loading import LoadedModel
from graph_analysis.masking import Mask, maskable
from graph_analysis.node_groups import NodeGroup, node_groups
from graph_analysis.removal import Refused, Structure, removal_structures
from graph_analysis.rules import apply_rules
from graph_analysis.search_space import (
    Frozen,
    GroupKind,
    ModelSummary,
    SearchSpace,
    SegmentEntry,
)
from graph_analysis.segments import SegmentGraph, segment_graph
from graph_analysis.shapes import infer_shapes
from graph_analysis.solution import Solution
from graph_analysis.trace_graph import TraceGraph, trace
from graph_analysis.zeroes import settled


@dataclass(frozen=True, kw_only=True)
class AnalysisOptions:
    """What the user asks of a search space.

    Attributes:
        input_shapes: Input name -> shape, for axes the model leaves free.
        protect: Patterns (``*``, ``?``) on node and initializer names that stay.
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
    segments: SegmentGraph
    structures: tuple[Structure, ...]
    node_groups: tuple[NodeGroup, ...]
    refused: tuple[Refused, ...]
    space: SearchSpace

    @cached_property
    def structure_by_id(self) -> Mapping[str, Structure]:
        """Removal structures, by group id."""
        return {entry.group.id: entry for entry in self.structures}

    @cached_property
    def classes_by_id(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Node groups' classes of every unit, by group id."""
        return {e.group.id: np.asarray(e.classes, np.int64) for e in self.node_groups}

    @cached_property
    def masks(self) -> tuple[Mask, ...]:
        """Masks of all operators that take statistics over something that may go."""
        used = {slices.initializer for group in self.space.groups for slices in group.masks}
        return tuple(mask for mask, _ in self.labelling.masks if mask.name in used)

    def maskable(self, solution: Solution | None = None) -> onnx.ModelProto:
        """The working copy in its masked form: with all masks, or those that a solution needs."""
        masks = self.masks
        if solution is not None:
            groups = [self.space.group_by_id[key] for key in solution.removed]
            used = {slices.initializer for group in groups for slices in group.masks}
            masks = tuple(mask for mask in masks if mask.name in used)
        return maskable(self.loaded.model, masks)

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
        erased: set[int] = set()
        for key in solution.removed:
            if key in self.structure_by_id:
                erased |= self.structure_by_id[key].vertices
        return survivors(self.graph, frozenset(erased))

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
        return sum(
            product.count(gone)
            for index, products in self.costs.macs.items()
            if index not in remaining.removed
            for product in products
        )

    def parameters(self, solution: Solution) -> int:
        """Float weight elements of what remains, un-shared copies counted one by one."""
        gone, remaining = self.gone(solution), self.survivors(solution)
        return self.remaining_elements(gone, remaining, in_bytes=False)

    def bytes(self, solution: Solution) -> int:
        """Bytes of all initializers of what remains."""
        gone, remaining = self.gone(solution), self.survivors(solution)
        return self.remaining_elements(gone, remaining, in_bytes=True)

    def remaining_elements(
        self, gone: npt.NDArray[np.bool_], remaining: Survivors, *, in_bytes: bool
    ) -> int:
        """Parameters, or bytes of all initializers, that are still used."""
        total = 0
        for name, product in self.costs.elements.items():
            users = self.graph.consumers.get(name, ())
            if users and all(index in remaining.removed for index, _ in users):
                continue
            if in_bytes:
                total += product.count(gone) * self.costs.item_bytes[name]
            elif name in self.costs.parameters:
                total += product.count(gone)
        return total

    def violations(self, solution: Solution) -> tuple[str, ...]:
        """Why a solution is not valid; empty when it is (DESIGN.md 4.6)."""
        remaining = self.survivors(solution)
        found = [f"joint {name!r} loses all its inputs" for name in remaining.starved]
        if not is_connected(self.graph, remaining):
            found.append("no path from a graph input to every graph output remains")
        for key in solution.removed:
            structure = self.structure_by_id.get(key)
            if structure is not None and self._is_dead_without(key, solution):
                found.append(f"structure {key!r} is already dead")
        gone = self.gone(solution)
        for entry in self.node_groups:
            key = entry.group.id
            dead = self._is_dead(entry, remaining, solution)
            if dead and key in solution.removed:
                found.append(f"group {key!r} is already dead")
            kept = entry.group.units - int(gone[list(entry.classes)].sum())
            if not dead and kept < min(self.options.min_units, entry.group.units):
                found.append(f"group {key!r} keeps {kept} units")
        return tuple(found)

    def _is_dead_without(self, key: str, solution: Solution) -> bool:
        others = {k: units for k, units in solution.removed.items() if k != key}
        without = self.survivors(Solution(space=solution.space, removed=others))
        return self.structure_by_id[key].vertices <= without.removed

    def _is_dead(self, entry: NodeGroup, remaining: Survivors, solution: Solution) -> bool:
        if not remaining.removed:
            return False
        concat = {
            unit
            for key in solution.removed
            if key in self.structure_by_id
            for unit in self.structure_by_id[key].classes
        }
        if set(entry.classes) <= concat:
            return True
        return all(
            index in remaining.removed
            for slices in entry.group.cut
            for index, _ in self.graph.consumers[slices.initializer]
        )


def analyze(loaded: LoadedModel, *, options: AnalysisOptions | None = None) -> Analysis:
    """Generate the search space of a model.

    Raises:
        ModelError: An option names an input that the model does not have.
    """
    options = options or AnalysisOptions()
    first = infer_shapes(loaded.model, scale=1, given=options.input_shapes)
    second = infer_shapes(loaded.model, scale=2, given=options.input_shapes)
    graph = trace(loaded.model, first, second)
    labelling = apply_rules(graph)
    classes = settled(labelling)
    costs = cost_model(graph, labelling, classes)
    groups, frozen = node_groups(
        graph, labelling, classes, costs, protect=options.protect, kinds=options.kinds
    )
    segments = segment_graph(graph)
    structures: list[Structure] = []
    refused: list[Refused] = []
    if GroupKind.OPERATOR in options.kinds:
        structures, refused = removal_structures(
            graph, segments, labelling, classes, costs, protect=options.protect
        )
    none = np.zeros(len(classes.class_of) + 1, bool)
    summary = ModelSummary(
        sha256=loaded.sha256,
        opset=graph.opset,
        producer=" ".join(
            part for part in (loaded.model.producer_name, loaded.model.producer_version) if part
        ),
        parameters=sum(
            costs.elements[name].count(none)
            for name in costs.parameters
            if name not in loaded.copies
        ),
        macs=sum(p.count(none) for products in costs.macs.values() for p in products),
    )
    analysis = Analysis(
        loaded=loaded,
        options=options,
        graph=graph,
        labelling=labelling,
        classes=classes,
        costs=costs,
        segments=segments,
        structures=tuple(structures),
        node_groups=tuple(groups),
        refused=tuple(refused),
        space=SearchSpace(model=summary, segments=(), groups=(), frozen=()),
    )
    return _with_space(analysis, summary, tuple(frozen))


def _with_space(analysis: Analysis, summary: ModelSummary, frozen: tuple[Frozen, ...]) -> Analysis:
    """Price the structures, find every group's parent, and write the space down."""
    none = np.zeros(len(analysis.classes.class_of) + 1, bool)
    whole = survivors(analysis.graph, frozenset())
    parameters = analysis.remaining_elements(none, whole, in_bytes=False)
    structures: list[Structure] = []
    lost: dict[str, tuple[frozenset[int], set[int], int]] = {}
    for entry in analysis.structures:
        remaining = survivors(analysis.graph, entry.vertices)
        gone = none.copy()
        gone[list(entry.classes)] = True
        analysis.classes.crossings.spread(gone)
        group = replace(
            entry.group,
            macs=summary.macs - analysis.remaining_macs(gone, remaining),
            parameters=parameters - analysis.remaining_elements(gone, remaining, in_bytes=False),
        )
        structures.append(replace(entry, group=group))
        lost[group.id] = (remaining.removed, set(entry.classes), group.macs)
    groups = [
        replace(e, group=replace(e.group, parent=_parent(analysis, e, lost)))
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


def _parent(
    analysis: Analysis,
    entry: NodeGroup,
    lost: Mapping[str, tuple[frozenset[int], set[int], int]],
) -> str | None:
    users = {
        index
        for slices in entry.group.cut
        for index, _ in analysis.graph.consumers[slices.initializer]
    }
    above = [
        (macs, key)
        for key, (removed, classes, macs) in lost.items()
        if users <= removed or set(entry.classes) <= classes
    ]
    return min(above)[1] if above else None
