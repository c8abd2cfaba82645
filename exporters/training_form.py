"""The cut model as training wants it: nothing shared again, and masks where more may still go.

The surgeon's result is the user's file. A run that goes on with a smaller network needs another
form of the same cut: un-shared copies stay apart, since they are trained apart; every tensor of a
body has its name of the flat view; and where units are still to be chosen, statistics and joints
have the masks and gates of the masked form (``graph_analysis.masking``) over what is left of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from exporters import cleanup
from exporters.draft import Draft
from exporters.errors import SurgeryError
from exporters.surgeon import assemble, operate
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
        axis = draft.keep.get(draft.origin[mask.node].input[0], {}).get(mask.axis)
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
            source = draft.origin[mask.node].input[0]
            yield replace(mask, length=len(draft.kept(source, mask.axis)))


def _gates(analysis: Analysis, solution: Solution, draft: Draft) -> Iterator[Gate]:
    """The gates on edges that are left; edges have the names that their tensors have now."""
    effects = analysis.effects(solution)
    reads = {node.name: list(node.input) for node in draft.nodes}
    outputs = [value.name for value in draft.model.graph.output]
    producer = {made: node.name for node in draft.origin.values() for made in node.output}
    for gate in analysis.masks:
        if not isinstance(gate, Gate):
            continue
        edges = []
        for joint, tensor in gate.edges:
            if joint not in reads or tensor in effects.dropped.get(joint, ()):
                continue
            names = _names(tensor, effects.splices, outputs)
            if producer.get(_resolved(tensor, effects.splices)) in effects.removed_nodes:
                continue
            edges.append((joint, _only(names.intersection(reads[joint]), reads[joint], gate)))
        if edges:
            yield replace(gate, edges=tuple(edges))


def _names(tensor: str, splices: Mapping[str, str], outputs: Iterable[str]) -> set[str]:
    """What ``tensor`` may be called after the cut: what was spliced in, or an output's name."""
    final = _resolved(tensor, splices)
    same = {name for name in outputs if name in splices and _resolved(name, splices) == final}
    return {final, *same}


def _resolved(tensor: str, splices: Mapping[str, str]) -> str:
    while tensor in splices:
        tensor = splices[tensor]
    return tensor


def _only(found: set[str], reads: list[str], gate: Gate) -> str:
    if len(found) != 1 or reads.count(next(iter(found))) != 1:
        message = f"what gate {gate.name!r} stands on cannot be told after the cut"
        raise SurgeryError(message, param=gate.name)
    return found.pop()
