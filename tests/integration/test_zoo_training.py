"""H2SPG on the papers' networks from random weights: every removal arrives, and the file is it."""

from functools import cache

import numpy as np
import pytest
import torch

from benchmarks.zoo.catalogue import NETWORKS
from benchmarks.zoo.checking import REMOVALS, largest_difference_of
from benchmarks.zoo.exporting import exported
from exporters.masked import mask
from exporters.sessions import OFF, open_session, run
from exporters.surgeon import shrink
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.search_space import GroupKind
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.config import TrainConfig
from optimizer.trainer import ArrayData, Arrays, train

RELATIVE = 1e-5
CASES = [
    *((name, removal) for name in ("stacked_unets", "demo_supnet") for removal in REMOVALS),
    *((name, 0.5) for name in ("demo_net", "demo_net_2", "super_resnet", "regnet_y")),
]


@cache
def analysis_of(name: str) -> Analysis:
    network = NETWORKS[name]
    model = exported(network.build(is_small=True), network.small_image)
    return analyze(load_model(model.SerializeToString()))


def samples(image: tuple[int, int, int]) -> Arrays:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(48, *image)).astype(np.float32)
    return Arrays(inputs={"": images}, labels=rng.integers(0, 10, 48))


def settings(removal: float, seed: int) -> TrainConfig:
    return TrainConfig(
        target_ratio=1 - removal,
        epochs=6,
        batch_size=12,
        loss="cross-entropy",
        probe_samples=12,
        periods=3,
        search_ratio=0.5,
        seed=seed,
        device="cpu",
    )


@pytest.mark.parametrize("name, removal", CASES)
def test_every_removal_arrives_and_the_cut_file_is_the_trained_network(
    name: str, removal: float
) -> None:
    analysis = analysis_of(name)
    arrays = samples(NETWORKS[name].small_image)
    imported = import_model(analysis.maskable())
    config = settings(removal, seed=round(10 * removal))
    result = train(
        imported, data=ArrayData(train=arrays), binding=bind(analysis, imported), config=config
    )
    assert analysis.violations(result.solution) == ()
    assert analysis.macs(result.solution) <= (1 - removal) * analysis.space.model.macs
    own = {tensor.name for tensor in analysis.loaded.model.graph.initializer}
    weights = {key: array for key, array in imported.weights().items() if key in own}
    cut = shrink(analysis, result.solution, weights)
    masked = mask(analysis, result.solution, weights)
    assert largest_difference_of(analysis, masked, cut) <= RELATIVE
    images = arrays.inputs[""][:4]
    with torch.no_grad():
        expected = imported.module.eval()(torch.from_numpy(images)).numpy()
    found = run(open_session(cut, level=OFF), {"images": images})["scores"]
    assert float(np.abs(found - expected).max()) <= RELATIVE * float(np.abs(expected).max()) + 1e-6


def test_what_cannot_be_reached_is_refused_before_training_with_the_bound() -> None:
    network = NETWORKS["demo_supnet"]
    loaded = load_model(
        exported(network.build(is_small=True), network.small_image).SerializeToString()
    )
    analysis = analyze(loaded, options=AnalysisOptions(kinds=frozenset({GroupKind.OPERATOR})))
    imported = import_model(analysis.maskable())
    before = imported.weights()
    with pytest.raises(TargetUnreachableError) as caught:
        train(
            imported,
            data=ArrayData(train=samples(network.small_image)),
            binding=bind(analysis, imported),
            config=settings(0.9, 0),
        )
    assert caught.value.reachable_ratio > 0.1
    assert all((array == before[name]).all() for name, array in imported.weights().items())
