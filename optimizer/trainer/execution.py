"""The form that a module runs in: layout of images, activations kept or computed again.

The module that owns the weights stays what it is; what runs is a view of it with the same tensors.
"""

import torch
from torch import fx, nn

from optimizer.bridge.checkpointing import checkpointed
from optimizer.bridge.layouts import with_channels_last
from optimizer.bridge.writer import PROBES
from optimizer.config import TrainConfig

_CONVOLUTIONS = frozenset({"conv2d", "conv_transpose2d"})
_FEWEST = 2  # convolutions over images: a patch embedding alone makes no image network
_SHARE = 0.5  # of the multiplications with weights


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
    """Whether most of the work of ``module`` is in several convolutions over images.

    There a step with channels innermost takes 0.76 to 0.91 times as long (benchmarks/README.md);
    encoders gain nothing. A rule and no measurement, so that a run can be repeated bit for bit.
    """
    tensors = dict(module.named_parameters())
    found, over_images, total = 0, 0.0, 0.0
    for node in module.graph.nodes:
        weights = [tensors.get(str(one.target)) for one in node.all_input_nodes]
        largest = max((w.numel() for w in weights if w is not None and w.dim() > 1), default=0)
        is_convolution = getattr(node.target, "__name__", "") in _CONVOLUTIONS
        work = largest * _positions(node, channels=1 if is_convolution else -1)
        total += work
        if is_convolution and largest:
            found, over_images = found + 1, over_images + work
    return found >= _FEWEST and over_images >= _SHARE * total


def _positions(node: fx.Node, *, channels: int) -> float:
    """How often the weights of a layer are used per sample, by the shape of what it makes."""
    made = node.meta.get(PROBES, (None,))[0]
    if not isinstance(made, torch.Tensor) or made.dim() < 2 or not made.numel():
        return 1.0
    return made.numel() / (made.shape[0] * made.shape[channels])
