"""ONNX Runtime sessions for the proof and the measurements: one place for their settings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Feeds = Mapping[str, npt.NDArray[Any]]

OFF = "off"  # every graph optimisation disabled: the level at which equality is judged
ALL = "all"  # what a user gets by default
LEVELS = (OFF, ALL)

_LEVEL = {
    OFF: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    ALL: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
# A hostile file can ask for a constant of many gigabytes to be computed while it is loaded.
_FOLDING_CAP = ("optimization.constant_folding_max_output_size_in_bytes", str(16 << 20))
# Failures arrive as exceptions; the proof also tries sizes that a model may refuse, and a log of
# those refusals would look like an error of the job.
_FATAL_ONLY = 4


def open_session(
    model: onnx.ModelProto | bytes, *, level: str = ALL, threads: int = 1
) -> onnxruntime.InferenceSession:
    """A CPU session for ``model`` at optimisation ``level``; one thread unless told otherwise.

    Raises:
        Exception: Whatever ONNX Runtime raises for a model that it cannot load.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVEL[level]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry(*_FOLDING_CAP)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, feeds: Feeds) -> dict[str, npt.NDArray[Any]]:
    """All outputs of one run by name; sequences and maps are flattened into several arrays."""
    names = [output.name for output in session.get_outputs()]
    result: dict[str, npt.NDArray[Any]] = {}
    for name, value in zip(names, session.run(names, dict(feeds)), strict=True):
        result.update(_flatten(name, value))
    return result


def fetch(
    session: onnxruntime.InferenceSession, names: Sequence[str], feeds: Feeds
) -> dict[str, npt.NDArray[Any]]:
    """Some outputs by name; what only others need is not computed.

    Raises:
        Exception: Whatever ONNX Runtime raises for a value that it cannot compute.
    """
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    options.log_severity_level = _FATAL_ONLY
    values = session.run(list(names), dict(feeds), options)
    result: dict[str, npt.NDArray[Any]] = {}
    for name, value in zip(names, values, strict=True):
        result.update(_flatten(name, value))
    return result


def _flatten(name: str, value: Any) -> dict[str, npt.NDArray[Any]]:
    if isinstance(value, Mapping):
        value = [item for _, item in sorted(value.items())]
    if isinstance(value, np.ndarray) or not isinstance(value, Sequence):
        return {name: np.asarray(value)}
    result: dict[str, npt.NDArray[Any]] = {}
    for index, item in enumerate(value):
        result.update(_flatten(f"{name}[{index}]", item))
    return result
