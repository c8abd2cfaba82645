"""A GraphModule that pickles as its graph.

The one of torch pickles as source text that is traced again on loading, which runs the operator
functions on proxies and fails at the first ``if``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx


class TrainableGraph(fx.GraphModule):
    """A graph module without dead code whose copies and pickles keep the graph as it is."""

    def __init__(self, root: torch.nn.Module, graph: fx.Graph) -> None:
        graph.eliminate_dead_code(is_impure_node=_is_kept)
        super().__init__(root, graph, class_name="TrainableGraph")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        lines = [
            _Line(
                name=node.name,
                op=node.op,
                target=node.target,
                args=fx.map_arg(node.args, _reference),
                kwargs=fx.map_arg(node.kwargs, _reference),
            )
            for node in self.graph.nodes
        ]
        return _rebuild, (lines, self._parameters, self._buffers, self._modules, self.training)


@dataclass(frozen=True, kw_only=True)
class _Line:
    name: str
    op: str
    target: Any
    args: Any
    kwargs: Any


@dataclass(frozen=True)
class _Reference:
    name: str


def _reference(node: fx.Node) -> Any:
    return _Reference(node.name)


def _rebuild(
    lines: list[_Line],
    parameters: dict[str, torch.nn.Parameter],
    buffers: dict[str, torch.Tensor],
    modules: dict[str, torch.nn.Module],
    training: bool,  # noqa: FBT001 - positional because pickle calls it
) -> TrainableGraph:
    root = torch.nn.Module()
    for name, parameter in parameters.items():
        root.register_parameter(name, parameter)
    for name, buffer in buffers.items():
        root.register_buffer(name, buffer)
    for name, module in modules.items():
        root.add_module(name, module)
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for line in lines:
        args, kwargs = _resolve(line.args, nodes), _resolve(line.kwargs, nodes)
        nodes[line.name] = graph.create_node(line.op, line.target, args, kwargs, line.name)
    rebuilt = TrainableGraph(root, graph)
    rebuilt.training = training
    return rebuilt


def _resolve(argument: Any, nodes: dict[str, fx.Node]) -> Any:
    if isinstance(argument, _Reference):
        return nodes[argument.name]
    if isinstance(argument, tuple | list):
        return type(argument)(_resolve(item, nodes) for item in argument)
    if isinstance(argument, dict):
        return {name: _resolve(item, nodes) for name, item in argument.items()}
    if isinstance(argument, slice):
        parts = (argument.start, argument.stop, argument.step)
        return slice(*(_resolve(part, nodes) for part in parts))
    return argument


def _is_kept(node: fx.Node) -> bool:
    return node.op in {"placeholder", "output"}
