"""The shared suite of H2SPG: degeneracy, arrival, resume, dtype, closures, groups, schedulers."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from optimizer.h2spg import CRITERIA, H2SPG, PenaltySettings, Phase, Schedule, UnitLayout
from optimizer.h2spg import state_keys as keys
from tests.unit.optimizer.h2spg.units_of import (
    NUM_UNITS,
    choose_nothing,
    choosing,
    layout,
    loss_of,
    network,
    run,
    same,
)

PLAN = Schedule.regular(warm_up=4, periods=2, period_steps=5, total=24)
ARRIVAL = PLAN.arrival
VARIANTS: list[tuple[str, dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = [
    ("sgd", {}, torch.optim.SGD, {}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.01}, torch.optim.SGD, {}),
    ("sgd", {"momentum": 0.9, "dampening": 0.3}, torch.optim.SGD, {}),
    ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, torch.optim.SGD, {}),
    ("adam", {"weight_decay": 0.1, "betas": (0.8, 0.99)}, torch.optim.Adam, {}),
    ("adamw", {"weight_decay": 0.1, "eps": 1e-6}, torch.optim.AdamW, {}),
]
NAMES = ["sgd", "momentum", "dampening", "nesterov", "adam", "adamw"]
WITH_STATE = [("sgd", {"momentum": 0.9, "nesterov": True}), ("adam", {}), ("adamw", {})]


def h2spg(layers: Any, choose: Any = choose_nothing, **settings: Any) -> H2SPG:
    settings = {"schedule": PLAN, "lr": 0.05, **settings}
    return H2SPG(layers.parameters(), layout(layers), choose=choose, **settings)


@pytest.mark.parametrize("saliency", CRITERIA)
@pytest.mark.parametrize("mode", ["schedule", "paper"])
@pytest.mark.parametrize("variant, settings, plain, _", VARIANTS, ids=NAMES)
def test_with_nothing_redundant_it_is_the_plain_optimizer_bitwise(
    variant: str,
    settings: dict[str, Any],
    plain: type[torch.optim.Optimizer],
    _: Any,
    mode: str,
    saliency: str,
) -> None:
    ours, theirs = network(), network()
    optimizer = h2spg(ours, variant=variant, mode=mode, saliency=saliency, **settings)
    reference = plain(theirs.parameters(), lr=0.05, foreach=True, **settings)  # type: ignore[call-arg]
    assert same(run(ours, optimizer, range(24)), run(theirs, reference, range(24)))
    assert not same(ours.state_dict(), network().state_dict())


def units_of(layers: Any, unit: int) -> list[Tensor]:
    if unit == NUM_UNITS - 1:
        return [layers["skip"].weight, layers.gain]
    hidden, out = layers["hidden"], layers["out"]
    return [hidden.weight[unit], hidden.bias[unit], out.weight[:, unit]]


def is_zero(layers: Any, unit: int) -> bool:
    return all(not tensor.any() for tensor in units_of(layers, unit))


@pytest.mark.parametrize("variant, settings", WITH_STATE)
def test_chosen_units_are_exactly_zero_by_the_known_step_and_stay_so(
    variant: str, settings: dict[str, Any]
) -> None:
    layers = network()
    optimizer = h2spg(layers, choosing(4, 1), variant=variant, weight_decay=0.01, **settings)
    run(layers, optimizer, range(4))
    assert not optimizer.redundant.any()
    run(layers, optimizer, range(4, 8))
    assert optimizer.redundant.tolist() == [False] * 4 + [True]
    assert not is_zero(layers, 4)
    run(layers, optimizer, range(8, 9))
    assert is_zero(layers, 4)
    assert not is_zero(layers, 1)
    run(layers, optimizer, range(9, 14))
    for step in range(ARRIVAL, 24):
        assert is_zero(layers, 4)
        assert is_zero(layers, 1)
        run(layers, optimizer, range(step, step + 1))
    assert optimizer.zero.tolist() == [False, True, False, False, True]
    assert not any(is_zero(layers, unit) for unit in (0, 2, 3))
    for key in keys.SHRINK_WITH_UNITS:
        momentum = optimizer.state[layers["skip"].weight].get(key)
        assert momentum is None or not momentum.any()


def test_shrinking_is_linear_without_gradients() -> None:
    layers = network()
    optimizer = h2spg(layers, choosing(2), lr=0.0)
    start = layers["hidden"].weight[2].detach().clone()
    plan = Schedule.regular(warm_up=1, periods=1, period_steps=4, total=6)
    optimizer.schedule = plan
    shares = []
    for step in range(5):
        run(layers, optimizer, range(step, step + 1))
        shares.append(float(layers["hidden"].weight[2].detach().norm() / start.norm()))
    assert shares == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_the_phase_and_the_step_are_told() -> None:
    layers = network()
    optimizer = h2spg(layers)
    assert (optimizer.phase, optimizer.steps_done) == (Phase.WARM_UP, 0)
    run(layers, optimizer, range(14))
    assert (optimizer.phase, optimizer.steps_done) == (Phase.CONVERGED, 14)


@pytest.mark.parametrize("stop", [2, 6, 11, 17], ids=[str(PLAN.phase(s)) for s in (2, 6, 11, 17)])
@pytest.mark.parametrize("mode", ["schedule", "paper"])
@pytest.mark.parametrize("variant, settings", WITH_STATE)
def test_resuming_is_bitwise_in_every_phase(
    variant: str, settings: dict[str, Any], mode: str, stop: int
) -> None:
    settings = {**settings, "variant": variant, "mode": mode, "weight_decay": 0.01}
    whole = network()
    run(whole, h2spg(whole, choosing(4, 1), **settings), range(24))

    stopped = network()
    optimizer = h2spg(stopped, choosing(4, 1), **settings)
    run(stopped, optimizer, range(stop))
    weights, state = copy.deepcopy((stopped.state_dict(), optimizer.state_dict()))
    run(stopped, optimizer, range(stop, stop + 2))  # must not reach into what was saved

    resumed = network(seed=1)
    resumed.load_state_dict(weights)
    other = Schedule.regular(warm_up=1, periods=1, period_steps=2, total=3)
    again = h2spg(resumed, choosing(4, 1), **{**settings, "schedule": other})
    again.load_state_dict(state)
    assert same(run(resumed, again, range(stop, 24)), whole.state_dict())


@pytest.mark.parametrize("lost", ["momentum", "saliency", "zero", "steps"])
def test_every_part_of_the_state_is_needed(lost: str) -> None:
    def choose_least(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        chosen = removed.clone()
        chosen[saliency.masked_fill(removed, 9.0).argmin()] = True
        return chosen

    whole = network()
    run(whole, h2spg(whole, choose_least, momentum=0.9), range(24))
    stopped = network()
    stop = 3 if lost == "saliency" else 11
    optimizer = h2spg(stopped, choose_least, momentum=0.9)
    run(stopped, optimizer, range(stop))
    state = copy.deepcopy(optimizer.state_dict())
    units = state["state"][keys.UNITS]
    if lost == "momentum":
        state["state"] = {keys.UNITS: units}
    elif lost == "saliency":
        units[keys.SALIENCY] = 10 / units[keys.SALIENCY]
    elif lost == "zero":
        units[keys.ZERO].zero_()
        units[keys.REDUNDANT].zero_()
    else:
        units[keys.STEPS_DONE].zero_()
    again = h2spg(stopped, choose_least, momentum=0.9)
    again.load_state_dict(state)
    assert not same(run(stopped, again, range(stop, 24)), whole.state_dict())


def test_a_deep_copy_goes_on_alone() -> None:
    layers = network()
    optimizer = h2spg(layers, choosing(0, 3), momentum=0.9)
    run(layers, optimizer, range(7))
    twin_layers, twin = copy.deepcopy((layers, optimizer))
    assert twin.units.tensors[0] is twin_layers["hidden"].weight
    assert same(run(layers, optimizer, range(7, 24)), run(twin_layers, twin, range(7, 24)))
    assert is_zero(twin_layers, 3)


def test_a_state_of_other_units_is_refused() -> None:
    layers = network()
    optimizer = h2spg(layers)
    plain = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="not that of H2SPG over 5 units"):
        optimizer.load_state_dict(plain.state_dict())
    fewer = copy.deepcopy(optimizer.state_dict())
    fewer["state"][keys.UNITS][keys.REDUNDANT] = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="5 units"):
        optimizer.load_state_dict(fewer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    layers = network(dtype)
    optimizer = h2spg(layers, choosing(0, 4), momentum=0.9)
    state = run(layers, optimizer, range(24))
    assert {tensor.dtype for tensor in state.values()} == {dtype}
    assert optimizer.state[layers["out"].weight][keys.MOMENTUM_BUFFER].dtype == dtype
    assert is_zero(layers, 0)


def test_a_closures_loss_is_returned() -> None:
    layers = network()
    optimizer = h2spg(layers)

    def closure() -> float:
        optimizer.zero_grad()
        loss = loss_of(layers, 0)
        loss.backward()
        return float(loss.detach())

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first
    assert optimizer.step() is None


def test_no_units_and_an_empty_param_group() -> None:
    ours, theirs = network(), network()
    nothing = UnitLayout([], num_units=0, pool_of_unit=torch.zeros(0))
    groups = [{"params": list(ours.parameters())}, {"params": []}]
    optimizer = H2SPG(groups, nothing, schedule=PLAN, choose=choose_nothing, lr=0.1)
    assert same(
        run(ours, optimizer, range(24)),
        run(theirs, torch.optim.SGD(theirs.parameters(), lr=0.1), range(24)),
    )


def test_param_groups_of_the_users_own_and_a_scheduler() -> None:
    ours, theirs = network(), network()

    def groups(layers: Any) -> list[dict[str, Any]]:
        return [
            {"params": layers["hidden"].parameters(), "lr": 0.2},
            {"params": [*layers["out"].parameters(), layers["skip"].weight], "weight_decay": 0.1},
        ]  # the gain is in no group: not trained

    optimizer = H2SPG(
        groups(ours), layout(ours), schedule=PLAN, choose=choose_nothing, lr=0.1, momentum=0.5
    )
    plain = torch.optim.SGD(groups(theirs), lr=0.1, momentum=0.5, foreach=True)
    for step in range(20):
        for layers, one in ((ours, optimizer), (theirs, plain)):
            scheduler = torch.optim.lr_scheduler.StepLR(one, step_size=1, gamma=0.9)
            run(layers, one, range(step, step + 1))
            scheduler.step()
    assert same(ours.state_dict(), theirs.state_dict())


def test_tensors_that_are_not_trained_shrink_with_their_unit() -> None:
    layers = network()
    trained = [p for name, p in layers.named_parameters() if name != "gain"]
    optimizer = H2SPG(trained, layout(layers), schedule=PLAN, choose=choosing(0, 4), lr=0.1)
    run(layers, optimizer, range(24))
    assert layers.gain.item() == 0


def test_the_search_sees_averaged_relative_saliency_on_the_cpu() -> None:
    seen: list[tuple[Tensor, Tensor, float]] = []

    def watch(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        seen.append((saliency.clone(), removed.clone(), fraction))
        return removed | (torch.arange(NUM_UNITS) == 0)

    layers = network()
    norms = []
    optimizer = h2spg(layers, watch, lr=0.1)
    for step in range(4):
        squares = [
            torch.stack([t.square().sum() for t in units_of(layers, u)]).sum() for u in range(4)
        ]
        norms.append(torch.stack(squares).detach().double().div(3 + 1 + 2).sqrt())
        run(layers, optimizer, range(step, step + 1))
    run(layers, optimizer, range(4, 24))
    mean = torch.stack(norms).mean(dim=0)
    saliency, removed, fraction = seen[0]
    assert saliency.dtype == torch.float64
    assert torch.allclose(saliency[:4], mean / mean.mean())
    assert saliency[4] == 1  # alone in its pool
    assert (len(seen), fraction, removed.any().item()) == (2, 0.5, False)
    assert (seen[1][2], seen[1][1].tolist()) == (1.0, [True] + [False] * 4)


def test_the_running_average_of_the_paper() -> None:
    seen: list[Tensor] = []

    def watch(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        seen.append(saliency)
        return removed

    layers = network()
    optimizer = h2spg(layers, watch, lr=0.0, saliency="paper", averaging=0.5)
    run(layers, optimizer, range(5))
    once = network()
    first = h2spg(once, watch, lr=0.0, saliency="paper", schedule=Schedule((1, 9), 9))
    run(once, first, range(2))
    inverse_only = seen[1]  # lr 0: the direction is 0, so its cosine says nothing
    assert torch.allclose(seen[0], inverse_only * (1 - 0.5**4))


def test_units_cannot_come_back() -> None:
    def waver(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
        return torch.arange(NUM_UNITS) == (0 if fraction < 1 else 1)

    layers = network()
    with pytest.raises(ValueError, match="took back"):
        run(layers, h2spg(layers, waver), range(24))


def paper_step_by_hand(layers: Any, before: Mapping[str, Tensor], unit: int) -> list[Tensor]:
    """One penalised SGD step of one unit, from the formulas, in plain vectors."""
    lr, settings = 0.1, PenaltySettings(penalty=0.2, amplify=2, limit=10, epsilon=0.9)
    x = torch.cat([t.flatten() for t in units_of(layers, unit)])
    d = torch.cat([t.flatten() for t in _grads_of(layers, unit)])
    norm, p = x.norm(), x @ d
    if p >= 0:
        factor = torch.tensor(settings.penalty)
    else:
        low, high = -p / norm, -(d @ d) * norm / p
        factor = (settings.amplify * low).clamp(0.2, 0.2 * settings.limit)
        factor = (low + high) / 2 if factor >= high else factor
    trial = x - lr * d - lr * factor * x / (norm + 1e-8)
    return [trial, trial @ x < settings.epsilon * norm**2]


def _grads_of(layers: Any, unit: int) -> list[Tensor]:
    hidden, out = layers["hidden"], layers["out"]
    if unit == NUM_UNITS - 1:
        return [layers["skip"].weight.grad, layers.gain.grad]
    return [hidden.weight.grad[unit], hidden.bias.grad[unit], out.weight.grad[:, unit]]


@pytest.mark.parametrize("unit", [0, 1, 2, 3, 4])
def test_the_papers_step_equals_the_formulas(unit: int) -> None:
    layers = network(torch.float64)
    penalty = PenaltySettings(penalty=0.2, amplify=2, limit=10, epsilon=0.9)
    optimizer = h2spg(
        layers, choosing(unit), schedule=Schedule((1, 9), 9), lr=0.1, mode="paper", penalty=penalty
    )
    run(layers, optimizer, range(1))
    optimizer.zero_grad()
    loss_of(layers, 1).backward()
    trial, leaves = paper_step_by_hand(layers, layers.state_dict(), unit)
    optimizer.step()
    now = torch.cat([t.flatten() for t in units_of(layers, unit)])
    assert torch.allclose(now, torch.zeros_like(trial) if leaves else trial, atol=1e-12)
    assert bool(optimizer.zero[unit]) == bool(leaves)


def test_the_papers_units_may_never_arrive_but_zero_stays_zero() -> None:
    layers = network()
    published = h2spg(layers, choosing(0, 4), mode="paper", momentum=0.9)
    run(layers, published, range(24))
    assert published.redundant[4]
    assert not is_zero(layers, 4)  # lambda 1e-3 moves nothing in 24 steps
    strong = network()
    penalty = PenaltySettings(penalty=5.0, limit=1.0, epsilon=0.9995)
    optimizer = h2spg(
        strong, choosing(0, 4), mode="paper", momentum=0.9, penalty=penalty, projection_start=12
    )
    run(strong, optimizer, range(12))
    assert not optimizer.zero.any()
    run(strong, optimizer, range(12, 24))
    assert optimizer.zero.tolist() == [True] + [False] * 3 + [True]
    assert is_zero(strong, 0)
    assert is_zero(strong, 4)
    assert not optimizer.state[strong["skip"].weight][keys.MOMENTUM_BUFFER].any()


def test_settings_out_of_range_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"variant in .*lr >= 0, .*eps > 0"):
        h2spg(network(), variant="lion", lr=-1, eps=0)
    with pytest.raises(ValueError, match="nesterov needs momentum"):
        h2spg(network(), nesterov=True)
