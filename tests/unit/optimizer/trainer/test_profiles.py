from dataclasses import replace

import pytest
import torch

from optimizer.trainer.data import Batches
from optimizer.trainer.decisions import for_trials, probe_of
from optimizer.trainer.profiles import (
    OPERATOR_WIDTH,
    Trials,
    is_affordable,
    num_trials,
    profiled,
    samples_per_trial,
    slopes_of,
    tempered,
    with_profiles,
)
from tests.unit.optimizer.trainer.networks import FakeBinding, config, data, imported

# a group of 4 units, one of 2, two operators, and a structure that costs nothing
POOLS = torch.tensor([1, 1, 1, 1, 2, 2, 0, 0, 0])
OPERATORS = torch.tensor([False] * 6 + [True, True, False])
COSTS = torch.tensor([0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.2, 0.3, 0.0], dtype=torch.float64)
SALIENCY = torch.tensor([4.0, 1.0, 3.0, 2.0, 2.0, 1.0, 9.0, 9.0, 9.0], dtype=torch.float64)
NOTHING = torch.zeros(9, dtype=torch.bool)


class Network:
    """Losses as they come about: each group dearer the narrower it is, operators at a price."""

    def __init__(self, *, broken_at: int | None = None) -> None:
        self.tried: list[list[int]] = []
        self.broken_at = broken_at

    def loss_without(self, gone: torch.Tensor) -> float:
        units = gone.nonzero().flatten().tolist()
        self.tried.append(units)
        if self.broken_at in units:
            return float("nan")
        first, second = int(gone[:4].sum()), int(gone[4:6].sum())
        return 1.0 + 0.1 * first**2 + 0.5 * second + 0.1 * float(gone[6]) + 0.6 * float(gone[7])

    def trials(self) -> Trials:
        return Trials(
            pool_of_unit=POOLS,
            operators=OPERATORS,
            loss_without=self.loss_without,
            remaining=lambda removed: 1 - float((COSTS * removed).sum()),
        )


def test_units_are_priced_by_the_loss_per_share_saved() -> None:
    found = profiled(SALIENCY, NOTHING, Network().trials())
    # 1, 2 and 3 of the first group gone: 0.1, 0.4, 0.9; in its order 1, 3, 2
    slopes = {1: 0.1 / 0.05, 3: 0.3 / 0.05, 2: 0.5 / 0.05, 5: 0.5 / 0.1, 6: 0.1 / 0.2, 7: 2.0}
    left = {1: 1.0, 3: 0.75, 2: 0.5, 5: 1.0, 6: OPERATOR_WIDTH, 7: OPERATOR_WIDTH}
    for unit, slope in slopes.items():
        assert float(found[unit]) == pytest.approx(tempered(slope, left[unit]), rel=1e-6)


def test_where_trials_find_no_difference_groups_narrow_alike() -> None:
    """Loss and saving of equal steps in all groups: the share that is left decides, group by group.

    An operator goes between the units of a group that is narrowed below and above its width.
    """
    pools = torch.tensor([1] * 8 + [2] * 4 + [0])
    operators = pools == 0
    trials = Trials(
        pool_of_unit=pools,
        operators=operators,
        loss_without=lambda gone: 1.0 + 0.01 * float(gone.sum()),
        remaining=lambda gone: 1 - 0.01 * float(gone.sum()),
    )
    saliency = torch.arange(13, dtype=torch.float64)
    found = profiled(saliency, torch.zeros(13, dtype=torch.bool), trials)
    for most in found[found < 1e6].tolist():
        gone = found < most
        if gone[12]:
            continue
        assert abs(float(gone[:8].double().mean() - gone[8:12].double().mean())) <= 0.25 + 1e-9
    kept = float((found[:8] >= found[12]).double().mean())
    assert kept == pytest.approx(OPERATOR_WIDTH, abs=1 / 8)


def test_a_measured_slope_counts_beside_the_expected_one() -> None:
    assert tempered(4.0, 1.0) > tempered(2.0, 1.0)  # the same width: the measurement decides
    assert tempered(2.0, 0.25) > tempered(2.0, 0.5)  # the same measurement: the width decides
    assert tempered(100.0, 1.0) > tempered(1.0, 0.5)  # a large difference is not overruled


def test_groups_are_narrowed_least_salient_first_and_never_emptied() -> None:
    network = Network()
    profiled(SALIENCY, NOTHING, network.trials())
    assert network.tried == [[], [6], [7], [1], [1, 3], [1, 2, 3], [5]]
    assert len(network.tried) <= num_trials(POOLS, OPERATORS) == 9


def test_the_last_unit_of_a_group_goes_last() -> None:
    found = profiled(SALIENCY, NOTHING, Network().trials())
    assert float(found[[0, 4]].min()) > float(found[[1, 2, 3, 5, 6, 7]].max())


def test_units_beyond_the_last_trial_cost_more_than_those_before() -> None:
    pools, trials = torch.ones(20, dtype=torch.int64), Network().trials()
    trials = replace(
        trials,
        pool_of_unit=pools,
        operators=torch.zeros(20, dtype=torch.bool),
        loss_without=lambda gone: 1.0 + float(gone.sum()),
        remaining=lambda gone: 1 - 0.01 * float(gone.sum()),
    )
    found = profiled(torch.arange(20.0), torch.zeros(20, dtype=torch.bool), trials)
    assert torch.equal(found.argsort(), torch.arange(20))
    assert float(found[18]) < 1e6 < float(found[19])  # never tried, and never to go but for want


def test_what_is_removed_is_neither_tried_nor_counted() -> None:
    network = Network()
    removed = NOTHING.clone()
    removed[[1, 5, 6]] = True
    found = profiled(SALIENCY, removed, network.trials())
    assert network.tried == [[], [7], [3], [2, 3]]
    assert float(found[3]) == pytest.approx(tempered(0.1 / 0.05, 0.75), rel=1e-6)


def test_what_saves_nothing_is_not_tried_and_goes_last() -> None:
    """The first group died with a structure, the second operator is dead as well."""
    network = Network()
    trials = network.trials()
    dead = torch.tensor([True] * 4 + [False] * 3 + [True] * 2)
    trials = replace(trials, remaining=lambda gone: 1 - float((COSTS * (gone & ~dead)).sum()))
    found = profiled(SALIENCY, NOTHING, trials)
    assert network.tried == [[], [6], [5]]
    assert float(found[dead].min()) > float(found[[5, 6]].max())


def test_a_loss_that_is_no_number_is_the_worst() -> None:
    found = profiled(SALIENCY, NOTHING, Network(broken_at=6).trials())
    assert float(found[6]) > 1e6


def test_order_within_a_group_survives_equal_slopes() -> None:
    network = Network()
    network.loss_without = lambda gone: 1.0 + 0.1 * float(gone[:4].sum())  # type: ignore[method-assign]
    found = profiled(SALIENCY, NOTHING, network.trials())
    assert found[:4].argsort().tolist() == [1, 3, 2, 0]


def test_slopes_never_fall_and_a_flat_start_takes_the_mean() -> None:
    flat = slopes_of([(0, 0.0, 0.0), (1, 0.3, 0.1), (3, 0.4, 0.3)], least=0.0)
    assert flat == pytest.approx([0.4 / 0.3] * 3)
    falling = slopes_of([(0, 0.0, 0.0), (1, -0.2, 0.1), (2, 0.1, 0.2)], least=0.01)
    assert falling == pytest.approx([0.1, 1.0])


def test_short_runs_measure_on_few_samples_but_on_two_batches() -> None:
    assert samples_per_trial(256, batch_size=64, steps=10_000, trials=100) == 256
    assert samples_per_trial(256, batch_size=64, steps=1200, trials=100) == 192
    assert samples_per_trial(256, batch_size=64, steps=100, trials=100) == 128


def test_profiles_unasked_take_a_trial_per_two_steps_at_most() -> None:
    assert is_affordable(50, 100)
    assert not is_affordable(51, 100)


def test_the_search_sees_profiles() -> None:
    seen = []

    def choose(saliency: torch.Tensor, removed: torch.Tensor, fraction: float) -> torch.Tensor:
        seen.append((saliency, fraction))
        return removed

    assert with_profiles(choose, Network().trials())(SALIENCY, NOTHING, 0.5) is NOTHING
    assert seen[0][1] == 0.5
    assert torch.equal(seen[0][0], profiled(SALIENCY, NOTHING, Network().trials()))


def trials_of(*, batch_is_free: bool = True, **settings: object) -> tuple[str, int]:
    """What units are compared by, and samples per trial, in a run of 4 steps per epoch."""
    one = imported(batch_is_free=batch_is_free)
    train, set_up = data().train, config(**settings)
    probe = probe_of(train, one, set_up)
    batches = Batches(train, one.input_names, set_up.batch_size)
    found, probe = for_trials(set_up, probe, train, one, FakeBinding(one), batches)
    return found.comparison, probe.num_samples


def test_ablation_sees_no_more_samples_than_a_short_run_trains_on() -> None:
    settings = {"comparison": "relative", "probe_samples": 64, "epochs": 24}
    assert trials_of(**settings) == ("relative", 64)
    assert trials_of(**settings, periods=8) == ("relative", 32)
    one = trials_of(**settings, periods=8, operator_saliency="criterion")
    assert one == ("relative", 64)


def test_a_network_of_one_batch_size_is_tried_on_whole_batches() -> None:
    settings = {"probe_samples": 4, "comparison": "relative", "operator_saliency": "criterion"}
    assert trials_of(**settings) == ("relative", 4)
    assert trials_of(**settings, batch_is_free=False) == ("relative", 16)
