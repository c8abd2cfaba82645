"""All that a run is, as tensors and JSON: captured for a checkpoint, restored from one.

Whatever is missing here makes a resumed run differ from one that was never stopped; the tests
leave single parts out and see that it does.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optimizer.bridge.random_draws import Drawing
from optimizer.h2spg import H2SPG
from optimizer.h2spg.state_keys import UNITS

_MODULE, _OPTIMIZER, _BEST, _RNG = "module/", "optimizer/", "best/", "rng/"
_AVERAGED = "averaged/"
MODULE, OPTIMIZER, BEST = _MODULE, _OPTIMIZER, _BEST
_DRAWN = "drawn/"  # below _RNG: sequences of seeds that the file gives single operators


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run at one step.

    Attributes:
        step: Steps done.
        tensors: Copies, on the CPU.
        values: JSON-compatible.
    """

    step: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of ``module``, by path; live."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


@torch.no_grad()
def overwrite(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` into the parameters and buffers of ``module``, which they name all of."""
    for name, target in weights_of(module).items():
        target.copy_(tensors[name])


def capture(
    module: nn.Module,
    optimizer: H2SPG,
    *,
    best: Mapping[str, Tensor] | None,
    progress: Mapping[str, Any],
    averaged: Mapping[str, Tensor] | None = None,
) -> Snapshot:
    """Take everything down.

    Args:
        module: In training.
        optimizer: Its optimizer.
        best: Best weights so far, if there are any.
        progress: The trainer's own JSON-compatible values.
        averaged: The moving average of the weights, if there is one.
    """
    tensors = {_MODULE + name: tensor for name, tensor in weights_of(module).items()}
    state = optimizer.state_dict()
    for number, entry in state["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{number}/{key}"] = value
    tensors |= {_BEST + name: tensor for name, tensor in (best or {}).items()}
    tensors |= {_AVERAGED + name: tensor for name, tensor in (averaged or {}).items()}
    generator_tensors, generator_values = _generators()
    for path, drawing in _drawings(module).items():
        if drawing.drawn is not None:
            generator_tensors[_RNG + _DRAWN + path] = drawing.drawn
    return Snapshot(
        step=optimizer.steps_done,
        tensors=copied(tensors | generator_tensors),
        values={
            "param_groups": state["param_groups"],
            "generators": generator_values,
            "progress": dict(progress),
        },
    )


def restore(
    snapshot: Snapshot, module: nn.Module, optimizer: H2SPG
) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
    """Put everything back.

    Returns:
        The best weights so far, if there are any, and the trainer's own values.
    """
    overwrite(module, _below(_MODULE, snapshot.tensors))
    state: dict[int | str, dict[str, Tensor]] = {}
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for path, tensor in _below(_OPTIMIZER, snapshot.tensors).items():
        number, _, key = path.partition("/")
        owner = number if number == UNITS else int(number)
        like = None if number == UNITS else parameters[int(number)]
        state.setdefault(owner, {})[key] = _laid_out_as(like, tensor)
    groups = [_with_tuples(group) for group in snapshot.values["param_groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    _set_generators(_below(_RNG, snapshot.tensors), snapshot.values["generators"])
    drawn = _below(_RNG + _DRAWN, snapshot.tensors)
    for path, drawing in _drawings(module).items():
        drawing.drawn = drawn.get(path)
    best = copied(_below(_BEST, snapshot.tensors))
    return best or None, dict(snapshot.values["progress"])


def _laid_out_as(like: Tensor | None, tensor: Tensor) -> Tensor:
    """A copy with the strides of its parameter: updates of tensors that are laid out alike fuse."""
    if like is None or like.shape != tensor.shape:
        return tensor.clone()
    return torch.empty_like(like, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def averaged_in(snapshot: Snapshot) -> dict[str, Tensor]:
    """The moving average of the weights in ``snapshot``; empty where there was none."""
    return _below(_AVERAGED, snapshot.tensors)


def _drawings(module: nn.Module) -> dict[str, Drawing]:
    return {path: each for path, each in module.named_modules() if isinstance(each, Drawing)}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _with_tuples(group: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; torch wants ``betas`` to be one."""
    return {name: tuple(value) if name == "betas" else value for name, value in group.items()}


def _generators() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of the global random generators of torch, NumPy and Python."""
    name, words, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    tensors = {
        _RNG + "torch": torch.get_rng_state(),
        _RNG + "numpy": torch.from_numpy(np.asarray(words).astype(np.int64)),
    }
    if torch.cuda.is_available():
        for number, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"{_RNG}cuda/{number}"] = state
    version, inner, gauss_next = random.getstate()
    return tensors, {
        "numpy": [name, int(position), int(has_gauss), float(gauss)],
        "python": [version, list(inner), gauss_next],
    }


def _set_generators(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    torch.set_rng_state(tensors["torch"])
    name, position, has_gauss, gauss = values["numpy"]
    words = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, words, position, has_gauss, gauss))  # noqa: NPY002
    version, inner, gauss_next = values["python"]
    random.setstate((version, tuple(inner), gauss_next))
    on_gpu = [state for name, state in sorted(tensors.items()) if name.startswith("cuda/")]
    if on_gpu and torch.cuda.device_count() == len(on_gpu):
        torch.cuda.set_rng_state_all(on_gpu)
