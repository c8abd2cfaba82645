import pytest
import torch

from optimizer.bridge.ops.dropout import Dropout
from optimizer.trainer.data import Batches
from optimizer.trainer.evaluation import Evaluation, ablation_losses, evaluate, probe_loss
from optimizer.trainer.losses import Objective, OutputKind
from optimizer.trainer.tasks import Classes
from optimizer.trainer.teacher import Teacher
from tests.unit.optimizer.trainer.networks import BRANCH, NUM_UNITS, FakeBinding, imported, samples

OBJECTIVE = Objective(
    kinds=(OutputKind.SCORES,),
    distillation_weight=0.5,
    task=Classes(kind=OutputKind.SCORES, num_classes=3),
)
CPU = torch.device("cpu")


def test_evaluation_is_a_mean_over_samples_whatever_the_batches() -> None:
    module = imported().module
    teacher = Teacher(imported(seed=1).module)
    arrays = samples(30, seed=0)
    module.train()
    found = [
        evaluate(module, teacher, Batches(arrays, ["points"], size), OBJECTIVE, device=CPU)
        for size in (30, 7)
    ]
    assert abs(found[0].loss - found[1].loss) < 1e-6
    assert found[0].accuracy == found[1].accuracy
    assert module.training
    correct = module.eval()(torch.from_numpy(arrays.inputs["points"])).argmax(1).numpy()
    assert found[0].accuracy == (correct == arrays.labels).mean()


def judged(loss: float, accuracy: float | None) -> Evaluation:
    return Evaluation(loss=loss, accuracy=accuracy, num_samples=200)


def test_better_is_clearly_more_accurate_or_else_closer() -> None:
    good, close = judged(2.0, 0.9), judged(1.0, 0.8)
    assert good.is_better_than(close)
    assert not close.is_better_than(good)
    lucky, solid = judged(2.0, 0.905), judged(1.0, 0.9)
    assert solid.is_better_than(lucky)
    assert not lucky.is_better_than(solid)
    assert not good.is_better_than(good)
    assert judged(1.0, None).is_better_than(judged(2.0, None))


def test_probing_leaves_no_trace() -> None:
    one = imported(dropout=0.5)
    before = {name: tensor.clone() for name, tensor in one.tensors.items()}
    teacher, batches = Teacher(one.module), Batches(samples(32, seed=0), ["points"], 16)
    generator = torch.get_rng_state()
    one.module.eval()
    losses = [probe_loss(one.module, teacher, batches, OBJECTIVE, seed=s) for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(before[name], tensor) for name, tensor in one.tensors.items())
    assert not one.module.training


def test_probing_draws_the_same_from_a_sequence_of_its_own_each_time() -> None:
    class Seeded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 3)
            self.drop = Dropout(3.0, with_mask=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.drop(x, 0.5))

    module = Seeded()
    teacher, batches = Teacher(module), Batches(samples(32, seed=0), ["points"], 16)
    first, second = (probe_loss(module, teacher, batches, OBJECTIVE, seed=0) for _ in range(2))
    assert first == second
    assert module.drop.drawn is None


def test_the_original_is_computed_once_however_often_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = imported()
    teacher, calls = Teacher(one.module), []
    compute = teacher.outputs
    monkeypatch.setattr(teacher, "outputs", lambda batch: (calls.append(1), compute(batch))[1])
    probe, validation = (Batches(samples(32, seed=seed), ["points"], 16) for seed in (0, 1))
    for _ in range(3):
        probe_loss(one.module, teacher, probe, OBJECTIVE, seed=0)
        evaluate(one.module, teacher, validation, OBJECTIVE, device=CPU)
    assert len(calls) == 2 * 2  # two batches of each


def test_ablation_measures_each_unit_alone_and_puts_it_back() -> None:
    one = imported()
    layout = FakeBinding(one).layout()
    before = {name: tensor.clone() for name, tensor in one.tensors.items()}
    weights = one.tensors["branch.weight"], one.tensors["first.bias"]

    def loss() -> float:  # 3 for the branch, 1 for the bias of the first channel
        return -3.0 * float(weights[0].any()) - float(weights[1][0] != 0)

    tried = torch.zeros(NUM_UNITS, dtype=torch.bool)
    tried[[0, 1, BRANCH]] = True
    assert ablation_losses(layout, tried, loss).tolist() == [1, 0, 0, 0, 0, 0, 3]
    assert all(torch.equal(before[name], tensor) for name, tensor in one.tensors.items())
    assert not ablation_losses(layout, tried, lambda: -loss()).any()  # a fall is no saliency
