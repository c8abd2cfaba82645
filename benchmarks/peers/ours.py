"""Secateur as a user gets it: analysis, one training with H2SPG, the surgeon."""

from dataclasses import replace
from functools import partial

import onnx

from benchmarks.peers.data import Images
from benchmarks.peers.one_shot import CHANNELS
from exporters.surgeon import shrink
from exporters.training_form import training_form
from graph_analysis.loading import load_model
from graph_analysis.pipeline import AnalysisOptions, analyze
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.config import TrainConfig
from optimizer.trainer import ArrayData, Arrays, train


def compressed(
    model: onnx.ModelProto,
    ratio: float,
    arrays: Images,
    config: TrainConfig,
    *,
    channels_only: bool = False,
) -> onnx.ModelProto:
    """Train ``model`` down to ``ratio`` of its MACs and cut it."""
    options = CHANNELS if channels_only else AnalysisOptions()
    analysis = analyze(load_model(model.SerializeToString()), options=options)
    imported = import_model(analysis.maskable())
    result = train(
        imported,
        data=ArrayData(
            train=Arrays(inputs={"": arrays["x_train"]}, labels=arrays["y_train"]),
            validation=Arrays(inputs={"": arrays["x_val"]}, labels=arrays["y_val"]),
        ),
        binding=bind(analysis, imported),
        config=replace(config, target_ratio=ratio, device="cpu"),
        cutter=partial(training_form, analysis),
    )
    own = {tensor.name for tensor in analysis.loaded.model.graph.initializer}
    weights = {name: array for name, array in imported.weights().items() if name in own}
    return shrink(analysis, result.solution, weights)
