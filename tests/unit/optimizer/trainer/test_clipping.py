import pytest
import torch
from torch import Tensor

from optimizer.trainer.clipping import clip


def gradients(scale: float, *, mixed: bool = False) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = [torch.randn(shape, generator=generator) * scale for shape in [(3, 4), (5,), ()]]
    return [found[0].double(), *found[1:]] if mixed else found


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("scale", [0.01, 1.0, 1e6, float("nan"), float("inf")])
def test_clipping_does_what_torch_does_bit_for_bit(scale: float, mixed: bool) -> None:
    ours = gradients(scale, mixed=mixed)
    parameters = [torch.nn.Parameter(torch.zeros_like(tensor)) for tensor in ours]
    for parameter, gradient in zip(parameters, ours, strict=True):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(parameters, 2.0)
    clip(ours, 2.0)
    for parameter, gradient in zip(parameters, ours, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad.nan_to_num(7.0), gradient.nan_to_num(7.0))


def test_short_gradients_are_not_written_to() -> None:
    ours = gradients(0.01)
    versions = [tensor._version for tensor in ours]
    clip(ours, 2.0)
    assert [tensor._version for tensor in ours] == versions
    clip(ours, 1e-3)
    assert all(tensor._version > before for tensor, before in zip(ours, versions, strict=True))


def test_nothing_to_clip_is_fine() -> None:
    clip([], 1.0)
