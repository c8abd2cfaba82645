"""A float model read for export: the graph of the file as it is, with all of its data."""

from pathlib import Path

import onnx

from graph_analysis.external_data import densify, embed
from graph_analysis.loading import LoadedModel, load_model


def read_float_model(path: Path) -> tuple[LoadedModel, onnx.ModelProto]:
    """The normalised working copy, and the file's own graph (functions inlined).

    Raises:
        ModelError: The file cannot be used.
    """
    loaded = load_model(path)
    model = onnx.load(path, load_external_data=False)
    if model.functions:
        return loaded, loaded.model
    embed(model, path.parent)
    densify(model.graph)
    return loaded, model
