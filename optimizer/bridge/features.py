"""What a network computes on the way: tensors at the ends of segments, for student and teacher.

Several of them, spread over the depth. Removing channels takes positions of such a tensor away, and
erasing a structure the whole of it: ``kept`` says what of each is left to be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import fx
from torch.nn import functional

from graph_analysis.effects import Effects
from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution
from optimizer.bridge.trainable_graph import TrainableGraph
from optimizer.bridge.writer import TENSOR

_IN_PLACE = (torch.relu_, functional.hardtanh)  # what may overwrite the tensor that it reads
_FEWEST_AXES = 2
Positions = Mapping[int, npt.NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one feature is found in a network.

    Attributes:
        tensor: Its name in the whole network.
        now: The tensor that takes its place in the network as it stands.
        kept: Axis -> positions of the whole tensor to compare, ascending; other axes are whole.
        present: Axis -> positions of the whole tensor that the network as it stands has.
    """

    tensor: str
    now: str
    kept: Positions
    present: Positions


@dataclass(frozen=True)
class FeatureFinder:
    """The features of an analysed network."""

    analysis: Analysis

    def names(self, module: fx.GraphModule, most: int) -> tuple[str, ...]:
        """Tensors to compare: ends of segments that ``module`` computes, ``most`` at most.

        Left out are joints (what follows them is nearly the same), outputs of the model, and what
        does not depend on an input.

        Args:
            module: The imported module, before anything was removed.
            most: How many; they are spread evenly over the depth.
        """
        nodes, graph = nodes_by_tensor(module), self.analysis.graph
        found = []
        for segment in self.analysis.segments.segments:
            name = segment.pieces[-1].output
            node = nodes.get(name)
            if segment.joint or node is None or _is_overwritten(node) or name in graph.outputs:
                continue
            shape = graph.shape(name)
            is_usable = shape is not None and len(shape) >= _FEWEST_AXES and name in graph.fed
            if is_usable and graph.is_float(name):
                found.append(name)
        order = {node: number for number, node in enumerate(module.graph.nodes)}
        found.sort(key=lambda name: order[nodes[name]])
        chosen = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
        return tuple(found[number] for number in chosen)

    def places(
        self, names: Sequence[str], removed: Solution, cut: Solution | None = None
    ) -> tuple[Place, ...]:
        """What of ``names`` is left to be compared, and where.

        Args:
            names: Tensors of the whole network.
            removed: What goes, all that was decided; a tensor that goes with it is left out.
            cut: The part of it that has been cut out of the network already.
        """
        after = self.analysis.effects(removed)
        nothing = Solution.of(self.analysis.space, {})
        now = self.analysis.effects(nothing if cut is None else cut)
        places = []
        for name in names:
            if name not in after.shapes:
                continue
            places.append(
                Place(
                    tensor=name,
                    now=_resolved(name, now),
                    kept=after.keep.get(name, {}),
                    present=now.keep.get(name, {}),
                )
            )
        return tuple(places)


def nodes_by_tensor(module: fx.GraphModule) -> dict[str, fx.Node]:
    """Tensor of the file -> the node of the graph that makes it, where there is one."""
    return {node.meta[TENSOR]: node for node in module.graph.nodes if TENSOR in node.meta}


def with_outputs(module: fx.GraphModule, names: Sequence[str]) -> fx.GraphModule:
    """Return ``module`` with further outputs behind its own: the tensors ``names``.

    The same parameters, buffers and submodules; its graph is not changed. What would overwrite one
    of the tensors in place makes a new one in the view.

    Raises:
        KeyError: The graph makes no such tensor.
    """
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    wanted = [nodes_by_tensor(module)[name] for name in names]
    for node in module.graph.nodes:
        if node.op != "output":
            made[node] = graph.node_copy(node, made.__getitem__)
            if node.target in _IN_PLACE and node.args[0] in wanted:
                _spare_operand(made[node])
            continue
        own = node.args[0]
        outputs = own if isinstance(own, tuple | list) else (own,)
        everything = (*outputs, *wanted)
        graph.output(tuple(fx.map_arg(everything, made.__getitem__)))
    return TrainableGraph(module, graph).train(module.training)


def _is_overwritten(node: fx.Node) -> bool:
    """Whether a reader writes its result over the tensor."""
    return any(user.target in _IN_PLACE for user in node.users)


def _spare_operand(node: fx.Node) -> None:
    """Have an activation that works in place make a new tensor."""
    if node.target is torch.relu_:
        node.target = torch.relu
    node.kwargs = {name: value for name, value in node.kwargs.items() if name != "inplace"}


def _resolved(name: str, effects: Effects) -> str:
    while name in effects.splices:
        name = effects.splices[name]
    return name
