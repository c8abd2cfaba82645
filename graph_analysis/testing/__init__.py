"""Tiny ONNX models for tests, by name and at random; shipped, so that users can test with them.

Written with ``onnx.helper`` alone: whatever imports this package needs numpy and onnx.
"""

from collections.abc import Callable, Mapping

import onnx

from graph_analysis.testing import (
    attention,
    branches,
    control_flow,
    convolutions,
    data_movement,
    einsum,
    fused,
    joints,
    norms_and_gates,
    quantised,
    recurrent,
    tokens,
)
from graph_analysis.testing.builder import BATCH, GraphBuilder
from graph_analysis.testing.random_control_flow import random_control_flow_network
from graph_analysis.testing.random_networks import random_network
from graph_analysis.testing.random_recurrent import random_recurrent_network

HARD_CASES: Mapping[str, Callable[[], onnx.ModelProto]] = {
    case.__name__: case
    for module in (
        joints,
        branches,
        convolutions,
        data_movement,
        norms_and_gates,
        tokens,
        attention,
        einsum,
        fused,
        quantised,
        recurrent,
        control_flow,
    )
    for case in module.CASES
}

__all__ = [
    "BATCH",
    "HARD_CASES",
    "GraphBuilder",
    "random_control_flow_network",
    "random_network",
    "random_recurrent_network",
]
