"""What an analysis found, in numbers: every group's costs, what stays by reason, what can go.

The values behind the text of ``explain`` and the JSON of ``secateur analyze``; exact everywhere.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graph_analysis.activations import ActivationBytes
from graph_analysis.pipeline import Analysis
from graph_analysis.reach import Reach, reach_of
from graph_analysis.search_space import Group, GroupKind
from graph_analysis.solution import Solution
from graph_analysis.vertex_costs import vertex_costs

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
Products = Mapping[int, Sequence[int]]  # class -> numbers of the products it has a part in


@dataclass(frozen=True, kw_only=True)
class GroupCosts:
    """One group, and what goes with all of its units.

    Attributes:
        group: With what one unit costs.
        macs: Multiply-accumulates per sample of all units together.
        parameters: Of all units together.
        macs_ratio: The share of the model's that this is (0..1).
        parameters_ratio: The same for parameters, a tensor that serves twice counted twice.
    """

    group: Group
    macs: int
    parameters: int
    macs_ratio: float
    parameters_ratio: float

    @property
    def ratio(self) -> float:
        """The larger of the two shares."""
        return max(self.macs_ratio, self.parameters_ratio)


@dataclass(frozen=True, kw_only=True)
class StaysBecause:
    """All that stays for one kind of reason.

    Attributes:
        reason: The first of them, with the names that it mentions.
        entries: How many initializers and tensors stay for it.
        places: How many different names reasons of this kind mention.
        parameters: That they hold together.
    """

    reason: str
    entries: int
    places: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that is said about one analysis.

    Attributes:
        bytes: Of the weights.
        activations: Activation memory under the analysis binding.
        groups: Those with the largest share first.
        stays: What is frozen; the reasons that hold most parameters first.
        reach: What remains when all that may go is gone.
        covered_ratio: Share of the parameters that lie in a channel or head group (0..1).
    """

    bytes: int
    activations: ActivationBytes
    groups: tuple[GroupCosts, ...]
    stays: tuple[StaysBecause, ...]
    reach: Reach
    covered_ratio: float


def findings_of(analysis: Analysis) -> Findings:
    """Count what is said about an analysis."""
    nothing = Solution.of(analysis.space, {})
    return Findings(
        bytes=analysis.bytes(nothing),
        activations=analysis.activation_bytes(nothing),
        groups=_groups(analysis),
        stays=_stays(analysis),
        reach=reach_of(analysis),
        covered_ratio=covered_ratio(analysis),
    )


def to_document(analysis: Analysis) -> Mapping[str, Any]:
    """The search space (DESIGN.md 4.1) and all findings beside it, JSON-compatible."""
    found = findings_of(analysis)
    nothing = Solution.of(analysis.space, {})
    return {
        **analysis.space.to_dict(),
        "options": {
            "kinds": sorted(kind.value for kind in analysis.options.kinds),
            "multiple": analysis.options.multiple,
            "min_units": analysis.options.min_units,
            "protect": list(analysis.options.protect),
            "input_shapes": {
                name: list(analysis.graph.shape(name) or ()) for name in analysis.graph.inputs
            },
        },
        "bytes": found.bytes,
        "activation_bytes": {
            "total": found.activations.total,
            "peak": found.activations.peak,
            "unknown": list(found.activations.unknown),
        },
        "can_go": found.reach.to_dict(),
        "covered_ratio": round(found.covered_ratio, 6),
        "group_costs": {
            entry.group.id: {
                "channels_per_unit": entry.group.channels_per_unit,
                "macs": entry.macs,
                "parameters": entry.parameters,
                "macs_ratio": round(entry.macs_ratio, 6),
                "parameters_ratio": round(entry.parameters_ratio, 6),
            }
            for entry in found.groups
        },
        "stays": [asdict(entry) for entry in found.stays],
        "refused": [
            {"segment": entry.segment, "reason": entry.reason} for entry in analysis.refused
        ],
        "operators": [asdict(row) for row in vertex_costs(analysis, nothing)],
    }


def _groups(analysis: Analysis) -> tuple[GroupCosts, ...]:
    """Every group with the cost of all its units together.

    That is less than the cost of one times their number where an operator has them on both sides.
    """
    costs = analysis.costs
    products = [product for found in costs.macs.values() for product in found]
    weights = [costs.elements[name] for name in sorted(costs.parameters)]
    has_part = [_members([p.axes for p in products]), _members([p.axes for p in weights])]
    none = np.zeros(len(analysis.classes.class_of) + 1, bool)
    whole_macs = max(1, sum(product.count(none) for product in products))
    whole_parameters = max(1, sum(product.count(none) for product in weights))
    rows = []
    for group in analysis.space.groups:
        macs, parameters = group.macs, group.parameters
        if group.kind is not GroupKind.OPERATOR:
            units = tuple(range(group.units))
            gone = analysis.gone(Solution(space="", removed={group.id: units}))
            macs, parameters = (
                sum(
                    counted[number].count(none) - counted[number].count(gone)
                    for number in {
                        number
                        for unit in np.flatnonzero(gone).tolist()
                        for number in members.get(unit, ())
                    }
                )
                for counted, members in zip((products, weights), has_part, strict=True)
            )
        rows.append(
            GroupCosts(
                group=group,
                macs=macs,
                parameters=parameters,
                macs_ratio=macs / whole_macs,
                parameters_ratio=parameters / whole_parameters,
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.ratio))


def _members(axes: Sequence[Sequence[npt.NDArray[np.int64]]]) -> Products:
    found: dict[int, list[int]] = defaultdict(list)
    for number, along in enumerate(axes):
        for unit in {unit for axis in along for unit in np.unique(axis[axis >= 0]).tolist()}:
            found[unit].append(number)
    return found


def _stays(analysis: Analysis) -> tuple[StaysBecause, ...]:
    costs = analysis.costs
    none = np.zeros(len(analysis.classes.class_of) + 1, bool)
    held: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for entry in analysis.space.frozen:
        name = entry.initializer
        size = costs.elements[name].count(none) if name in costs.parameters else 0
        held[_QUOTED.sub("*", entry.reason)].append((entry.reason, size if name else 0))
    rows = [
        StaysBecause(
            reason=entries[0][0],
            entries=len(entries),
            places=len({reason for reason, _ in entries}),
            parameters=sum(size for _, size in entries),
        )
        for entries in held.values()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.parameters, -row.entries)))


def covered_ratio(analysis: Analysis) -> float:
    """Share of parameters that lie in a slice of some channel or head group (0..1)."""
    graph, covered, total = analysis.graph, 0, 0
    places: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for group in analysis.space.groups:
        for slices in group.cut if group.kind is not GroupKind.OPERATOR else ():
            for indices in slices.unit_indices:
                places[slices.initializer][slices.axis].update(indices)
    for name in analysis.costs.parameters:
        size = kept = 1
        for axis, length in enumerate(graph.initializers[name].dims):
            size *= length
            kept *= length - len(places[name][axis])
        total += size
        covered += size - kept
    return covered / max(1, total)


def count_by(groups: Sequence[Group], key: Callable[[Group], int]) -> Mapping[GroupKind, int]:
    """Sum of ``key`` over the groups of every kind that there is, in the order of the kinds."""
    return {
        kind: sum(key(group) for group in groups if group.kind is kind)
        for kind in GroupKind
        if any(group.kind is kind for group in groups)
    }
