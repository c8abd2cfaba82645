"""A torch graph as the patterns see it: who reads what, shapes at both bindings, numbers."""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeGuard

import torch
from torch import fx

from optimizer.bridge.writer import CHANGES, PROBES, TENSOR

Shape: TypeAlias = tuple[int, ...]
Function: TypeAlias = Callable[..., Any]


class GraphView:
    """Questions about a graph and its nodes, and the one way to change it.

    Attributes:
        graph: What is rewritten.
        root: Owner of the tensors that the graph refers to.
    """

    def __init__(self, graph: fx.Graph, root: torch.nn.Module) -> None:
        self.graph = graph
        self.root = root

    def calls(self, *functions: Function) -> Iterator[fx.Node]:
        """Every call of one of ``functions`` that is still in the graph, in order."""
        for node in list(self.graph.nodes):
            if is_call(node, *functions) and not node._erased:
                yield node

    def tensor(self, node: Any) -> torch.Tensor | None:
        """The parameter or buffer that a node is, if it is one."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        parent, _, leaf = str(node.target).rpartition(".")
        found: torch.Tensor = getattr(self.root.get_submodule(parent), leaf)
        return found

    def module(self, node: Any) -> torch.nn.Module | None:
        """The module that a node calls, if it does."""
        if not isinstance(node, fx.Node) or node.op != "call_module":
            return None
        return self.root.get_submodule(str(node.target))

    def number(self, argument: Any) -> float | None:
        """A number that nothing changes: in the code, or a constant of one element."""
        if isinstance(argument, int | float) and not isinstance(argument, bool):
            return float(argument)
        tensor = self.tensor(argument)
        if tensor is None or isinstance(tensor, torch.nn.Parameter) or tensor.numel() != 1:
            return None
        is_fixed = tensor.is_floating_point() and not argument.meta.get(CHANGES)
        return float(tensor.item()) if is_fixed else None

    def is_number(self, argument: Any, wanted: float) -> bool:
        """Whether an argument is the number ``wanted``, as exactly as float32 holds it."""
        found = self.number(argument)
        return found is not None and math.isclose(found, wanted, rel_tol=4e-7, abs_tol=0.0)

    def with_number(self, node: Any, function: Function) -> tuple[fx.Node, float] | None:
        """The operands of ``function(tensor, number)``, for symmetric ones in either order.

        None if the number gives the result more axes than the tensor has.
        """
        if not is_call(node, function) or node.kwargs or len(node.args) != 2:
            return None
        left, right = node.args
        number = self.number(right)
        if number is not None and isinstance(left, fx.Node):
            return (left, number) if self.keeps_axes(node, left, right) else None
        number = self.number(left)
        if number is not None and isinstance(right, fx.Node) and function in SYMMETRIC:
            return (right, number) if self.keeps_axes(node, right, left) else None
        return None

    def keeps_axes(self, node: fx.Node, x: fx.Node, number: Any) -> bool:
        """Whether ``node``, of ``x`` and a number, has the axes of ``x``.

        One element of shape (1, 1, 1) gives a matrix a third axis.
        """
        tensor = self.tensor(number)
        if tensor is None or tensor.dim() == 0:
            return True
        return rank(x) is not None and rank(node) == rank(x)

    def replace(self, node: fx.Node, function: Function, *args: Any, **kwargs: Any) -> fx.Node:
        """Have ``node`` computed by another call; what only it needed goes."""
        with self.graph.inserting_before(node):
            made = self.graph.create_node("call_function", function, args, kwargs)
        made.meta[PROBES] = probes(node)
        self.bypass(node, made)
        return made

    def bypass(self, node: fx.Node, instead: fx.Node) -> None:
        """Have the readers of ``node`` read another node; what is not read any more goes."""
        node.replace_all_uses_with(instead)
        if TENSOR in node.meta:
            instead.meta.setdefault(TENSOR, node.meta[TENSOR])
        self._erase(node)

    def sweep(self) -> None:
        """Erase all that nothing reads."""
        for node in reversed(list(self.graph.nodes)):
            if not node._erased:
                self._erase(node)

    def _erase(self, node: fx.Node) -> None:
        pending = [node]
        while pending:
            node = pending.pop()
            if node._erased or node.users or node.op in {"placeholder", "output"}:
                continue
            operands = node.all_input_nodes
            self.graph.erase_node(node)
            pending += operands


def is_call(node: Any, *functions: Function) -> TypeGuard[fx.Node]:
    """Whether a node calls one of ``functions``."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in functions


def sole_reader(node: fx.Node) -> fx.Node | None:
    """The only node that reads ``node``; none if there are several or it is an output."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and readers[0].op != "output" else None


def is_inside(node: Any, reader: Any) -> TypeGuard[fx.Node]:
    """Whether nothing but ``reader`` reads ``node``."""
    return isinstance(node, fx.Node) and sole_reader(node) is reader


def probes(node: fx.Node) -> tuple[Any, Any]:
    """What a node is at the two bindings, as far as it is known."""
    found: tuple[Any, Any] = node.meta.get(PROBES, (None, None))
    return found


def shapes(node: Any) -> tuple[Shape, Shape] | None:
    """Sizes of a tensor at the two bindings, if they are known."""
    if not isinstance(node, fx.Node):
        return None
    first, second = probes(node)
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return None
    return tuple(first.shape), tuple(second.shape)


def rank(node: Any) -> int | None:
    """Number of axes, if it is known."""
    found = shapes(node)
    return len(found[0]) if found is not None and len(found[0]) == len(found[1]) else None


def dtype(node: Any) -> torch.dtype | None:
    """Element type of a tensor, if it is known."""
    if not isinstance(node, fx.Node):
        return None
    found = probes(node)[0]
    return found.dtype if isinstance(found, torch.Tensor) else None


def fixed_size(node: Any, axis: int) -> int | None:
    """Size of an axis that is the same whatever the free axes are."""
    found = shapes(node)
    if found is None or not found[0] or not found[1]:
        return None
    return found[0][axis] if found[0][axis] == found[1][axis] else None


SYMMETRIC = frozenset({torch.add, torch.mul})
