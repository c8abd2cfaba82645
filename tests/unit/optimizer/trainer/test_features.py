"""Features: which tensors, over which positions, in the whole network and in a cut one."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.testing import HARD_CASES, random_network
from optimizer.bridge.binding import Binding, bind
from optimizer.bridge.features import nodes_by_tensor, with_outputs
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.errors import InputError
from optimizer.h2spg.units import fill_zero
from optimizer.trainer import ArrayData, Arrays, Hooks, Stopped, train
from optimizer.trainer.features import MOST, Features
from optimizer.trainer.preparing import prepare
from tests.integration.golden import feeds_of, random_solution
from tests.unit.optimizer.bridge.folded_networks import removable
from tests.unit.optimizer.trainer.networks import FakeBinding, config, data, imported

CPU = torch.device("cpu")
_ROUNDED = ("qdq_", "qlinear_", "dynamic_ranges")  # in steps, or of integers that do not train
NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    **{name: build for name, build in HARD_CASES.items() if not name.startswith(_ROUNDED)},
    **{f"random {seed}": lambda seed=seed: random_network(seed) for seed in range(12)},
}


def parts(model: onnx.ModelProto) -> tuple[Analysis, ImportedModule, Binding]:
    analysis = analyze(load_model(model.SerializeToString()))
    one = import_model(analysis.maskable())
    return analysis, one, bind(analysis, one)


def features_of(one: ImportedModule, binding: Binding) -> Features:
    names = binding.feature_names(one.module, MOST)
    nothing = torch.zeros(binding.num_units, dtype=torch.bool)
    return Features(names, binding.feature_places, CPU, nothing)


def inputs_of(analysis: Analysis) -> list[torch.Tensor]:
    return [torch.from_numpy(x) for x in feeds_of(analysis.loaded.model, batch=3).values()]


@torch.no_grad()
def distance(features: Features, module: torch.fx.GraphModule, teacher, inputs) -> torch.Tensor:
    count = len(features.names)
    view = features.view(module.eval())
    found = view(*inputs)
    wanted = with_outputs(teacher, features.names)(*inputs)[-count:]
    extra = found[len(found) - len(features.compared) :]
    return features.distance(extra, wanted)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cut_network_is_compared_as_the_one_with_zeros_is(name: str) -> None:
    analysis, one, binding = parts(NETWORKS[name]())
    features, inputs = features_of(one, binding), inputs_of(analysis)
    if not features.names:
        pytest.skip("nothing on the way that could be compared")
    teacher = copy.deepcopy(one.module).eval()
    assert distance(features, one.module, teacher, inputs) == 0
    for seed in range(2):
        module = copy.deepcopy(one)
        solution = random_solution(analysis, seed)
        removed, layout = binding._of_solution(solution), bind(analysis, module).layout()
        with torch.no_grad():
            for tensor in module.module.parameters():
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.manual_seed(3)))
            fill_zero(layout.tensors, layout.positions(removed))
        features.follow(removed)
        whole = distance(features, module.module, teacher, inputs)
        remaining = set(features.compared)
        names = {tensor.name for tensor in analysis.loaded.flat.graph.initializer}
        weights = {key: array for key, array in module.weights().items() if key in names}
        small = import_model(shrink(analysis, solution, weights))
        features.follow(removed, removed)
        cut = distance(features, small.module, teacher, inputs)
        if set(features.compared) == remaining:
            assert torch.allclose(whole, cut, rtol=2e-4, atol=1e-6)
        assert set(features.compared) <= remaining


def test_features_are_what_the_file_computes_at_ends_of_segments() -> None:
    model = removable()
    analysis, one, binding = parts(model)
    names = binding.feature_names(one.module, MOST)
    assert names == ("b", "e", "h") or set(names) <= {"b", "e", "j", "h"}
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = inputs_of(analysis)
    wanted = session.run(list(names), {"x": inputs[0].numpy()})
    found = with_outputs(one.module.eval(), names)(*inputs)[1:]
    for own, other in zip(found, wanted, strict=True):
        assert np.allclose(own.detach().numpy(), other, atol=1e-5)


def test_as_many_as_said_and_spread_over_the_depth() -> None:
    _, one, binding = parts(random_network(3))
    everything = binding.feature_names(one.module, 1000)
    few = binding.feature_names(one.module, 2)
    assert len(everything) >= 2
    assert few == (everything[0], everything[-1])


def images(count: int, seed: int) -> Arrays:
    x = np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)
    return Arrays(inputs={"x": x})


def run(*, hooks: Hooks | None = None, checkpoints: Path | None = None, **settings: object):
    _, one, binding = parts(removable())
    result = train(
        one,
        data=ArrayData(train=images(64, 1), validation=images(32, 2)),
        binding=binding,
        config=config(**{"lr": 0.02, "feature_weight": 1.0, **settings}),
        hooks=hooks,
        checkpoints=checkpoints,
    )
    return one.weights(), result


@pytest.mark.parametrize("renormalise", ["auto", "off"])
def test_training_with_features_is_another_and_needs_no_labels(renormalise: str) -> None:
    plain, _ = run(feature_weight=0.0, renormalise=renormalise)
    found, result = run(renormalise=renormalise)
    assert result.solution.removed
    assert any(not np.array_equal(plain[name], found[name]) for name in plain)


@pytest.mark.parametrize("stop", [2, 7, 17])
def test_resuming_equals_never_having_stopped(tmp_path: Path, stop: int) -> None:
    whole, _ = run()
    asked = iter(range(10_000))
    with pytest.raises(Stopped):
        run(hooks=Hooks(should_stop=lambda: next(asked) == stop), checkpoints=tmp_path)
    torch.manual_seed(99)
    resumed, _ = run(checkpoints=tmp_path)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_the_first_step_of_a_network_sees_no_distance_to_itself() -> None:
    """With new normalisations too: what the file calls a tensor is then made behind them."""
    _, one, binding = parts(removable())
    chosen = config(feature_weight=5.0, loss="distillation")
    setting = prepare(one, ArrayData(train=images(64, 1)), binding, chosen)
    assert setting.renormalised is not None
    assert setting.features is not None
    view = setting.features.view(setting.module.eval())
    batch = setting.train.at(torch.arange(16))
    outputs, target = view(*batch.inputs), setting.teacher.watched(batch)
    assert len(outputs) == len(target) == 1 + len(setting.features.names)
    assert setting.features.distance(outputs[1:], target[1:]) < 1e-8
    assert setting.loss_at(0).item() > 1e-6  # in training form, with statistics of the batch


def test_a_view_has_the_same_weights_and_follows_the_graph() -> None:
    _, one, binding = parts(removable())
    features = features_of(one, binding)
    view = features.view(one.module)
    assert features.view(one.module) is view
    own = dict(one.module.named_parameters())
    assert all(own[name] is parameter for name, parameter in view.named_parameters())
    one.module.graph = copy.deepcopy(one.module.graph)
    assert features.view(one.module) is not view
    assert set(features.names) <= set(nodes_by_tensor(one.module))


class Nowhere(FakeBinding):
    def feature_names(self, module, most):
        return ()


def test_without_anything_to_compare_it_is_refused() -> None:
    one = imported()
    with pytest.raises(InputError, match="there are none; leave it out") as caught:
        prepare(one, data(), Nowhere(one), config(feature_weight=1.0))
    assert caught.value.param == "feature_weight"


def test_what_goes_is_compared_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    real = Features.follow

    def follow(self: Features, removed: torch.Tensor, cut: torch.Tensor | None = None) -> None:
        told.append(int(removed.sum()))
        real(self, removed, cut)

    monkeypatch.setattr(Features, "follow", follow)
    run()
    assert told[0] == 0
    assert told[-1] > told[1] >= 0
