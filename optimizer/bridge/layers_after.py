"""What a layer of a torch graph runs into: a normalisation, another layer, an output.

Judged by the functions that the graph calls, not by the file's operators, so that it holds for a
normalisation that is one operator and for one that is written out.
"""

from collections.abc import Iterator
from functools import cached_property

from torch import fx

_NORMS = frozenset(
    {
        "batch_norm",
        "group_norm",
        "instance_norm",
        "layer_norm",
        "rms_norm",
        "normalise_groups",
        "normalise_from_axis",
        "divide_by_root_mean_square",
        "standardise",
    }
)
_MEANS = frozenset({"mean", "sum", "summed", "reduce_over"})
_ELEMENTWISE = frozenset({"add", "sub", "mul", "div", "truediv", "true_divide"})
_STEPS = 5  # from a mean to the subtraction of it: a mask, a division, a reshape


def function_name(node: fx.Node) -> str:
    """Name of the function that ``node`` calls; empty for everything else."""
    return getattr(node.target, "__name__", "") if node.op == "call_function" else ""


class Surroundings:
    """Looks ahead in the graph of one module.

    Attributes:
        normalisations: Nodes that normalise what they read; of one that is written out, the
            subtraction of the mean.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        nodes = module.graph.nodes
        self.normalisations = frozenset(node for node in nodes if self._normalises(node))

    def is_normalised(self, node: fx.Node) -> bool:
        """Whether what ``node`` makes is normalised before any other layer reads it."""
        return any(reached in self.normalisations for reached in self._until_layers(node))

    def makes_output(self, node: fx.Node) -> bool:
        """Whether what ``node`` makes gets into an output without passing another layer."""
        return any(reached.op == "output" for reached in self._until_layers(node))

    def _until_layers(self, node: fx.Node) -> Iterator[fx.Node]:
        """All nodes that depend on ``node`` without a layer in between; layers are left out."""
        seen: set[fx.Node] = set()
        pending = list(node.users)
        while pending:
            user = pending.pop()
            if user in seen or user in self._layers:
                continue
            seen.add(user)
            yield user
            if user not in self.normalisations:
                pending += user.users

    @cached_property
    def _layers(self) -> frozenset[fx.Node]:
        """Nodes with a weight of two or more axes, but for those that only add or scale."""
        weights = {path for path, tensor in self._module.named_parameters() if tensor.dim() > 1}
        from_weights: set[fx.Node] = set()
        layers = set()
        for node in self._module.graph.nodes:
            inputs = node.all_input_nodes
            reads_weight = any(one in from_weights for one in inputs)
            if node.op == "get_attr":
                if node.target in weights:
                    from_weights.add(node)
            elif reads_weight and all(self._is_fixed(one) for one in inputs):
                from_weights.add(node)  # a weight that is moved before it is used
            elif reads_weight and function_name(node) not in _ELEMENTWISE:
                layers.add(node)
        return frozenset(layers)

    @cached_property
    def _fixed(self) -> dict[fx.Node, bool]:
        fixed: dict[fx.Node, bool] = {}
        for node in self._module.graph.nodes:
            inputs = node.all_input_nodes
            moved = bool(inputs) and all(fixed[one] for one in inputs)
            fixed[node] = node.op == "get_attr" or (node.op == "call_function" and moved)
        return fixed

    def _is_fixed(self, node: fx.Node) -> bool:
        return self._fixed[node]

    def _normalises(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return "Norm" in type(self._module.get_submodule(str(node.target))).__name__
        name = function_name(node)
        return name in _NORMS or (name == "sub" and _subtracts_own_mean(node))


def _subtracts_own_mean(node: fx.Node) -> bool:
    operands = [argument for argument in node.args if isinstance(argument, fx.Node)]
    if len(operands) != 2:
        return False
    x, level = operands[0], {operands[1]}
    for _ in range(_STEPS):
        if any(function_name(one) in _MEANS and _reads(one, x) for one in level):
            return True
        level = {source for one in level for source in one.all_input_nodes}
    return False


def _reads(node: fx.Node, x: fx.Node) -> bool:
    """Whether ``node`` reads ``x``, as it is or multiplied with something."""
    sources = node.all_input_nodes
    return any(
        one is x or (function_name(one) == "mul" and x in one.all_input_nodes) for one in sources
    )
