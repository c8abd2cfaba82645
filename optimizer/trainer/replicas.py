"""What the training steps of several processes call; it follows the form of the module."""

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from optimizer.trainer.processes import Processes
from optimizer.trainer.sharing import without_gradient

Form = tuple[nn.Module, tuple[fx.Graph, ...], tuple[torch.Size, ...]]


class Replicas:
    """Wraps what runs so that gradients are averaged, anew wherever that has changed.

    A module that was cut, or whose view was made anew, has other tensors to average.
    """

    def __init__(
        self, processes: Processes, *, sync_batch_norm: bool, loss: Callable[[nn.Module], Tensor]
    ) -> None:
        """Remember how to wrap.

        Args:
            processes: Of the run.
            sync_batch_norm: Whether normalisations use the samples of all processes.
            loss: That of some samples; what it does not depend on has no gradient to average.
        """
        self._processes = processes
        self._sync_batch_norm = sync_batch_norm
        self._loss = loss
        self._form: Form | None = None
        self._wrapped: nn.Module | None = None

    def of(self, running: nn.Module) -> nn.Module:
        """``running`` itself, or what stands for it in several processes."""
        if self._processes.is_alone:
            return running
        assert isinstance(running, fx.GraphModule)
        form = _form_of(running)
        if self._wrapped is None or form != self._form:
            self._wrapped = None  # its hooks on the parameters go with it
            self._wrapped = self._processes.wrapped(
                running,
                sync_batch_norm=self._sync_batch_norm,
                without_gradient=without_gradient(running, lambda: self._loss(running)),
            )
            self._form = form
        if self._wrapped.training != running.training:
            self._wrapped.train(running.training)
        return self._wrapped


def _form_of(running: nn.Module) -> Form:
    graphs = tuple(one.graph for one in running.modules() if isinstance(one, fx.GraphModule))
    return running, graphs, tuple(one.shape for one in running.parameters())
