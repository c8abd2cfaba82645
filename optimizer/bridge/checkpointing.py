"""Activations that are computed again in the backward pass instead of kept.

The graph is cut into parts of about the same activation memory. Of a part only what it reads is
kept; the rest of it is computed a second time when its gradient is due.
"""

import contextlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx
from torch.utils.checkpoint import checkpoint

from optimizer.bridge.folding import InsertedNorm
from optimizer.bridge.ops.normalization import BatchNorm
from optimizer.bridge.places import holder
from optimizer.bridge.random_draws import Drawing, replayed, sequences
from optimizer.bridge.trainable_graph import TrainableGraph
from optimizer.bridge.writer import PROBES

_CALLS = frozenset({"call_function", "call_module"})


class Part(torch.nn.Module):
    """A stretch of a graph that is run again for its gradient.

    Attributes:
        inner: The stretch; takes what it reads, parameters and buffers too, and returns what others
            read.
    """

    def __init__(self, inner: TrainableGraph) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, buffers: tuple[torch.Tensor, ...], *inputs: Any) -> Any:
        """Run the stretch; without gradients only once.

        Buffers come in a tuple: a running statistic may change between the two runs, which torch
        would refuse of an argument of its own.
        """
        if not torch.is_grad_enabled():
            return self._run(buffers, *inputs)
        contexts = partial(_contexts, self.inner)
        return checkpoint(self._run, buffers, *inputs, use_reentrant=False, context_fn=contexts)

    def _run(self, buffers: tuple[torch.Tensor, ...], *inputs: Any) -> Any:
        return self.inner(*buffers, *inputs)


def checkpointed(module: fx.GraphModule, parts: int) -> TrainableGraph:
    """Return ``module`` in ``parts`` of which all but the last are computed twice.

    Random numbers are the same both times, and running statistics move once. Parameters and buffers
    are those of ``module``, under the same paths. Does not compile without graph breaks.

    Args:
        module: An imported module; its graph is not changed.
        parts: How many; the square root of the number of layers keeps least in memory.

    Raises:
        ValueError: ``parts`` is below 1.
    """
    if parts < 1:
        message = f"a graph cannot be cut into {parts} parts"
        raise ValueError(message)
    calls = [node for node in module.graph.nodes if node.op in _CALLS]
    stretches = _stretches(calls, parts)
    root = _root_like(module)
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node.op not in _CALLS and node.op != "output":
            made[node] = graph.node_copy(node)
    for number, stretch in enumerate(stretches[:-1], start=1):
        _put_part(graph, root, module, stretch, number, made)
    for node in stretches[-1] if stretches else ():
        made[node] = graph.node_copy(node, made.__getitem__)
        if node.op == "call_module":
            _put_called(root, module, str(node.target))
    graph.node_copy(module.graph.output_node(), made.__getitem__)
    result = TrainableGraph(root, graph)
    return result.train(module.training)


def _put_part(
    graph: fx.Graph,
    root: torch.nn.Module,
    module: fx.GraphModule,
    stretch: Sequence[fx.Node],
    number: int,
    made: dict[fx.Node, fx.Node],
) -> None:
    """Write a call of a part that holds ``stretch``."""
    inside = set(stretch)
    read = [node for call in stretch for node in call.all_input_nodes if node not in inside]
    buffers = [node for node in dict.fromkeys(read) if _is_buffer(module, node)]
    inputs = [node for node in dict.fromkeys(read) if node not in buffers]
    outputs = [node for node in stretch if any(reader not in inside for reader in node.users)]
    inner, owner = fx.Graph(), torch.nn.Module()
    copies = {node: inner.placeholder(f"of_{node.name}") for node in (*buffers, *inputs)}
    for node in stretch:
        copies[node] = inner.node_copy(node, copies.__getitem__)
        if node.op == "call_module":
            _put_called(owner, module, str(node.target))
    inner.output(tuple(copies[node] for node in outputs))
    path = f"%part{number}"
    root.add_module(path, Part(TrainableGraph(owner, inner)))
    held = tuple(made[node] for node in buffers)
    call = graph.call_module(path, (held, *(made[node] for node in inputs)))
    for position, node in enumerate(outputs):
        made[node] = graph.call_function(operator.getitem, (call, position))


def _put_called(root: torch.nn.Module, module: fx.GraphModule, path: str) -> None:
    """Let ``root`` have the submodule ``path`` of ``module``, which may lie in a container."""
    root, leaf = holder(root, path)
    root.add_module(leaf, module.get_submodule(path))


def _is_buffer(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op != "get_attr":
        return False
    parent, _, leaf = str(node.target).rpartition(".")
    return leaf in module.get_submodule(parent)._buffers


def _stretches(calls: Sequence[fx.Node], parts: int) -> list[list[fx.Node]]:
    """Cut where the activations so far reach their share.

    What is overwritten must be made in the part that overwrites it, or running that part a second
    time would begin with something else.
    """
    sizes = [_size(node) for node in calls]
    share = sum(sizes) / parts
    stretches: list[list[fx.Node]] = [[]]
    filled = 0.0
    for position, (node, size) in enumerate(zip(calls, sizes, strict=True)):
        stretches[-1].append(node)
        filled += size
        is_last = position == len(calls) - 1
        if filled >= share * len(stretches) and not is_last and not _is_overwritten(node):
            stretches.append([])
    return stretches


def _is_overwritten(node: fx.Node) -> bool:
    return any(
        getattr(reader.target, "__name__", "").endswith("_")
        or reader.kwargs.get("inplace")
        or (reader.target is operator.getitem and _is_overwritten(reader))
        for reader in node.users
    )


def _size(node: fx.Node) -> float:
    """Elements that a node makes at the first binding; without one all nodes weigh the same."""
    found = node.meta.get(PROBES, (None,))[0]
    return float(found.numel()) if isinstance(found, torch.Tensor) else 1.0


def _root_like(module: fx.GraphModule) -> torch.nn.Module:
    """The modules that own tensors; those that are called go where they are called."""
    root = torch.nn.Module()
    called = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
    for name, child in module._modules.items():
        if name not in called:
            root.add_module(name, child)
    for name, parameter in module._parameters.items():
        root.register_parameter(name, parameter)
    for name, buffer in module._buffers.items():
        root.register_buffer(name, buffer)
    return root


def _contexts(
    inner: torch.nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    return contextlib.nullcontext(), _again(inner, sequences(inner))


@contextlib.contextmanager
def _again(inner: torch.nn.Module, drawn: Mapping[Drawing, torch.Tensor | None]) -> Iterator[None]:
    """Run a part a second time: running statistics stay, and sequences of seeds are ``drawn``."""
    norms = [module for module in inner.modules() if isinstance(module, BatchNorm | InsertedNorm)]
    for norm in norms:
        norm.is_at_rest = True
    try:
        with replayed(inner, drawn):
            yield
    finally:
        for norm in norms:
            norm.is_at_rest = False
