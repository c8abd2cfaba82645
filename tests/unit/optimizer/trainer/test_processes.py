"""Two processes with half of each step's samples make the run that one makes with all of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optimizer.bridge import synchronising
from optimizer.config import TrainConfig
from optimizer.errors import InputError
from optimizer.trainer import process_group
from optimizer.trainer.data import Batches
from optimizer.trainer.processes import ALONE, Processes
from optimizer.trainer.sharing import check_shareable, without_gradient
from tests.unit.optimizer.trainer import process_runs as runs
from tests.unit.optimizer.trainer.process_runs import Outcome, Pair

CLOSE = 1e-9  # double precision; Adam's division by small moments enlarges rounding


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with runs.a_pair(tmp_path_factory.mktemp("pair")) as started:
        yield started


def distance(left: Outcome, right: Outcome) -> float:
    assert left.weights.keys() == right.weights.keys()
    return max(float(np.abs(left.weights[n] - right.weights[n]).max()) for n in left.weights)


def assert_identical(left: Outcome, right: Outcome) -> None:
    for name, values in left.weights.items():
        np.testing.assert_array_equal(values, right.weights[name])
    plain = {"weights": {}, "losses": (), "events": ()}
    assert replace(left, **plain) == replace(right, **plain)


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"normalised": True}, {"batch_size": 7}),
    ({"normalised": True, "unused": True}, {"optimizer": "adam", "lr": 1e-3}),
    ({"normalised": False}, {"renormalise": "off", "operator_saliency": "criterion"}),
    ({"normalised": False}, {"renormalise": "on", "optimizer": "adamw", "saliency": "taylor"}),
    ({"normalised": True}, {"loss": "mse"}),
    ({"normalised": False}, {"renormalise": "off", "accumulate": 3, "ema_decay": 0.9}),
    ({"normalised": True}, {"mixup": 0.4, "layout": "channels-last", "checkpointing": 2}),
    ({"normalised": True}, {"start": "scratch", "loss": "cross-entropy"}),
]


@pytest.mark.parametrize(("network", "settings"), CASES)
def test_two_processes_make_the_run_of_one(
    pair: Pair, network: dict[str, Any], settings: dict[str, Any]
) -> None:
    one = runs.run(settings, **network)
    first, second = pair.do(runs.run, settings, **network)
    assert_identical(first, second)
    assert distance(first, one) < CLOSE
    assert first.removed == one.removed
    assert first.removed
    assert (first.steps, first.best_step, first.restarts) == (one.steps, one.best_step, 0)
    assert first.best_loss == pytest.approx(one.best_loss, rel=1e-9)
    np.testing.assert_allclose(first.losses, one.losses, rtol=1e-9)
    assert first.events == one.events
    assert second.losses == second.events == ()  # only the first one tells


@pytest.mark.parametrize(
    "settings",
    [
        {"feature_weight": 0.5},
        {"optimizer": "adam", "accumulate": 2, "ema_decay": 0.9},
        {"checkpointing": 3, "start": "scratch", "loss": "cross-entropy"},
    ],
)
def test_two_processes_cut_while_they_train(
    pair: Pair, tmp_path: Path, settings: dict[str, Any]
) -> None:
    network = {"normalised": "accumulate" not in settings, "cut": True}
    one = runs.run(settings, **network)
    first, second = pair.do(runs.run, settings, **network)
    assert_identical(first, second)
    assert "cut" in first.events
    assert first.events == one.events
    assert distance(first, one) < CLOSE
    uncut = runs.run(settings, **network | {"cut": False})
    np.testing.assert_allclose(first.losses, uncut.losses, rtol=1e-9)
    assert first.removed == uncut.removed
    pair.do(runs.run, settings, checkpoints=tmp_path, stop_before=15, **network)
    resumed, _ = pair.do(runs.run, settings, checkpoints=tmp_path, **network)
    assert_identical(resumed, first)


def test_without_synchronised_statistics_the_processes_still_agree(pair: Pair) -> None:
    settings = {"sync_batch_norm": "off"}
    first, second = pair.do(runs.run, settings, normalised=True)
    assert_identical(first, second)
    assert distance(first, runs.run(settings, normalised=True)) > 1e-4


@pytest.mark.parametrize(("stop", "seeded"), [(2, True), (6, False), (10, True), (15, False)])
def test_a_resumed_run_of_two_is_bitwise_the_run(
    pair: Pair, tmp_path: Path, stop: int, seeded: bool
) -> None:
    network = {"normalised": True, "dropout": 0.3, "seeded": seeded}
    whole, _ = pair.do(runs.run, {"batch_size": 7}, **network)
    stopped = pair.do(
        runs.run, {"batch_size": 7}, checkpoints=tmp_path, stop_before=stop, **network
    )
    assert [outcome.stopped_at for outcome in stopped] == [stop, stop]
    first, second = pair.do(runs.run, {"batch_size": 7}, checkpoints=tmp_path, **network)
    assert first.events == ("training-resumed",)
    assert len(first.losses) == whole.steps - stop
    assert_identical(first, whole)
    assert_identical(first, second)


def test_a_run_of_two_can_be_ended_by_one(pair: Pair, tmp_path: Path) -> None:
    whole, _ = pair.do(runs.run, {}, normalised=True)
    pair.do(runs.run, {}, checkpoints=tmp_path, stop_before=10, normalised=True)
    resumed = runs.run({}, checkpoints=tmp_path, normalised=True)
    assert resumed.events == ("training-resumed",)
    assert len(resumed.losses) == 10
    assert distance(resumed, whole) < CLOSE
    assert resumed.removed == whole.removed


def test_a_time_budget_goes_by_one_clock(pair: Pair) -> None:
    first, second = pair.do(runs.run, {"time_budget": 12.0}, tick=0.5, normalised=True)
    assert first.steps < 20
    assert first.events == ("schedule-compressed",)
    assert_identical(first, second)


def test_the_clock_is_that_of_the_first_process(pair: Pair) -> None:
    assert pair.do(runs.clock_readings) == [[1, 2, 3], [1, 2, 3]]


def test_structures_are_tried_by_all_processes_together(pair: Pair) -> None:
    assert pair.do(runs.ablated) == [[1.0, 2.0, 4.0]] * 2


def test_what_drops_differs_between_processes_and_steps(pair: Pair) -> None:
    draws = pair.do(runs.some_draws)
    assert len({tuple(draw) for of_process in draws for draw in of_process}) == 4
    assert draws == pair.do(runs.some_draws)


def test_a_number_that_is_none_in_one_process_sends_all_back(pair: Pair) -> None:
    first, second = pair.do(runs.run_with_nan, 6)
    assert_identical(first, second)
    assert first.restarts == 1
    assert first.events == ("training-restarted",)


def test_processes_that_came_apart_end_at_the_next_decision(pair: Pair) -> None:
    for error in pair.do(runs.run_apart, 6):
        assert error.kind == "DisagreementError"
        assert "processes [1] of the run hold other weights than process 0" in error.text


def test_a_step_of_fewer_samples_than_processes_is_refused(pair: Pair) -> None:
    for error in pair.do(runs.run, {"batch_size": 1}, normalised=True):
        assert (error.kind, error.param) == ("InputError", "batch_size")
        assert "a step has 1 samples, too few for 2 processes" in error.text


def test_a_batch_that_the_file_fixes_is_not_shared() -> None:
    batches = Batches(runs.arrays(16, seed=0), ["x"], 8)
    config = TrainConfig(target_ratio=0.5)
    check_shareable(ALONE, batches, config, batch_is_free=False)
    with pytest.raises(InputError, match="the model fixes its batch size at 8"):
        check_shareable(Processes(size=2), batches, config, batch_is_free=False)


def test_what_processes_cannot_share_is_refused() -> None:
    batches = Batches(runs.arrays(16, seed=0), ["x"], 8)
    parts = TrainConfig(target_ratio=0.5, accumulate=5)
    with pytest.raises(InputError, match="8 samples in 5 parts, too few for 2 processes"):
        check_shareable(Processes(size=2), batches, parts, batch_is_free=True)
    timed = TrainConfig(target_ratio=0.5, quantity="latency")
    with pytest.raises(InputError, match="a budget of latency"):
        check_shareable(Processes(size=2), batches, timed, batch_is_free=True)


def test_a_failure_of_the_first_process_is_one_of_all(pair: Pair) -> None:
    first, second = pair.do(runs.fail_in_first)
    assert (first.kind, second.kind) == ("ValueError", "ProcessLostError")
    assert "process 0 of the run failed: no room" in second.text


def test_gradients_can_be_gathered_over_several_passes(pair: Pair) -> None:
    first, second = pair.do(runs.accumulated)
    np.testing.assert_allclose(first["together"], first["in two passes"], atol=1e-12)
    np.testing.assert_array_equal(first["in two passes"], second["in two passes"])
    assert not np.allclose(first["own"], second["own"])


def test_another_module_can_take_the_place_of_the_first(pair: Pair) -> None:
    first, second = pair.do(runs.wrapped_again)
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize(
    ("dtype", "shape", "tolerance"),
    [
        (torch.float64, (5, 3), 1e-12),
        (torch.float64, (5, 3, 2, 2, 2), 1e-12),
        (torch.float32, (7, 4, 6, 6), 1e-4),  # around 50: as far as float32 tells
    ],
)
def test_statistics_are_those_of_all_samples(
    pair: Pair, dtype: torch.dtype, shape: tuple[int, ...], tolerance: float, always: bool
) -> None:
    for differences in pair.do(runs.normalised, dtype, shape, always=always):
        assert {"y", "x", "of scale", "of bias", "mean", "variance"} <= set(differences)
        assert max(differences.values()) < tolerance, differences


def test_processes_may_run_different_branches(pair: Pair) -> None:
    first, second = pair.do(runs.conditional)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[0], first[1])


def test_weights_without_a_gradient_are_found_and_nothing_is_changed() -> None:
    module = runs.import_model(runs.network(normalised=True, unused=True, dropout=0.3)).module
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    images = torch.ones(4, 2, 4, 4, dtype=torch.float64)
    state = torch.get_rng_state()
    assert without_gradient(module, lambda: module(images)[0].sum()) == ["aside.w"]
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    assert torch.equal(state, torch.get_rng_state())


def test_a_process_that_hangs_is_given_up(pair: Pair) -> None:
    first, second = pair.do(runs.silent)
    assert first.kind == "ProcessLostError"
    assert second == "slept"


def test_an_output_that_counts_no_samples_is_weighted(pair: Pair) -> None:
    first, second = pair.do(runs.weighted_loss)
    assert first == second
    assert first["loss"] == pytest.approx(sum(range(5)) / 5)
    assert first["gradient"] == pytest.approx(1.0)


def test_one_process_alone_has_everything() -> None:
    indices = torch.arange(7)
    assert ALONE.part(indices) is indices
    assert ALONE.own_share([1, 2, 3]) == [1, 2, 3]
    assert ALONE.device(torch.device("cuda")) == torch.device("cuda")
    assert process_group.current() is ALONE
    hooks = runs.Hooks()
    assert ALONE.hooks(hooks) is hooks


@pytest.mark.parametrize("size", [2, 3, 5])
def test_parts_are_all_of_the_step_in_order(size: int) -> None:
    parts = [Processes(rank=rank, size=size).part(torch.arange(11)) for rank in range(size)]
    assert torch.cat(parts).tolist() == list(range(11))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    dealt = [Processes(rank=rank, size=size).own_share(range(11)) for rank in range(size)]
    assert sorted(item for share in dealt for item in share) == list(range(11))


def test_a_process_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="process 1 of this machine has no GPU: there are 1"):
        Processes(rank=1, size=2, local_rank=1).device(torch.device("cuda"))


def test_variables_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(InputError, match=r"RANK.* not set; start several processes with torchrun"),
        process_group.from_environment(on_gpu=False),
    ):
        pass


def test_only_normalisations_of_the_graph_itself_are_synchronised() -> None:
    imported = runs.import_model(runs.network(normalised=True))
    assert synchronising.synchronise(imported.module)
    norms = synchronising.norms_of(imported.module)
    assert len(norms) == 3
    with synchronising.unsynchronised(imported.module):
        assert not any(norm.is_synchronised for norm in norms)
    assert synchronising.is_synchronised(imported.module)
    assert not synchronising.synchronise(imported.module, on=False)
    inner = imported.checkpointed(parts=2).module
    assert synchronising.synchronise(inner)
    assert not synchronising.has_bodies(inner)


def test_a_process_that_dies_ends_the_others(pair: Pair) -> None:
    first, second = pair.do(runs.run_then_die, 9)
    assert (first.kind, second.kind) == ("ProcessLostError", "ended")
    assert "process 0 of 2 lost contact" in first.text
