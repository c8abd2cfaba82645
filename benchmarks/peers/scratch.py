"""Training of what is cut already; and what a search from scratch has over what it found.

The search from scratch begins with new weights, decides after its warm-up and ends with a trained
small network. The other arm draws new weights for the network that was found and trains that, for
as many steps on the same batches: what the search has over it, it owes to beginning large.
"""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import onnx
import torch

from benchmarks.peers.training import Lesson, train_on
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from optimizer.bridge.module import import_model
from optimizer.trainer.starting import draw_weights


def trained(model: onnx.ModelProto, lesson: Lesson, *, anew: bool = False) -> onnx.ModelProto:
    """``model`` after training.

    Args:
        model: Cut already.
        lesson: What to learn.
        anew: Draw its weights by the seed of the lesson before.
    """
    loaded = analyze(load_model(model.SerializeToString())).loaded.model
    imported = import_model(loaded)
    if anew:
        draw_weights(imported, seed=lesson.config.seed)
        torch.manual_seed(lesson.config.seed)
    train_on(imported.module, lesson)
    return with_weights(loaded, imported.weights())


def with_weights(
    model: onnx.ModelProto, weights: Mapping[str, npt.NDArray[Any]]
) -> onnx.ModelProto:
    """``model`` with other values in its initializers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    return changed
