"""Runs with and without cutting out what is zero: the same numbers, in the shapes of the file."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from exporters.training_form import TrainingForm, training_form
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.trainer import ArrayData, Arrays, Hooks, Stopped, TrainEvent, TrainResult, train
from optimizer.trainer.setting import Setting
from tests.unit.optimizer.bridge.folded_networks import removable
from tests.unit.optimizer.trainer.networks import config

STEPS = 24
ROUNDING = 64 * STEPS * float(np.finfo(np.float32).eps)  # per step some operations in a row


def residual_normalised() -> onnx.ModelProto:
    """conv, norm, two residual branches with norms: channels, structures, running statistics."""
    graph = GraphBuilder("residual_normalised", seed=7)
    y = graph.relu(graph.conv_norm(graph.input((BATCH, 3, 8, 8)), 3, 8))
    for _ in range(2):
        branch = graph.conv_norm(graph.relu(graph.conv_norm(y, 8, 12)), 12, 8)
        y = graph.relu(graph.node("Add", y, branch))
    graph.classify(y, 8)
    return graph.build()


def dropping() -> onnx.ModelProto:
    """conv, norm, Dropout, linear."""
    graph = GraphBuilder("dropping", seed=8)
    y = graph.relu(graph.conv_norm(graph.input((BATCH, 3, 8, 8)), 3, 16))
    y = graph.relu(graph.conv_norm(graph.node("Dropout", y, graph.constant(0.3)), 16, 16))
    graph.classify(y, 16)
    return graph.build()


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "residual_normalised": residual_normalised,
    "folded": removable,
    "dropping": dropping,
    **{
        name: HARD_CASES[name]
        for name in (
            "layernorm_mlp",
            "separate_qkv_heads",
            "linear_on_4d_channels_last",
            "pyramid_pooling",
            "dense_block",
            "groupnorm_operator",
            "if_conv_chains",
        )
    },
}


class Run:
    """A finished run and what could be seen of it."""

    def __init__(
        self,
        name: str,
        *,
        hooks: Hooks | None = None,
        checkpoints: Path | None = None,
        cutter: Callable[..., TrainingForm] | None = None,
        kinds: frozenset[GroupKind] | None = None,
        **settings: Any,
    ) -> None:
        self.analysis: Analysis = analyze(load_model(NETWORKS[name]().SerializeToString()))
        self.imported = import_model(self.analysis.maskable())
        self.events: list[TrainEvent] = []
        self.losses: list[float] = []
        shape = [int(size) for size in self.analysis.graph.shapes.shape["x"][1:]]
        self.result: TrainResult[Solution] = train(
            self.imported,
            data=ArrayData(train=samples(shape, 64, 1), validation=samples(shape, 32, 2)),
            binding=bind(self.analysis, self.imported),
            config=config(**{"lr": 0.01, "loss": "distillation", **settings}),
            hooks=replace(
                hooks or Hooks(),
                event=self.events.append,
                progress=lambda progress: self.losses.append(progress.loss),
            ),
            checkpoints=checkpoints,
            cutter=cutter or partial(training_form, self.analysis),
        )
        self.weights = self.imported.weights()

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events]

    def is_bitwise(self, other: "Run") -> bool:
        same = all(np.array_equal(self.weights[name], other.weights[name]) for name in self.weights)
        return same and replace(self.result, seconds=0.0) == replace(other.result, seconds=0.0)


def samples(shape: list[int], count: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return Arrays(inputs={"x": rng.standard_normal((count, *shape)).astype(np.float32)})


WITH_ADAM = ("residual_normalised", "folded", "layernorm_mlp", "pyramid_pooling")
CASES = [
    *((name, {"optimizer": "sgd"}) for name in NETWORKS if name != "dropping"),
    # elsewhere are biases in front of a normalisation: their gradients are rounding, and Adam
    # takes a full step along it
    *((name, {"optimizer": "adam", "lr": 1e-3}) for name in WITH_ADAM),
    ("residual_normalised", {"saliency": "taylor", "operator_saliency": "criterion"}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_nothing_changes_but_the_time_a_step_takes(name: str, settings: dict[str, Any]) -> None:
    cut = Run(name, **settings)
    whole = Run(name, **settings, cut_during_training=False)
    assert [code for code in cut.codes if code != "renormalised"] == ["cut", "cut"]
    assert "cut" not in whole.codes
    assert cut.result.solution == whole.result.solution
    assert np.allclose(cut.losses, whole.losses, rtol=ROUNDING, atol=ROUNDING * max(whole.losses))
    left = positions_left(cut.analysis, cut.result.solution)
    assert left
    for weight, places in left.items():
        expected, found = whole.weights[weight], cut.weights[weight]
        assert expected.shape == found.shape
        gap = np.abs(expected - found)[places]
        assert gap.max(initial=0) <= ROUNDING * np.abs(expected).max(initial=1e-3), weight


def positions_left(analysis: Analysis, solution: Solution) -> dict[str, Any]:
    """Weight of the cut file -> its positions in that of the whole one; what was at others when
    they were cut out is nobody's business.
    """
    keep = analysis.effects(solution).keep
    form = training_form(analysis, solution, decided=True)
    return {
        tensor.name: np.ix_(
            *(
                keep.get(tensor.name, {}).get(axis, np.arange(length))
                for axis, length in enumerate(tensor.dims)
            )
        )
        for tensor in form.model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and tensor.name in {one.name for one in analysis.loaded.flat.graph.initializer}
    }


def test_removed_positions_are_zero_in_the_shapes_of_the_file() -> None:
    run = Run("residual_normalised")
    for key, units in run.result.solution.removed.items():
        for slices in run.analysis.space.group_by_id[key].zero:
            for unit in units:
                array = run.weights[slices.initializer]
                assert not array.take(slices.unit_indices[unit], slices.axis).any()
    names = {
        tensor.name: list(tensor.dims) for tensor in run.analysis.loaded.flat.graph.initializer
    }
    assert all(list(array.shape) == names[name] for name, array in run.weights.items())


def test_what_was_gained_is_an_event_and_in_the_history() -> None:
    run = Run("groupnorm_operator")
    events = [event for event in run.events if event.code == "cut"]
    told = [entry["cut"] for entry in run.result.history if "cut" in entry]
    assert told == [event.data for event in events]
    first, second = told
    assert (first["step"], second["step"]) == (9, 14)
    assert first["macs_before"] == 1.0
    assert first["macs_before"] > first["macs_after"] == second["macs_before"]
    assert second["macs_before"] > second["macs_after"]
    assert second["parameters_after"] == sum(
        np.prod([len(index.ravel()) for index in places]) if places else 1
        for name, places in positions_left(run.analysis, run.result.solution).items()
        if name in run.imported.tensors
        and isinstance(run.imported.tensors[name], torch.nn.Parameter)
    )


@pytest.mark.parametrize("name", ["residual_normalised", "folded", "layernorm_mlp"])
@pytest.mark.parametrize("stop", [3, 8, 9, 11, 14, 19])
def test_resuming_equals_never_having_stopped(tmp_path: Path, name: str, stop: int) -> None:
    """Before, at and after both cuts (steps 9 and 14)."""
    expected = Run(name)
    asked = iter(range(1000))
    with pytest.raises(Stopped):
        Run(name, hooks=Hooks(should_stop=lambda: next(asked) == stop), checkpoints=tmp_path)
    torch.manual_seed(99)
    resumed = Run(name, checkpoints=tmp_path)
    assert "cutting-skipped" not in resumed.codes
    assert resumed.is_bitwise(expected)


def test_a_resume_that_forgets_the_cut_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, asked = Run("residual_normalised"), iter(range(1000))
    with pytest.raises(Stopped):
        hooks = Hooks(should_stop=lambda: next(asked) == 15)
        Run("residual_normalised", hooks=hooks, checkpoints=tmp_path)
    monkeypatch.setattr("optimizer.trainer.cutting.CUT", "forgotten")
    assert not Run("residual_normalised", checkpoints=tmp_path).is_bitwise(expected)


@pytest.mark.parametrize("at", [10, 12, 15])
def test_a_loss_that_is_not_finite_goes_back_over_a_cut(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last checkpoint is of step 8 or 12: with 10 and 15 a cut lies between."""
    failing = iter([True])
    losses_at = Setting.losses_at

    def once_not_finite(self: Setting, step: int, *, parts: int) -> Iterator[torch.Tensor]:
        for loss in losses_at(self, step, parts=parts):
            yield loss * float("nan") if step == at and next(failing, False) else loss

    monkeypatch.setattr(Setting, "losses_at", once_not_finite)
    cut = Run("residual_normalised")
    failing = iter([True])
    whole = Run("residual_normalised", cut_during_training=False)
    assert cut.result.restarts == whole.result.restarts == 1
    assert cut.result.solution == whole.result.solution
    assert np.allclose(cut.losses, whole.losses, rtol=ROUNDING, atol=ROUNDING * max(whole.losses))


class Broken:
    """A surgeon that fails, or cuts the wrong things, from its ``first`` call on."""

    def __init__(self, analysis: Analysis, how: str, first: int) -> None:
        self.analysis, self.how, self.first, self.calls = analysis, how, first, 0

    def __call__(self, solution: Solution, *, decided: bool) -> TrainingForm:
        self.calls += 1
        form = training_form(self.analysis, solution, decided=decided)
        if self.calls < self.first:
            return form
        if self.how == "raises":
            message = "no hands"
            raise ValueError(message)
        if self.how == "shapes":
            return replace(form, kept={})
        kept = {
            name: {
                axis: np.sort(self.analysis.graph.shapes.shape[name][axis] - 1 - index)
                for axis, index in axes.items()
            }
            for name, axes in form.kept.items()
        }
        return replace(form, kept=kept)


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("raises", "residual_normalised"),
        ("shapes", "residual_normalised"),
        ("positions", "residual_normalised"),  # told by the running statistics
        ("positions", "folded"),  # told by the outputs
    ],
)
def test_a_cut_that_goes_wrong_is_undone_and_said(how: str, name: str, first: int) -> None:
    analysis = analyze(load_model(NETWORKS[name]().SerializeToString()))
    whole = Run(name, cut_during_training=False, renormalise="off")
    run = Run(name, cutter=Broken(analysis, how, first), renormalise="off")
    assert run.codes[: first - 1] == ["cut"] * (first - 1)
    assert run.codes[first - 1 :] == ["cutting-skipped"] * (3 - first)  # once for each arrival
    if first == 1:
        gaps = (np.abs(run.weights[key] - whole.weights[key]).max() for key in whole.weights)
        assert max(gaps) <= ROUNDING
    assert run.result.solution == whole.result.solution
    assert np.allclose(run.losses, whole.losses, rtol=ROUNDING, atol=ROUNDING * max(whole.losses))


def test_what_draws_at_random_is_compared_without_chance() -> None:
    """Dropout: another width draws other numbers, so that only inference can be compared."""
    run = Run("dropping")
    assert run.codes == ["cut", "cut"]
