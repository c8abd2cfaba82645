"""What a batch goes through in a run: seeds, labels, teacher, resume, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, fx, nn

from optimizer.bridge.module import ImportedModule, import_model
from optimizer.errors import InputError
from optimizer.h2spg import UnitLayout, UnitSlices
from optimizer.trainer import ArrayData, Arrays, Hooks, Stopped, train
from optimizer.trainer.augmentation import Augmentation, augmentation_for
from optimizer.trainer.augmentation.layouts import is_channels_last
from optimizer.trainer.data import Batch
from optimizer.trainer.losses import Objective
from optimizer.trainer.outputs import OutputKind
from optimizer.trainer.preparing import prepare
from optimizer.trainer.tasks import Classes, Regression, Tokens
from tests.unit.optimizer.bridge.onnx_models import model_of
from tests.unit.optimizer.trainer.networks import config

CLASSES = Classes(kind=OutputKind.SCORES, num_classes=3)
PLAIN = Augmentation(augment="rand", magnitude=0.5, mixup=0.4, cutmix=0.0, seed=0, task=CLASSES)


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def batch(num_samples: int = 6) -> Batch:
    return Batch((images(num_samples, 3, 16, 16),), torch.arange(num_samples) % 3)


def same(left: Batch, right: Batch) -> bool:
    assert left.labels is not None
    assert right.labels is not None
    return torch.equal(left.inputs[0], right.inputs[0]) and torch.equal(left.labels, right.labels)


def test_a_batch_is_a_function_of_seed_stream_and_step() -> None:
    one = PLAIN.applied(batch(), 7)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert same(PLAIN.applied(batch(), 7), one)
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(PLAIN.applied(batch(), 8), one)
    assert not same(replace(PLAIN, seed=1).applied(batch(), 7), one)
    assert not same(replace(PLAIN, stream=1).applied(batch(), 7), one)


@pytest.mark.parametrize("augment", ["flip-crop", "rand"])
def test_shapes_types_and_samples_stay_apart(augment: str) -> None:
    given = batch()
    before = given.inputs[0].clone()
    one = replace(PLAIN, augment=augment, mixup=0.0).applied(given, 0)
    assert torch.equal(given.inputs[0], before)
    assert one.inputs[0].shape == before.shape
    assert one.inputs[0].dtype == before.dtype
    assert torch.equal(one.labels, given.labels)
    assert not torch.equal(one.inputs[0], before)
    half = Batch((before.half(),), None)
    assert replace(PLAIN, augment=augment).applied(half, 0).inputs[0].dtype == torch.float16
    lonely = replace(PLAIN, augment=augment, mixup=0.0, magnitude=0.0)
    alone = lonely.applied(Batch((before[:1].expand(6, -1, -1, -1),), None), 0).inputs[0]
    assert alone.flatten(1).unique(dim=0).shape[0] > 3  # every sample has its own draw


def test_channels_last_is_the_same_the_other_way_round() -> None:
    x = images(4, 3, 16, 12)
    turned = Batch((x.permute(0, 2, 3, 1).contiguous(),), None)
    for extra in ({}, {"mixup": 0.0, "cutmix": 1.0}):
        first = replace(PLAIN, **extra).applied(Batch((x,), None), 3).inputs[0]
        last = replace(PLAIN, channels_last=True, **extra).applied(turned, 3).inputs[0]
        assert torch.allclose(first.permute(0, 2, 3, 1), last)


def test_labels_follow_what_is_mixed() -> None:
    """Pictures that are their own class say how much of each is in the mix."""
    labels = torch.arange(6) % 3
    x = torch.nn.functional.one_hot(labels, 3).float()[:, :, None, None].expand(-1, -1, 4, 4)
    for settings in ({"mixup": 1.0}, {"mixup": 0.0, "cutmix": 1.0}):
        mixing = replace(PLAIN, augment="none", **settings)
        for step in range(5):
            found = mixing.applied(Batch((x,), labels), step)
            assert found.labels is not None
            assert torch.allclose(found.inputs[0].mean((2, 3)), found.labels, atol=1e-6)
    unlabelled = replace(PLAIN, augment="none", task=None).applied(Batch((x,), labels), 0)
    assert torch.equal(unlabelled.labels, labels)  # nobody reads them


class Pictures(nn.Module):
    """Class scores (N, 3) of pictures (N, 3, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.conv(x)))
        scores: Tensor = self.out(hidden.mean((2, 3)))
        return scores


def imported() -> ImportedModule:
    torch.manual_seed(0)
    module = fx.symbolic_trace(Pictures())
    names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    return ImportedModule(
        module=module,
        input_names=("x",),
        output_names=("scores",),
        paths={name: name for name in names},
    )


class Half:
    """Half of the channels go."""

    operator_units = torch.zeros(8, dtype=torch.bool)
    pool_of_unit = torch.zeros(8, dtype=torch.int64)

    def __init__(self, one: ImportedModule) -> None:
        self._tensors = one.tensors

    def layout(self) -> UnitLayout:
        names = (("conv.weight", 0), ("conv.bias", 0), ("norm.weight", 0), ("norm.bias", 0))
        slices = [UnitSlices(self._tensors[n], axis, torch.arange(8)) for n, axis in names]
        return UnitLayout(slices, num_units=8, pool_of_unit=self.pool_of_unit)

    def chooser(self, target_ratio, quantity):
        def choose(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
            chosen = removed.clone()
            chosen[saliency.masked_fill(removed, -1).argsort()[: round(4 * fraction)]] = True
            return chosen

        return choose

    def remaining_ratio(self, removed: Tensor, quantity) -> float:
        return 1 - int(removed.sum()) / 8

    def solution(self, removed: Tensor) -> frozenset[int]:
        return frozenset(removed.nonzero().flatten().tolist())


def data() -> ArrayData:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 64)
    x = rng.standard_normal((64, 3, 8, 8)).astype(np.float32)
    x[np.arange(64), labels] += 2
    return ArrayData(train=Arrays(inputs={"": x}, labels=labels))


MANY = {"augment": "rand", "mixup": 0.4, "cutmix": 0.4}


def run(*, hooks: Hooks | None = None, checkpoints: Path | None = None, **settings: object):
    one = imported()
    train(
        one,
        data=data(),
        binding=Half(one),
        config=config(batch_size=14, **{**MANY, **settings}),
        hooks=hooks,
        checkpoints=checkpoints,
    )
    return {name: tensor.clone() for name, tensor in one.tensors.items()}


@pytest.mark.parametrize("stop", [2, 11, 17])
def test_resuming_equals_never_having_stopped(tmp_path: Path, stop: int) -> None:
    whole = run()
    asked = iter(range(10_000))
    with pytest.raises(Stopped):
        run(hooks=Hooks(should_stop=lambda: next(asked) == stop), checkpoints=tmp_path)
    torch.manual_seed(99)
    resumed = run(checkpoints=tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_every_kind_trains_otherwise() -> None:
    settings = ({"augment": "none", "mixup": 0, "cutmix": 0}, {"augment": "flip-crop"}, {})
    weights = [run(**one)["conv.weight"] for one in settings]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_the_teacher_sees_what_the_student_sees() -> None:
    """Distilled from itself in inference form, a network without its norm's training is done."""
    one = imported()
    setting = prepare(one, data(), Half(one), config(batch_size=14, loss="distillation", **MANY))
    assert setting.teacher._cached is None
    setting.module.train = lambda mode=True: setting.module  # type: ignore[method-assign]
    setting.module.eval()
    for part in setting.module.modules():
        part.training = False
    assert setting.loss_at(3).item() == pytest.approx(0, abs=1e-6)


def test_the_teacher_rests_where_only_labels_count(monkeypatch: pytest.MonkeyPatch) -> None:
    one = imported()
    chosen = config(batch_size=14, loss="cross-entropy", **MANY)
    setting = prepare(one, data(), Half(one), chosen)
    monkeypatch.setattr(setting.teacher, "outputs", None)
    assert setting.loss_at(3).isfinite()


def objective(task: object, weight: float = 0.5) -> Objective:
    kinds = (OutputKind.VALUES,)
    return Objective(kinds=kinds, distillation_weight=weight, task=task)  # type: ignore[arg-type]


TOKENS = Tokens(kind=OutputKind.SCORES, axis=1)
NUMBERS = Regression(name="mse", spread=1.0)
PICTURES, TABLE, WORDS = images(2, 3, 8, 8), images(2, 5), torch.zeros(2, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    "settings, inputs, task, message",
    [
        ({"augment": "rand"}, TABLE, CLASSES, "augment=rand needs one float input of four axes"),
        ({"cutmix": 1.0}, TABLE, CLASSES, "cutmix=1.0 needs one float input of four axes"),
        ({"mixup": 1.0}, WORDS, CLASSES, "mixup=1.0 needs float inputs"),
        ({"augment": "flip-crop"}, PICTURES, TOKENS, "labels of loss 'token-cross-entropy' would"),
        ({"augment": "flip-crop"}, PICTURES, NUMBERS, "labels of loss 'mse' would stay"),
        ({"cutmix": 1.0}, PICTURES, TOKENS, "cutmix moves pixels"),
        ({"mixup": 1.0}, PICTURES, TOKENS, "mixup cannot mix labels of loss 'token"),
    ],
)
def test_what_does_not_fit_is_refused(settings, inputs: Tensor, task, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        augmentation_for(config(**settings), imported(), (inputs,), objective(task))
    assert caught.value.param in settings
    assert "\n" not in str(caught.value)


def test_what_fits_is_taken_and_off_is_nothing() -> None:
    one = imported()
    assert augmentation_for(config(), one, (PICTURES,), objective(CLASSES)) is None
    table = augmentation_for(config(mixup=0.2), one, (TABLE,), objective(NUMBERS))
    assert table is not None
    assert table.task == NUMBERS
    free = augmentation_for(config(augment="rand"), one, (PICTURES,), objective(TOKENS, 1.0))
    assert free is not None
    assert free.task is None  # distillation needs no labels, so none can become wrong


def test_the_layout_is_told_by_the_graph_and_else_by_the_sizes() -> None:
    one = imported()
    assert not is_channels_last(one, (2, 3, 8, 8))
    assert is_channels_last(one, (2, 8, 8, 3))
    assert not is_channels_last(one, (2, 2, 2, 2))
    nodes = [
        onnx.helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        onnx.helper.make_node("Relu", ["t"], ["y"]),
    ]
    keras = import_model(model_of(nodes, {"x": (2, 2, 2, 2)}, ["y"], {}))
    assert is_channels_last(keras, (2, 2, 2, 2))
