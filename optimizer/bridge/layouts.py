"""Images with their channels innermost in memory, which most convolution kernels prefer."""

import torch
from torch import fx

from optimizer.bridge.trainable_graph import TrainableGraph
from optimizer.bridge.writer import PROBES

_IMAGE_AXES = 4


def with_channels_last(module: fx.GraphModule) -> TrainableGraph:
    """Return ``module`` with channels innermost: the same values and shapes, other strides.

    Weights of convolutions are laid out anew where they are (their parameters stay the same
    objects), and inputs of four axes are when they come in.

    Args:
        module: An imported module; its graph is not changed.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = channels_last(tensor.data)  # not module.to(), which fails at five axes
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        made[node] = graph.node_copy(node, made.__getitem__)
        if node.op == "placeholder":
            made[node] = graph.call_function(channels_last, (made[node],))
            made[node].meta[PROBES] = node.meta.get(PROBES, (None, None))
    return TrainableGraph(module, graph).train(module.training)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Lay ``x`` out with its channels innermost if it has four axes."""
    if x.dim() != _IMAGE_AXES:
        return x
    return x.contiguous(memory_format=torch.channels_last)
