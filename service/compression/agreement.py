"""Gates G1 and G2: the torch module computes what ONNX Runtime computes of the model.

On samples that are real, random and zero (made-up ones as far as the model runs on them):
``|torch - ONNX Runtime| <= 1e-4 * max(1, scale)`` for every output element, ``scale`` being the
largest of ONNX Runtime's own. Half-precision outputs get the room that so few bits need.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
    module = imported.module.eval()
    for source, feeds in _inputs(model, real, seed):
        try:
            expected = run(session, feeds)
        except Exception:
            if source == "real":
                raise
            continue  # made-up values that the model was not made for
        with torch.no_grad():
            returned = module(*(tensor_from_array(feeds[name]) for name in imported.input_names))
        outputs = (returned,) if isinstance(returned, torch.Tensor) else returned
        for name, output in zip(imported.output_names, outputs, strict=True):
            found = _compare(name, expected[name], array_from_tensor(output), source)
            if found is not None:
                return found
    return None


def _inputs(model: onnx.ModelProto, real: Feeds, seed: int) -> Iterator[tuple[str, Feeds]]:
    """Real, random and zero samples in the shapes of the real ones."""
    shapes = {name: values.shape for name, values in real.items()}
    yield "real", real
    yield "random", random_feeds(input_specs(model), shapes, np.random.default_rng(seed))
    yield "zero", {name: np.zeros_like(values) for name, values in real.items()}


def _compare(
    name: str, expected: np.ndarray, actual: np.ndarray, source: str
) -> Disagreement | None:
    if expected.shape != actual.shape:
        return Disagreement(output=name, difference=float("inf"), limit=0.0, source=source)
    if expected.dtype.kind in "iub":
        wrong = float(np.mean(expected != actual)) if expected.size else 0.0
        # a class number may flip where two scores are equal to rounding; most must not
        limit = 1 / max(2, SAMPLES)
        if wrong <= limit:
            return None
        return Disagreement(output=name, difference=wrong, limit=limit, source=source)
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    both = np.isfinite(wide) & np.isfinite(other)
    if not np.array_equal(wide[~both], other[~both], equal_nan=True):
        return Disagreement(output=name, difference=float("inf"), limit=0.0, source=source)
    scale = float(np.abs(wide[both]).max(initial=0.0))
    tolerance = _TOLERANCE if expected.dtype.itemsize >= np.float32().itemsize else _HALF_TOLERANCE
    limit = tolerance * max(1.0, scale)
    difference = float(np.abs(wide[both] - other[both]).max(initial=0.0))
    if difference <= limit:
        return None
    return Disagreement(output=name, difference=difference, limit=limit, source=source)


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
