"""H2SPG beside what else torch users have: scalers, schedulers, groups, compilers, saved states."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor

from optimizer.h2spg import H2SPG, PenaltySettings, Schedule
from optimizer.h2spg import state_keys as keys
from tests.unit.optimizer.h2spg.units_of import (
    choose_nothing,
    choosing,
    forward,
    layout,
    loss_of,
    network,
    run,
    same,
)

PLAN = Schedule.regular(warm_up=4, periods=2, period_steps=5, total=24)
STRONG = PenaltySettings(penalty=5.0, limit=1.0, epsilon=0.9995)  # units leave at once
STOPS = (2, 6, 11, 17)  # one inside each phase
PHASES = [str(PLAN.phase(stop)) for stop in STOPS]


def h2spg(layers: Any, choose: Any = choose_nothing, **settings: Any) -> H2SPG:
    settings = {"schedule": PLAN, "lr": 0.05, "momentum": 0.9, **settings}
    return H2SPG(layers.parameters(), layout(layers), choose=choose, **settings)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("stop", STOPS, ids=PHASES)
def test_a_step_that_a_grad_scaler_skips_leaves_no_trace(stop: int, bad: float) -> None:
    layers, reference = network(), network()
    optimizer, untouched = h2spg(layers, choosing(4, 1)), h2spg(reference, choosing(4, 1))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for step in range(stop):
        scaled_step(layers, optimizer, scaler, step)
    run(reference, untouched, range(stop))  # scaling by a power of 2 rounds nothing
    assert same(layers.state_dict(), reference.state_dict())
    before = copy.deepcopy((layers.state_dict(), optimizer.state_dict()["state"]))
    optimizer.zero_grad()
    scaler.scale(loss_of(layers, stop)).backward()
    layers["out"].weight.grad[0, 0] = bad
    scaler.step(optimizer)
    scaler.update()
    after = (layers.state_dict(), optimizer.state_dict()["state"])
    assert same(after[0], before[0])
    for entry, old in zip(after[1].values(), before[1].values(), strict=True):
        assert same(entry, old)
    assert optimizer.steps_done == stop
    assert scaler.get_scale() == 2.0
    for step in range(stop, 24):
        scaled_step(layers, optimizer, scaler, step)
    assert same(layers.state_dict(), run(reference, untouched, range(stop, 24)))


def scaled_step(layers: Any, optimizer: H2SPG, scaler: Any, step: int) -> None:
    optimizer.zero_grad()
    scaler.scale(loss_of(layers, step)).backward()
    scaler.step(optimizer)
    scaler.update()


def test_a_one_cycle_schedule_of_rate_and_momentum_is_followed() -> None:
    ours, theirs = network(), network()
    optimizer = h2spg(ours)
    plain = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, foreach=True)
    schedulers = [
        torch.optim.lr_scheduler.OneCycleLR(one, max_lr=0.2, total_steps=24)
        for one in (optimizer, plain)
    ]
    for step in range(24):
        run(ours, optimizer, range(step, step + 1))
        run(theirs, plain, range(step, step + 1))
        for scheduler in schedulers:
            scheduler.step()
    assert same(ours.state_dict(), theirs.state_dict())


def test_groups_of_the_users_own_with_units_a_part_without_and_frozen_parameters() -> None:
    ours, theirs = network(), network()

    def groups(layers: Any) -> list[dict[str, Any]]:
        layers["skip"].weight.requires_grad_(requires_grad=False)  # its grad stays None
        extra = torch.nn.Parameter(torch.ones(3))  # in no unit, and never in the loss
        outside = torch.nn.Parameter(torch.ones(2))
        layers.register_parameter("outside", outside)
        return [
            {"params": layers["hidden"].parameters(), "lr": 0.2, "weight_decay": 0.1},
            {"params": [*layers["out"].parameters(), layers["skip"].weight], "lr": 0.01},
            {"params": [layers.gain, extra], "momentum": 0.0},
            {"params": [outside], "nesterov": True},
        ]

    def train(layers: Any, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        for step in range(24):
            optimizer.zero_grad()
            (loss_of(layers, step) + layers.outside.square().sum()).backward()
            optimizer.step()
        return dict(layers.state_dict())

    settings = {"schedule": PLAN, "lr": 0.05, "momentum": 0.9}
    optimizer = H2SPG(groups(ours), layout(ours), choose=choose_nothing, **settings)  # type: ignore[arg-type]
    plain = torch.optim.SGD(groups(theirs), lr=0.05, momentum=0.9, foreach=True)
    assert same(train(ours, optimizer), train(theirs, plain))
    again = network()
    pruned = H2SPG(groups(again), layout(again), choose=choosing(4, 1), **settings)  # type: ignore[arg-type]
    train(again, pruned)
    assert not again["skip"].weight.any()  # frozen, and still shrunk with its unit
    assert not again["hidden"].weight[1].any()


def test_directions_of_groups_with_different_rates_are_measured_right() -> None:
    seen: list[Tensor] = []

    def watch(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        seen.append(saliency)
        return removed

    layers = network(torch.float64)
    groups = [
        {"params": [layers["hidden"].weight, layers["hidden"].bias], "lr": 0.3},
        {"params": [layers["out"].weight, layers["skip"].weight, layers.gain], "lr": 0.01},
    ]
    optimizer = H2SPG(
        groups, layout(layers), schedule=Schedule((1, 9), 9), choose=watch, saliency="cosine"
    )
    start = copy.deepcopy(layers)
    run(layers, optimizer, range(2))
    loss_of(start, 0).backward()
    expected = []
    for unit in range(4):
        hidden, out = start["hidden"], start["out"]
        parts = [
            (hidden.weight[unit], hidden.weight.grad[unit]),
            (hidden.bias[unit : unit + 1], hidden.bias.grad[unit : unit + 1]),
            (out.weight[:, unit], out.weight.grad[:, unit]),
        ]
        x, g = (torch.cat([part[side] for part in parts]) for side in (0, 1))
        expected.append(1 - torch.cosine_similarity(x, g, dim=0))
    relative = torch.stack(expected) / torch.stack(expected).mean()
    assert seen[0][:4].tolist() == pytest.approx(relative.tolist())


def test_a_group_added_later_is_trained() -> None:
    ours, theirs = network(), network()
    optimizer = H2SPG(
        ours["hidden"].parameters(), layout(ours), schedule=PLAN, choose=choose_nothing, lr=0.05
    )
    plain = torch.optim.SGD(theirs["hidden"].parameters(), lr=0.05, foreach=True)
    for layers, one in ((ours, optimizer), (theirs, plain)):
        run(layers, one, range(3))
        one.add_param_group({"params": layers["out"].parameters(), "lr": 0.2})
        run(layers, one, range(3, 24))
    assert same(ours.state_dict(), theirs.state_dict())
    assert not torch.equal(ours["out"].weight, network()["out"].weight)


def test_a_compiled_module_trains_and_loses_its_units() -> None:
    plain, layers = network(), network()
    run(plain, h2spg(plain, choosing(4, 1)), range(24))
    optimizer = h2spg(layers, choosing(4, 1))
    compiled = torch.compile(lambda x: forward(layers, x), backend="eager")
    for step in range(24):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 3, generator=generator, dtype=torch.float64).float()
        y = torch.randn(8, 2, generator=generator, dtype=torch.float64).float()
        optimizer.zero_grad()
        (compiled(x) - y).square().mean().backward()
        optimizer.step()
    assert same(plain.state_dict(), layers.state_dict())
    assert optimizer.zero.tolist() == [False, True, False, False, True]


@pytest.mark.parametrize("stop", STOPS, ids=PHASES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"variant": "adamw"},
        {"saliency": "magnitude+taylor", "measure_every": 3},
        {"mode": "paper", "saliency": "paper", "averaging": 0.9},
        {"mode": "paper", "saliency": "cosine", "penalty": STRONG},
        {"mode": "paper", "variant": "adam", "saliency": "hesso", "penalty": STRONG},
    ],
    ids=["sgd", "adamw", "mixture", "paper", "paper-zeroing", "paper-adam"],
)
def test_a_state_that_went_through_a_file_goes_on_bitwise(
    settings: dict[str, Any], stop: int
) -> None:
    whole, stopped, resumed = network(), network(), network(seed=1)
    run(whole, h2spg(whole, choose_least, **settings), range(24))
    optimizer = h2spg(stopped, choose_least, **settings)
    run(stopped, optimizer, range(stop))
    file = io.BytesIO()
    # torch's own format is what users of the bare optimizer write; the package itself does not.
    torch.save((stopped.state_dict(), optimizer.state_dict()), file)  # noqa: TID251
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)  # noqa: TID251
    resumed.load_state_dict(weights)
    again = h2spg(resumed, choose_least, **settings)
    again.load_state_dict(state)
    assert same(run(resumed, again, range(stop, 24)), whole.state_dict())
    assert again.redundant.sum() == 2
    if settings.get("penalty") is STRONG:
        assert again.zero.sum() == 2


def choose_least(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
    """One unit more at each decision: the least salient, so that every digit counts."""
    chosen = removed.clone()
    chosen[saliency.masked_fill(removed, float("inf")).argmin()] = True
    return chosen


@pytest.mark.parametrize("stop", STOPS, ids=PHASES)
def test_a_copy_in_each_phase_goes_on_alone(stop: int) -> None:
    layers = network()
    optimizer = h2spg(layers, choosing(0, 3), saliency="cosine")
    run(layers, optimizer, range(stop))
    twin_layers, twin = copy.deepcopy((layers, optimizer))
    assert same(run(layers, optimizer, range(stop, 24)), run(twin_layers, twin, range(stop, 24)))


def test_the_state_of_the_plain_optimizer_is_named_as_torch_names_it() -> None:
    layers = network()
    optimizer = h2spg(layers, variant="adam")
    run(layers, optimizer, range(2))
    plain = torch.optim.Adam(layers.parameters())
    run(layers, plain, range(2))
    ours = optimizer.state_dict()["state"]
    assert {tuple(entry) for key, entry in ours.items() if key != keys.UNITS} == {
        tuple(entry) for entry in plain.state_dict()["state"].values()
    }


def test_a_zeroed_unit_swallows_gradients_that_are_no_numbers() -> None:
    layers = network()
    optimizer = h2spg(layers, choosing(4, 1))
    run(layers, optimizer, range(16))
    optimizer.zero_grad()
    loss_of(layers, 16).backward()
    layers["skip"].weight.grad.fill_(float("nan"))
    layers.gain.grad.fill_(float("inf"))
    optimizer.step()
    assert not layers["skip"].weight.any()
    assert all(torch.isfinite(tensor).all() for tensor in layers.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("mode", ["schedule", "paper"])
def test_weights_that_lie_otherwise_in_memory_are_treated_alike(
    dtype: torch.dtype, mode: str
) -> None:
    plain, other = network(dtype), network(dtype)
    other["out"].weight.data = other["out"].weight.data.t().contiguous().t()
    assert not other["out"].weight.is_contiguous()
    settings = {"mode": mode, "saliency": "paper"}
    run(plain, h2spg(plain, choosing(4, 1), **settings), range(24))
    optimizer = h2spg(other, choosing(4, 1), **settings)
    run(other, optimizer, range(24))
    assert optimizer.redundant.tolist() == [False, True, False, False, True]
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(
            other.state_dict()[name], tensor, rtol=0.02 if dtype is torch.bfloat16 else 1e-9
        )
