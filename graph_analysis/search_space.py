"""The search space as a value: every group of one model, what is cut with it, and what stays.

Pure data and its JSON (schema ``secateur/search-space/1``, DESIGN.md 4.1). How groups are found is
the business of ``node_groups`` and ``removal``; what a choice of them does, that of ``effects``.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from math import gcd
from typing import Any

from graph_analysis.errors import InputError

SCHEMA = "secateur/search-space/1"


class GroupKind(StrEnum):
    """What one unit of a group is."""

    OPERATOR = "operator"  # a removal structure, erased whole; exactly one unit
    CHANNEL = "channel"
    HEAD = "head"


@dataclass(frozen=True, kw_only=True)
class WeightSlices:
    """Positions along one axis of one initializer, listed for every unit of a group.

    Attributes:
        initializer: Name of the tensor in the normalised model.
        axis: Axis that the indices count along, never negative.
        unit_indices: For each unit its positions, ascending; may be empty for a unit.
    """

    initializer: str
    axis: int
    unit_indices: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """One removal structure, or one node group with its units.

    Attributes:
        id: Unique within the space; readable, starts with the kind.
        kind: What a unit is.
        units: How many units there are; 1 for an operator.
        zero: Set these slices to 0 and the unit contributes nothing.
        cut: Delete these slices and the model is smaller.
        nodes: Names of the nodes deleted with the group (operator groups).
        macs: Multiply-accumulates that one unit costs in the whole model, per sample.
        parameters: Weight elements that one unit owns in the whole model.
        parent: The operator group whose erasure takes this group along, if there is one.
        masked: Zeroing is not enough; the masked model needs what the package itself builds.
        masks: Set these slices of the masked form's masks to 0 as well (``masking``); not in JSON.
    """

    id: str
    kind: GroupKind
    units: int
    zero: tuple[WeightSlices, ...]
    cut: tuple[WeightSlices, ...]
    nodes: tuple[str, ...] = ()
    macs: int = 0
    parameters: int = 0
    parent: str | None = None
    masked: bool = False
    masks: tuple[WeightSlices, ...] = ()

    @property
    def channels_per_unit(self) -> int:
        """Largest number that divides how many positions a unit has on every axis it is cut from.

        1 for an operator.
        """
        if self.kind is GroupKind.OPERATOR:
            return 1
        lengths = [len(unit) for slices in self.cut for unit in slices.unit_indices if unit]
        return max(1, gcd(*lengths))


@dataclass(frozen=True, kw_only=True)
class SegmentEntry:
    """One segment of the segment graph, by node names and ids of its neighbours."""

    id: str
    vertices: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    joint: bool


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Why a parameter (``initializer``) or a ``tensor`` stays as it is; exactly one is given."""

    reason: str
    initializer: str | None = None
    tensor: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """The model a space belongs to; ``parameters`` and ``macs`` (per sample) before any removal."""

    sha256: str
    opset: int
    producer: str
    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """All groups of one model, with slices, costs and the hierarchy between them."""

    model: ModelSummary
    segments: tuple[SegmentEntry, ...]
    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]

    @cached_property
    def group_by_id(self) -> Mapping[str, Group]:
        """The groups, by id."""
        return {group.id: group for group in self.groups}

    @cached_property
    def sha256(self) -> str:
        """Digest of the canonical JSON: a solution names its space by it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self, *, indent: int | None = None) -> str:
        """The space as JSON text; canonical (sorted, no white space) without ``indent``."""
        separators = (",", ":") if indent is None else (",", ": ")
        return json.dumps(
            self.to_dict(), indent=indent, separators=separators, sort_keys=indent is None
        )

    def to_dict(self) -> dict[str, Any]:
        """The space as JSON-compatible values, keys in the order of the schema."""
        return {
            "schema": SCHEMA,
            "model": vars(self.model).copy(),
            "segments": [
                {
                    "id": segment.id,
                    "vertices": list(segment.vertices),
                    "inputs": list(segment.inputs),
                    "outputs": list(segment.outputs),
                    "joint": segment.joint,
                }
                for segment in self.segments
            ],
            "groups": [_group_to_dict(group) for group in self.groups],
            "frozen": [
                {"initializer": entry.initializer, "reason": entry.reason}
                if entry.tensor is None
                else {"tensor": entry.tensor, "reason": entry.reason}
                for entry in self.frozen
            ],
        }

    @classmethod
    def from_json(cls, text: str) -> "SearchSpace":
        """Read a space back.

        Raises:
            InputError: The text is no search space of this schema.
        """
        try:
            data = json.loads(text)
            schema = data["schema"]
        except (ValueError, TypeError, KeyError) as error:
            message = f"not a search space: no JSON object with a 'schema' ({error})"
            raise InputError(message, code="invalid-json") from error
        if schema != SCHEMA:
            msg = f"search space has schema {schema!r}, this version reads {SCHEMA!r}"
            raise InputError(msg)
        try:
            return _space_from_dict(data)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            msg = f"search space is incomplete or malformed: {error!r}"
            raise InputError(msg) from error


def _group_to_dict(group: Group) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": group.id,
        "kind": group.kind.value,
        "units": group.units,
        "zero": [_slices_to_dict(slices) for slices in group.zero],
        "cut": [_slices_to_dict(slices) for slices in group.cut],
        "nodes": list(group.nodes),
        "macs": group.macs,
        "parameters": group.parameters,
        "parent": group.parent,
    }
    if group.masked:
        entry["masked"] = True
    return entry


def _slices_to_dict(slices: WeightSlices) -> dict[str, Any]:
    return {
        "initializer": slices.initializer,
        "axis": slices.axis,
        "unit_indices": [list(indices) for indices in slices.unit_indices],
    }


def _space_from_dict(data: Mapping[str, Any]) -> SearchSpace:
    return SearchSpace(
        model=ModelSummary(**data["model"]),
        segments=tuple(
            SegmentEntry(
                id=entry["id"],
                vertices=tuple(entry["vertices"]),
                inputs=tuple(entry["inputs"]),
                outputs=tuple(entry["outputs"]),
                joint=entry["joint"],
            )
            for entry in data["segments"]
        ),
        groups=tuple(_group_from_dict(entry) for entry in data["groups"]),
        frozen=tuple(Frozen(**entry) for entry in data["frozen"]),
    )


def _group_from_dict(entry: Mapping[str, Any]) -> Group:
    return Group(
        id=entry["id"],
        kind=GroupKind(entry["kind"]),
        units=entry["units"],
        zero=_slices_from_list(entry["zero"]),
        cut=_slices_from_list(entry["cut"]),
        nodes=tuple(entry["nodes"]),
        macs=entry["macs"],
        parameters=entry["parameters"],
        parent=entry["parent"],
        masked=entry.get("masked", False),
    )


def _slices_from_list(entries: Iterable[Mapping[str, Any]]) -> tuple[WeightSlices, ...]:
    return tuple(
        WeightSlices(
            initializer=entry["initializer"],
            axis=entry["axis"],
            unit_indices=tuple(tuple(indices) for indices in entry["unit_indices"]),
        )
        for entry in entries
    )
