"""Gates G1 and G2: the torch module computes what ONNX Runtime computes of the model.

On samples that are real, random and zero (made-up ones as far as the model runs on them):
``|torch - ONNX Runtime| <= 1e-4 * max(1, scale)`` for every output element, ``scale`` being the
largest of ONNX Runtime's own. Half-precision outputs get the room that so few bits need.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch

from exporters.errors import ProofFailedError
from exporters.figures import Proof
from exporters.samples import input_specs, random_feeds
from exporters.sessions import OFF, Feeds, open_session, run
from graph_analysis.errors import ModelError
from optimizer.bridge.arrays import array_from_tensor, tensor_from_array
from optimizer.bridge.module import ImportedModule

_TOLERANCE = 1e-4
_HALF_TOLERANCE = 2e-2
SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """The output that differs most from what is allowed."""

    output: str
    difference: float
    limit: float
    source: str


def disagreement(
    imported: ImportedModule, model: onnx.ModelProto, real: Feeds, *, seed: int
) -> Disagreement | None:
    """The first output in which both differ by more than rounding; None if none does.

    Args:
        imported: The module, on the CPU; in evaluation form afterwards.
        model: What ONNX Runtime runs, optimisations off.
        real: One batch of real samples.
        seed: Of the random samples.
    """
    session = open_session(model, level=OFF)
    for source, feeds in _inputs(model, real, seed):
        try:
            expected = run(session, feeds)
        except Exception:
            if source == "real":
                raise
            continue  # made-up values that the model was not made for
        actual = outputs_of(imported, feeds)
        for name in expected:
            found = compare(name, expected[name], actual[name], source)
            if found is not None:
                return found
    return None


def outputs_of(imported: ImportedModule, feeds: Feeds) -> dict[str, np.ndarray]:
    """What the module returns in evaluation form, by name; sequences as ``sessions.run`` has them.

    Args:
        imported: The module, on the CPU; in evaluation form afterwards.
        feeds: One array per input.
    """
    module = imported.module.eval()
    with torch.no_grad():
        returned = module(*(tensor_from_array(feeds[name]) for name in imported.input_names))
    outputs = returned if len(imported.output_names) > 1 else (returned,)
    found: dict[str, np.ndarray] = {}
    for name, output in zip(imported.output_names, outputs, strict=True):
        found.update(_flat(name, output))
    return found


def _flat(name: str, output: torch.Tensor | Sequence[Any]) -> dict[str, np.ndarray]:
    if isinstance(output, torch.Tensor):
        return {name: array_from_tensor(output)}
    return {
        key: array
        for index, item in enumerate(output)
        for key, array in _flat(f"{name}[{index}]", item).items()
    }


def _inputs(model: onnx.ModelProto, real: Feeds, seed: int) -> Iterator[tuple[str, Feeds]]:
    """Real, random and zero samples in the shapes of the real ones."""
    shapes = {name: values.shape for name, values in real.items()}
    yield "real", real
    yield "random", random_feeds(input_specs(model), shapes, np.random.default_rng(seed))
    yield "zero", {name: np.zeros_like(values) for name, values in real.items()}


def compare(
    name: str, expected: np.ndarray, actual: np.ndarray, source: str
) -> Disagreement | None:
    """What is wrong with one output; None if it differs by no more than rounding."""
    difference, scale = distance(expected, actual)
    if expected.dtype.kind in "iub":
        # a class number may flip where two scores are equal to rounding; most must not
        limit = 1 / max(2, SAMPLES)
    elif expected.dtype.itemsize >= np.float32().itemsize:
        limit = _TOLERANCE * max(1.0, scale)
    else:
        limit = _HALF_TOLERANCE * max(1.0, scale)
    if difference <= limit:
        return None
    return Disagreement(output=name, difference=difference, limit=limit, source=source)


def distance(expected: np.ndarray, actual: np.ndarray) -> tuple[float, float]:
    """How far two arrays are apart, and the largest magnitude of what was expected.

    For floats the largest difference; infinity if shapes or the places of what is not finite
    differ. For integers and booleans the share of elements that differ, and 1.
    """
    if expected.shape != actual.shape:
        return float("inf"), 1.0
    if expected.dtype.kind in "iub":
        return (float(np.mean(expected != actual)) if expected.size else 0.0), 1.0
    if expected.dtype.kind in "OUS":
        return (0.0 if np.array_equal(expected, actual) else float("inf")), 1.0
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    both = np.isfinite(wide) & np.isfinite(other)
    if not np.array_equal(wide[~both], other[~both], equal_nan=True):
        return float("inf"), 1.0
    scale = float(np.abs(wide[both]).max(initial=0.0))
    return float(np.abs(wide[both] - other[both]).max(initial=0.0)), scale


def check_import(imported: ImportedModule, model: onnx.ModelProto, real: Feeds, seed: int) -> None:
    """Gate G1.

    Raises:
        ModelError: ``model-conversion-mismatch``.
    """
    found = disagreement(imported, model, real, seed=seed)
    if found is not None:
        message = (
            f"the trainable module differs from ONNX Runtime in output '{found.output}' by "
            f"{found.difference:.3g}, allowed is {found.limit:.3g} ({found.source} samples)"
        )
        raise ModelError(message, code="model-conversion-mismatch", param=found.output)


def check_trained(
    imported: ImportedModule, masked: onnx.ModelProto, real: Feeds, seed: int
) -> None:
    """Gate G2: the masked model is the network that was trained.

    Raises:
        ProofFailedError: It is not.
    """
    found = disagreement(imported, masked, real, seed=seed)
    if found is not None:
        message = (
            f"proof failed at G2: the masked model differs from the trained network in output "
            f"'{found.output}' by {found.difference:.3g}, allowed is {found.limit:.3g} "
            f"({found.source} samples)"
        )
        raise ProofFailedError(message, proof=Proof(passed=False), param=found.output)
