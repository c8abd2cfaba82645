"""Runs of a tiny network: arrival, resume, stop, divergence, time budget, checkpoints."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from optimizer.errors import InputError
from optimizer.trainer import (
    ArrayData,
    Arrays,
    Hooks,
    Progress,
    Stopped,
    TrainEvent,
    TrainingDivergedError,
    TrainResult,
    train,
)
from optimizer.trainer import state as run_state
from optimizer.trainer.descent import Descended, Descent
from tests.unit.optimizer.trainer.networks import (
    BRANCH,
    NUM_UNITS,
    FakeBinding,
    config,
    data,
    imported,
    samples,
)


def run(
    *, hooks: Hooks | None = None, checkpoints: Path | None = None, arrays=None, **settings
) -> tuple[dict[str, Tensor], TrainResult[frozenset[int]]]:
    one = imported()
    result = train(
        one,
        data=arrays or data(),
        binding=FakeBinding(one),
        config=config(**settings),
        hooks=hooks,
        checkpoints=checkpoints,
    )
    return {name: tensor.clone() for name, tensor in one.tensors.items()}, result


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


class Clock:
    """Advances by ``tick`` seconds whenever it is read."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def test_a_run_meets_its_budget_and_reports_all_the_way() -> None:
    seen: list[Progress] = []
    tensors, result = run(hooks=Hooks(progress=seen.append))
    assert len(result.solution) == round(NUM_UNITS / 2)
    for unit in result.solution - {BRANCH}:
        for name in ("first.weight", "first.bias", "norm.weight", "norm.bias"):
            assert not tensors[name][unit].any()
        assert not tensors["out.weight"][:, unit].any()
    assert (BRANCH in result.solution) == (not tensors["branch.weight"].any())
    assert [entry.step for entry in seen] == list(range(1, 25))
    assert {entry.phase for entry in seen} == {"warm-up", "search", "hybrid", "converged"}
    assert {entry.total for entry in seen} == {24}
    ratios = [entry.macs_ratio for entry in seen]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == 1.0
    assert ratios[-1] == 1 - len(result.solution) / NUM_UNITS
    assert all(math.isfinite(entry.loss) for entry in seen)
    assert [entry["step"] for entry in result.history] == [9, 14, 18, 22, 24]
    assert result.best_step >= 14
    best = next(entry for entry in result.history if entry["step"] == result.best_step)
    assert (best["accuracy"], best["loss"]) == (result.best_accuracy, result.best_loss)
    assert best["loss"] == min(entry["loss"] for entry in result.history[1:])
    assert result.original_accuracy is not None
    assert (result.steps, result.restarts, result.device) == (24, 0, "cpu")
    assert result.threads == torch.get_num_threads()


def test_a_run_learns_what_the_original_does_not_know() -> None:
    _, result = run(loss="cross-entropy", epochs=12, lr=0.1)
    assert result.original_accuracy is not None
    assert result.best_accuracy is not None
    assert result.best_accuracy > max(0.9, result.original_accuracy)


def test_one_seed_twice_is_bitwise_equal_and_another_seed_is_not() -> None:
    first, _ = run()
    assert same(first, run()[0])
    assert not same(first, run(seed=1)[0])


def stopping_before(step: int, **hooks: object) -> Hooks:
    asked = iter(range(10_000))
    return Hooks(should_stop=lambda: next(asked) == step, **hooks)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stop", [0, 2, 6, 11, 17, 23])
def test_resuming_equals_never_having_stopped(tmp_path: Path, stop: int, optimizer: str) -> None:
    whole, expected = run(optimizer=optimizer)
    with pytest.raises(Stopped) as caught:
        run(hooks=stopping_before(stop), checkpoints=tmp_path, optimizer=optimizer)
    assert caught.value.step == stop
    torch.manual_seed(99)  # another process starts with other generators
    events: list[TrainEvent] = []
    hooks = Hooks(event=events.append)
    resumed, result = run(hooks=hooks, checkpoints=tmp_path, optimizer=optimizer)
    assert same(whole, resumed)
    assert replace(result, seconds=0.0) == replace(expected, seconds=0.0)
    assert [event.code for event in events] == ["training-resumed"]


@pytest.mark.parametrize("stop", [2, 11])
def test_resuming_measures_the_same_profiles(tmp_path: Path, stop: int) -> None:
    whole, _ = run(comparison="loss")
    with pytest.raises(Stopped):
        run(hooks=stopping_before(stop), checkpoints=tmp_path, comparison="loss")
    torch.manual_seed(99)
    assert same(whole, run(checkpoints=tmp_path, comparison="loss")[0])


class Killed(BaseException):
    """As if the process had died here."""


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    hits: list[str] = []

    def die(name: str) -> None:
        hits.append(name)
        if hits.count("train.step") == 19:
            raise Killed

    whole, _ = run()
    with pytest.raises(Killed):
        run(hooks=Hooks(fault=die), checkpoints=tmp_path)
    saved: list[int] = []
    hooks = Hooks(checkpoint=lambda checkpoint: saved.append(checkpoint.step))
    assert same(whole, run(hooks=hooks, checkpoints=tmp_path)[0])
    assert saved == [20, 24]  # went on from 16


@pytest.mark.parametrize("lost", ["generators", "optimizer", "buffers"])
def test_a_resume_that_forgets_something_is_noticed(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run()
    with pytest.raises(Stopped):
        run(hooks=stopping_before(15), checkpoints=tmp_path)
    torch.manual_seed(99)
    if lost == "generators":
        monkeypatch.setattr(run_state, "_set_generators", lambda *_: None)
    elif lost == "buffers":
        monkeypatch.setattr(run_state, "weights_of", lambda m: dict(m.named_parameters()))
    else:
        real = run_state._below

        def without_momentum(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            found = real(prefix, tensors)
            return {name: t for name, t in found.items() if "momentum" not in name}

        monkeypatch.setattr(run_state, "_below", without_momentum)
    assert not same(whole, run(checkpoints=tmp_path)[0])


def test_damaged_and_foreign_checkpoints_are_passed_over_with_an_event(tmp_path: Path) -> None:
    whole, _ = run()
    with pytest.raises(Stopped):
        run(hooks=stopping_before(10), checkpoints=tmp_path)
    newest = max(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    events: list[TrainEvent] = []
    assert same(whole, run(hooks=Hooks(event=events.append), checkpoints=tmp_path)[0])
    assert [event.code for event in events] == ["checkpoint-rejected", "training-resumed"]
    assert newest.stem in events[0].message
    events.clear()
    run(hooks=Hooks(event=events.append), checkpoints=tmp_path, seed=5)
    assert {event.code for event in events} == {"checkpoint-incompatible"}


def test_a_loss_that_is_not_finite_sends_the_run_back_twice_then_it_fails() -> None:
    events: list[TrainEvent] = []
    seen: list[Progress] = []
    hooks = Hooks(event=events.append, progress=seen.append)
    with pytest.raises(TrainingDivergedError, match="training diverged: the loss is") as caught:
        run(hooks=hooks, lr=1e8, clip_norm=None)
    assert caught.value.code == "training-diverged"
    assert not math.isfinite(caught.value.loss)
    assert f"at step {caught.value.step}" in str(caught.value)
    assert [event.code for event in events] == ["training-restarted"] * 2
    assert all(event.data["resumed_at"] <= event.data["step"] for event in events)
    assert all(event.data["lr"] > caught.value.lr / 2 for event in events)
    assert all(math.isfinite(entry.loss) for entry in seen)


def test_one_bad_batch_is_survived_at_half_the_rate() -> None:
    healthy, _ = run()
    poison = {"left": 1}
    one = imported()
    real = one.module.forward

    def sometimes_nan(x: Tensor) -> Tensor:
        scores = real(x)
        if one.module.training and poison["left"] and len(seen) == 10:
            poison["left"] -= 1
            return scores * math.nan
        return scores

    seen: list[Progress] = []
    events: list[TrainEvent] = []
    one.module.forward = sometimes_nan
    hooks = Hooks(event=events.append, progress=seen.append)
    result = train(one, data=data(), binding=FakeBinding(one), config=config(), hooks=hooks)
    assert result.restarts == 1
    assert events[0].data["resumed_at"] == 8
    assert events[0].data["step"] == 10
    assert [entry.step for entry in seen][8:14] == [9, 10, 9, 10, 11, 12]
    assert not same(healthy, dict(one.tensors))


def test_a_network_that_evaluates_to_nan_also_goes_back() -> None:
    one = imported()
    real = one.module.forward
    calls = {"eval": 0}

    def forward(x: Tensor) -> Tensor:
        scores = real(x)
        if not one.module.training:
            calls["eval"] += 1
            if calls["eval"] == 3:  # two batches before the first step
                return scores * math.nan
        return scores

    one.module.forward = forward
    result = train(one, data=data(), binding=FakeBinding(one), config=config())
    assert result.restarts == 1
    assert result.steps == 24


def test_weights_that_are_not_finite_are_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing judges the last step without validation samples."""
    make, failing = Descent.make, iter([True])

    def overflowing(self: Descent, step: int, *, parts: int) -> Descended:
        made = make(self, step, parts=parts)
        if step == 23 and next(failing, False):
            with torch.no_grad():
                next(self._setting.module.parameters()).fill_(math.inf)
        return made

    monkeypatch.setattr(Descent, "make", overflowing)
    only_train = ArrayData(train=samples(64, seed=1))
    tensors, result = run(arrays=only_train, validation_ratio=0.0)
    assert result.restarts == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def test_a_time_budget_compresses_the_schedule_and_is_kept() -> None:
    events: list[TrainEvent] = []
    clock = Clock()
    seen: list[Progress] = []

    def tell(progress: Progress) -> None:
        seen.append(progress)
        clock.now += 1.0

    hooks = Hooks(event=events.append, progress=tell, clock=clock)
    tensors, result = run(hooks=hooks, time_budget=18.0)
    assert events[0].code == "schedule-compressed"
    assert result.steps < 24
    assert result.seconds <= 18.0
    assert len(result.solution) == round(NUM_UNITS / 2)
    for unit in result.solution - {BRANCH}:
        assert not tensors["first.weight"][unit].any()


def test_a_time_budget_that_is_used_up_still_judges_the_last_step() -> None:
    clock = Clock()

    def tell(progress: Progress) -> None:
        clock.now += 100.0 if progress.step == 15 else 0.1

    _, result = run(hooks=Hooks(progress=tell, clock=clock), time_budget=50.0)
    assert result.steps == 16
    assert [entry["step"] for entry in result.history] == [9, 14, 16]


def test_a_generous_time_budget_changes_nothing() -> None:
    assert same(run(time_budget=1e6)[0], run()[0])


def test_checkpoints_come_by_steps_or_by_time(tmp_path: Path) -> None:
    saved: list[int] = []
    clock = Clock()

    def tell(_: Progress) -> None:
        clock.now += 1.0

    hooks = Hooks(checkpoint=lambda c: saved.append(c.step), progress=tell, clock=clock)
    run(hooks=hooks, checkpoints=tmp_path, checkpoint_steps=10, checkpoint_seconds=7)
    assert saved == [7, 10, 17, 20]


def test_without_labels_the_network_is_distilled() -> None:
    _, result = run(arrays=data(labelled=False))
    assert result.best_accuracy is None
    assert result.original_accuracy is None
    assert result.best_loss == min(entry["loss"] for entry in result.history[1:])


def test_without_validation_samples_some_are_held_out_or_the_last_weights_count() -> None:
    only_train = ArrayData(train=samples(64, seed=1))
    _, result = run(arrays=only_train, batch_size=14)
    assert result.best_accuracy is not None
    _, result = run(arrays=only_train, validation_ratio=0.0)
    assert result.best_accuracy is None
    assert result.best_loss is None
    assert result.best_step == result.steps


def test_ablation_tells_the_search_what_a_branch_is_worth() -> None:
    seen: list[Tensor] = []
    one = imported()
    with torch.no_grad():
        one.tensors["branch.weight"].mul_(1e-4)
    binding = FakeBinding(one, on_choose=lambda saliency: seen.append(saliency.clone()))
    train(one, data=data(), binding=binding, config=config(lr=1e-6, comparison="relative"))
    assert seen[0][BRANCH] == 1.0  # the only one of its kind: average by definition
    seen.clear()
    binding = FakeBinding(two := imported(), on_choose=lambda s: seen.append(s.clone()))
    train(two, data=data(), binding=binding, config=config(operator_saliency="criterion"))
    assert len(seen) == 2


def test_profiles_put_channels_and_branches_on_one_scale() -> None:
    seen: list[Tensor] = []
    one = imported()
    before = {name: tensor.clone() for name, tensor in one.tensors.items()}
    binding = FakeBinding(one, on_choose=lambda saliency: seen.append(saliency.clone()))
    train(one, data=data(), binding=binding, config=config(comparison="loss", lr=1e-9))
    assert torch.isfinite(seen[0]).all()
    assert seen[0][BRANCH] != 1.0  # a loss per share, not relative to the mean of its kind
    kept = [unit for unit in range(len(seen[0])) if seen[0][unit] < 1e6]
    assert BRANCH in kept
    assert len(kept) > 1  # channels were tried too
    live = one.tensors["out.bias"]  # no unit's: a trial leaves no trace in it or elsewhere
    assert torch.allclose(live, before["out.bias"], atol=1e-6)


def test_data_that_the_model_does_not_take_is_refused() -> None:
    arrays = Arrays(inputs={"points": samples(64, seed=1).inputs["points"][:, :1]})
    with pytest.raises(InputError, match="does not run on a batch of 16 training samples"):
        run(arrays=ArrayData(train=arrays))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch sees no GPU"):
        run(device="cuda")
    assert run(device="auto")[1].device == "cpu"


def test_a_module_of_one_batch_size_gets_full_batches_only() -> None:
    one = imported(batch_is_free=False)
    sizes: set[int] = set()
    one.module.register_forward_hook(lambda _, inputs, __: sizes.add(len(inputs[0])))
    arrays = ArrayData(train=samples(50, seed=1), validation=samples(20, seed=2))
    train(one, data=arrays, binding=FakeBinding(one), config=config())
    assert sizes == {16}


def test_weights_that_are_not_finite_are_never_a_checkpoint(tmp_path: Path) -> None:
    one = imported()
    spoilt = {"left": 1}

    def spoil(progress: Progress) -> None:
        if progress.step == 8 and spoilt["left"]:  # just before the checkpoint of step 8
            spoilt["left"] -= 1
            with torch.no_grad():
                one.tensors["out.bias"].fill_(math.inf)

    saved: list[int] = []
    events: list[TrainEvent] = []
    hooks = Hooks(
        progress=spoil, event=events.append, checkpoint=lambda found: saved.append(found.step)
    )
    result = train(
        one,
        data=data(),
        binding=FakeBinding(one),
        config=config(),
        hooks=hooks,
        checkpoints=tmp_path,
    )
    assert saved == [4, 8, 12, 16, 20, 24]
    assert [event.data["resumed_at"] for event in events] == [4]
    assert result.restarts == 1
