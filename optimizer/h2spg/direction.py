"""One step of the plain optimizer: SGD, Adam, AdamW.

The arithmetic is torch's own functional foreach implementation, so that H2SPG with nothing to
remove is the plain optimizer bit for bit, now and after every update of torch. Kept out: all that
knows units.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from optimizer.h2spg.state_keys import FIRST_MOMENT, MOMENTUM_BUFFER, SECOND_MOMENT, STEP

VARIANTS = ("sgd", "adam", "adamw")


def update(
    variant: str,
    params: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
    settings: Mapping[str, Any],
) -> None:
    """Move ``params`` in place by one step along their ``grad``.

    Args:
        variant: One of ``VARIANTS``.
        params: Parameters with a gradient.
        states: The state of each parameter; filled on first use, then updated in place.
        settings: The param_group: ``lr``, ``weight_decay``, and what the variant needs.
    """
    grads = [param.grad for param in params if param.grad is not None]
    if not grads:
        return
    if variant == "sgd":
        _sgd_update(list(params), grads, states, settings)
    else:
        _adam_update(list(params), grads, states, settings, is_decoupled=variant == "adamw")


def _sgd_update(
    params: list[Tensor],
    grads: list[Tensor],
    states: Sequence[dict[str, Any]],
    settings: Mapping[str, Any],
) -> None:
    buffers: list[Tensor | None] = [state.get(MOMENTUM_BUFFER) for state in states]
    sgd(
        params,
        grads,
        buffers,
        foreach=True,
        weight_decay=settings["weight_decay"],
        momentum=settings["momentum"],
        lr=settings["lr"],
        dampening=settings["dampening"],
        nesterov=settings["nesterov"],
        maximize=False,
    )
    if settings["momentum"] != 0:
        for state, buffer in zip(states, buffers, strict=True):
            state[MOMENTUM_BUFFER] = buffer


def _adam_update(
    params: list[Tensor],
    grads: list[Tensor],
    states: Sequence[dict[str, Any]],
    settings: Mapping[str, Any],
    *,
    is_decoupled: bool,
) -> None:
    for param, state in zip(params, states, strict=True):
        if not state:
            state[STEP] = torch.tensor(0.0)  # on the CPU, as torch keeps it: no transfer per step
            state[FIRST_MOMENT] = torch.zeros_like(param, memory_format=torch.preserve_format)
            state[SECOND_MOMENT] = torch.zeros_like(param, memory_format=torch.preserve_format)
    beta1, beta2 = settings["betas"]
    adam(
        params,
        grads,
        [state[FIRST_MOMENT] for state in states],
        [state[SECOND_MOMENT] for state in states],
        [],
        [state[STEP] for state in states],
        foreach=True,
        decoupled_weight_decay=is_decoupled,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=settings["lr"],
        weight_decay=settings["weight_decay"],
        eps=settings["eps"],
        maximize=False,
    )
