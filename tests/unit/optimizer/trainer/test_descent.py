"""Single steps: in parts or at once, in 16 bits or in 32, with gradients that overflow."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.trainer.descent import MAX_OVERFLOWS, Descent
from optimizer.trainer.precision import Precision
from optimizer.trainer.preparing import prepare
from optimizer.trainer.setting import Setting
from tests.unit.optimizer.trainer.images import bound, data, network
from tests.unit.optimizer.trainer.networks import FakeBinding
from tests.unit.optimizer.trainer.networks import config as point_config
from tests.unit.optimizer.trainer.networks import data as points
from tests.unit.optimizer.trainer.networks import imported as point_network


def setting(folder: Path, *, renormalise: str = "off", **settings: object) -> Setting:
    _, imported, binding = bound(network(), folder)
    values = {"target_ratio": 0.5, "batch_size": 32, "device": "cpu", "renormalise": renormalise}
    return prepare(imported, data(), binding, TrainConfig(**{**values, **settings}))  # type: ignore[arg-type]


def weights(one: Setting) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in one.module.parameters()]


def after_steps(one: Setting, parts: int, steps: int = 4) -> list[Tensor]:
    descent, generator = Descent(one), torch.Generator().manual_seed(0)
    with torch.no_grad():  # away from the original, where distillation has only rounding to follow
        for tensor in one.module.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
    for step in range(steps):
        assert descent.make(step, parts=parts).is_made
    return weights(one)


@pytest.mark.parametrize("loss", ["auto", "cross-entropy", "distillation", "mse"])
@pytest.mark.parametrize("parts", [2, 3, 32])
def test_a_batch_in_parts_is_the_whole_batch(tmp_path: Path, parts: int, loss: str) -> None:
    whole = after_steps(setting(tmp_path, loss=loss, lr=0.05), 1)
    split = after_steps(setting(tmp_path, loss=loss, lr=0.05), parts)
    for one, other in zip(whole, split, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-6)


def test_the_losses_of_the_parts_add_up(tmp_path: Path) -> None:
    one = setting(tmp_path)
    whole = one.loss_at(3)
    parts = [float(loss.detach()) for loss in one.losses_at(3, parts=5)]
    assert len(parts) == 5
    assert sum(parts) == pytest.approx(float(whole.detach()), rel=1e-5)


def test_one_part_after_the_other_is_computed(tmp_path: Path) -> None:
    sizes: list[int] = []
    one = setting(tmp_path)
    one.running.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    losses = one.losses_at(0, parts=4)
    next(losses)
    assert sizes == [8]
    assert len(list(losses)) == 3
    assert sizes == [8] * 4


def test_mixed_precision_moves_weights_in_float32(tmp_path: Path) -> None:
    exact = after_steps(setting(tmp_path), 1)
    for precision in ("bfloat16", "float16"):
        one = setting(tmp_path, precision=precision)
        seen: set[torch.dtype] = set()
        one.running.register_forward_hook(lambda _, __, output, seen=seen: seen.add(output.dtype))
        found = after_steps(one, 1)
        assert seen == {one.precision.dtype}
        assert {tensor.dtype for tensor in found} == {torch.float32}
        moved = False
        for left, right in zip(exact, found, strict=True):
            torch.testing.assert_close(left, right, rtol=0.1, atol=0.02)
            moved = moved or not torch.equal(left, right)
        assert moved


def test_the_loss_is_taken_in_float32(tmp_path: Path) -> None:
    one = setting(tmp_path, precision="bfloat16", loss="cross-entropy", label_smoothing=0.1)
    assert one.loss_at(0).dtype is torch.float32
    assert len(one.precision.widened([torch.ones(2).half(), torch.arange(2)])) == 2


def test_evaluation_is_in_the_precision_of_the_file(tmp_path: Path) -> None:
    one = setting(tmp_path, precision="bfloat16")
    assert one.original == setting(tmp_path).original


def test_auto_is_float32_on_the_cpu(tmp_path: Path) -> None:
    assert setting(tmp_path, precision="auto").precision.dtype is None


def test_a_gpu_without_bfloat16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wide, gpu = torch.nn.Linear(2, 2), torch.device("cuda")
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_: has)
        assert Precision("auto", wide, gpu).dtype is (torch.bfloat16 if has else None)
    with pytest.raises(InputError, match="does not compute in bfloat16"):
        Precision("bfloat16", wide, gpu)


def test_weights_in_half_precision_are_not_mixed() -> None:
    half = torch.nn.Linear(2, 2).half()
    with pytest.raises(InputError, match="needs weights in float32") as caught:
        Precision("bfloat16", half, torch.device("cpu"))
    assert caught.value.param == "precision"
    assert Precision("auto", half, torch.device("cpu")).dtype is None


def overflowing(one: Setting, times: int) -> list[float]:
    """Let the first gradients of ``one`` overflow; note the scale at each attempt."""
    scales: list[float] = []
    scaler = one.precision.scaler
    assert scaler is not None

    def spoil(gradient: Tensor) -> Tensor:
        scales.append(scaler.get_scale())
        return gradient * torch.inf if len(scales) <= times else gradient

    next(one.module.parameters()).register_hook(spoil)
    return scales


def test_an_overflow_is_computed_again_at_half_the_scale(tmp_path: Path) -> None:
    one = setting(tmp_path, precision="float16")
    scales = overflowing(one, 2)
    made = Descent(one).make(0, parts=2)
    assert made.is_made
    assert one.optimizer.steps_done == 1
    # spoilt in the first part of the first attempt, and of the second
    assert scales[0] == 2**16
    assert scales[-1] < 2**16
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(one))


def test_endless_overflow_is_no_step(tmp_path: Path) -> None:
    one = setting(tmp_path, precision="float16")
    before = weights(one)
    scales = overflowing(one, 10**6)
    made = Descent(one).make(0, parts=1)
    assert not made.is_made
    assert len(scales) == MAX_OVERFLOWS
    assert one.optimizer.steps_done == 0
    assert all(torch.equal(left, right) for left, right in zip(before, weights(one), strict=True))


def test_a_loss_that_is_not_finite_is_no_step() -> None:
    one = point_network()
    found = prepare(one, points(), FakeBinding(one), point_config())
    with torch.no_grad():
        one.tensors["out.bias"].fill_(torch.nan)
    made = Descent(found).make(0, parts=1)
    assert not made.is_made
    assert made.loss != made.loss
    assert found.optimizer.steps_done == 0
