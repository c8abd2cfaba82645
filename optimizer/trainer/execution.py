"""The form that a module runs in: layout of images, activations kept or computed again.

The module that owns the weights stays what it is; what runs is a view of it with the same tensors.
"""

from torch import fx, nn

from optimizer.bridge.checkpointing import checkpointed
from optimizer.bridge.layouts import with_channels_last
from optimizer.config import TrainConfig

_CONVOLUTIONS = frozenset({"conv2d", "conv_transpose2d"})
_FEWEST = 2  # convolutions over images: a patch embedding alone makes no image network
_SHARE = 0.5  # of the weights: where most are in products, images are a small part of the work


class Execution:
    """Makes the view of a module that runs, and keeps it while the module stays as it is."""

    def __init__(self, config: TrainConfig) -> None:
        """Take ``layout`` and ``checkpointing`` from ``config``."""
        self._layout = config.layout
        self._parts = config.checkpointing
        self._made_for: tuple[int, ...] = ()
        self._graphs: tuple[fx.Graph, ...] = ()
        self._view: nn.Module | None = None

    def of(self, module: fx.GraphModule) -> nn.Module:
        """The view of ``module``, in the same mode; anew where tensors or graph changed."""
        if self._parts == 1 and self._layout == "plain":
            return module
        key = (id(module), *(id(tensor) for tensor in module.parameters()))
        graphs = tuple(one.graph for one in module.modules() if isinstance(one, fx.GraphModule))
        if self._view is None or key != self._made_for or graphs != self._graphs:
            self._view, self._made_for, self._graphs = self._made(module), key, graphs
        if self._view.training != module.training:
            self._view.train(module.training)
        return self._view

    def _made(self, module: fx.GraphModule) -> nn.Module:
        view = module
        if self._layout == "channels-last" or (self._layout == "auto" and is_of_images(module)):
            view = with_channels_last(view)
        return checkpointed(view, self._parts) if self._parts > 1 else view


def is_of_images(module: fx.GraphModule) -> bool:
    """Whether most weights of ``module`` are in several convolutions over images.

    There a step with channels innermost takes 0.76 to 0.91 times as long (benchmarks/README.md);
    encoders gain nothing. A rule and no measurement, so that a run can be repeated bit for bit.
    """
    tensors = dict(module.named_parameters())
    weights = {
        str(node.args[1].target)
        for node in module.graph.nodes
        if getattr(node.target, "__name__", "") in _CONVOLUTIONS
        and len(node.args) > 1
        and isinstance(node.args[1], fx.Node)
    }
    held = [tensors[name].numel() for name in weights & set(tensors)]
    total = sum(tensor.numel() for tensor in tensors.values() if tensor.dim() > 1)
    return len(held) >= _FEWEST and sum(held) >= _SHARE * total
