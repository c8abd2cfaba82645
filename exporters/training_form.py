"""The cut model as training wants it: nothing shared again, and masks where more may still go.

The surgeon's result is the user's file. A run that goes on with a smaller network needs another
form of the same cut: un-shared copies stay apart, since they are trained apart; every tensor of a
body has its name of the flat view; and where units are still to be chosen, statistics and joints
have the masks and gates of the masked form (``graph_analysis.masking``) over what is left of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from exporters import cleanup
from exporters.draft import Draft
from exporters.errors import SurgeryError
from exporters.surgeon import assemble, operate
from graph_analysis.effects import Effects
from graph_analysis.folding import fold
from graph_analysis.masking import Gate, Mask, maskable
from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution

Kept = Mapping[str, Mapping[int, npt.NDArray[np.int64]]]


@dataclass(frozen=True, kw_only=True)
class TrainingForm:
    """A cut model to train on.

    Attributes:
        model: Its initializers have the names and, in what stays of them, the values of the file.
        kept: Initializer, or mask, that loses positions -> axis -> those that stay, ascending.
    """

    model: onnx.ModelProto
    kept: Kept


def training_form(analysis: Analysis, solution: Solution, *, decided: bool) -> TrainingForm:
    """Cut what ``solution`` removes out of the model that trains.

    Args:
        analysis: Of the whole model; not changed.
        solution: What is removed.
        decided: Whether no more units will be chosen, so that no mask is needed any longer.

    Raises:
        SolutionError: The solution is not one of this search space, or is not valid.
        SurgeryError: The graph cannot be cut so, or what is left of a gate cannot be told.
    """
    draft = operate(analysis, solution)
    masks = [] if decided else list(_masks(analysis, draft))
    gates = [] if decided else list(_gates(analysis, solution, draft))
    names = {*draft.initializers}
    kept = {name: dict(axes) for name, axes in draft.keep.items() if name in names}
    for mask in masks:
        axis = draft.keep.get(mask.tensor, {}).get(mask.axis)
        if axis is not None:
            kept[mask.name] = {mask.axis: np.asarray(axis, np.int64)}
    cleanup.update_annotations(draft, ())
    flat = maskable(assemble(draft), (*masks, *gates))
    model = fold(flat, analysis.loaded.bodies.with_unique_names())
    return TrainingForm(model=model, kept=kept)


def _masks(analysis: Analysis, draft: Draft) -> Iterator[Mask]:
    """The masks of operators that are left, as long as what they look at is now."""
    present = {node.name for node in draft.nodes}
    for mask in analysis.masks:
        if isinstance(mask, Mask) and mask.node in present:
            yield replace(mask, length=len(draft.kept(mask.tensor, mask.axis)))


def _gates(analysis: Analysis, solution: Solution, draft: Draft) -> Iterator[Gate]:
    """The gates on edges that are left, under the names that these have now."""
    edges_left = _Edges(draft, analysis.effects(solution))
    for gate in analysis.masks:
        if isinstance(gate, Gate):
            edges = [
                (joint, name)
                for joint, tensor in gate.edges
                for name in edges_left.names(joint, tensor)
            ]
            if edges:
                yield replace(gate, edges=tuple(edges))


class _Edges:
    """What joints of a cut model read where the file's joints read some tensor.

    A splice can make a joint read one tensor twice where it read two; each slot then gets a name
    of its own, since a gate stands on a name.
    """

    def __init__(self, draft: Draft, effects: Effects) -> None:
        self._draft = draft
        self._effects = effects
        self._joints = {node.name: node for node in draft.nodes}
        self._producer = {made: node.name for node in draft.origin.values() for made in node.output}
        self._aliases: set[str] = set()
        self._outputs = [value.name for value in draft.model.graph.output]

    def names(self, joint: str, tensor: str) -> list[str]:
        """Names of what ``joint`` reads in place of ``tensor``; none where the edge is gone.

        Raises:
            SurgeryError: The joint reads something else than the file's, cut.
        """
        if joint not in self._joints:
            return []
        node = self._joints[joint]
        left = [name for name in self._draft.origin[joint].input if self._is_left(joint, name)]
        if len(left) != len(node.input) or any(
            now not in self._current(before) and now not in self._aliases
            for before, now in zip(left, node.input, strict=True)
        ):
            message = f"what joint {joint!r} reads cannot be told after the cut"
            raise SurgeryError(message, param=joint)
        slots = [slot for slot, name in enumerate(left) if name == tensor]
        return list(dict.fromkeys(self._own_name(node, slot, slots) for slot in slots))

    def _is_left(self, joint: str, tensor: str) -> bool:
        if tensor in self._effects.dropped.get(joint, ()):
            return False
        producer = self._producer.get(_resolved(tensor, self._effects.splices))
        return producer not in self._effects.removed_nodes

    def _current(self, tensor: str) -> set[str]:
        """What ``tensor`` may be called now: what was spliced in, or an output's name."""
        splices = self._effects.splices
        final = _resolved(tensor, splices)
        outputs = (name for name in self._outputs if name in splices)
        return {final, *(name for name in outputs if _resolved(name, splices) == final)}

    def _own_name(self, node: onnx.NodeProto, slot: int, slots: list[int]) -> str:
        name = str(node.input[slot])
        if all(other in slots for other, read in enumerate(node.input) if read == name):
            return name
        alias = self._draft.free_name(f"{node.name}[{slot}]/edge")
        copy = onnx.helper.make_node("Identity", [name], [alias], name=alias)
        self._draft.nodes.insert(
            next(i for i, one in enumerate(self._draft.nodes) if one is node), copy
        )
        node.input[slot] = alias
        self._aliases.add(alias)
        return alias


def _resolved(tensor: str, splices: Mapping[str, str]) -> str:
    while tensor in splices:
        tensor = splices[tensor]
    return tensor
