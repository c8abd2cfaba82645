"""Trained weights between two stages: one safetensors file, names as in the ONNX model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from optimizer.bridge.arrays import array_from_tensor, tensor_from_array


def write_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write all arrays, bit for bit; bfloat16 too, which numpy lacks."""
    save_file({name: tensor_from_array(array) for name, array in weights.items()}, path)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read what :func:`write_weights` wrote."""
    return {name: array_from_tensor(tensor) for name, tensor in load_file(path).items()}
