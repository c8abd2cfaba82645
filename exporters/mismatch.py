"""Inside two models: do they agree on every tensor between input and output, and where not first?

Outputs alone can be blind: behind a softmax, a tiny layer scale or a saturated gate a wrong cut
hardly moves them. Inner tensors are compared each at its own scale, so nothing hides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.comparison import Difference, Tolerance, is_float
from exporters.draft import inputs_of
from exporters.sessions import OFF, Feeds, open_session, run
from exporters.weights import Indices

Keep = Mapping[str, Mapping[int, Indices]]

_FROM_SHAPE = frozenset({"Shape", "Size"})


def inner_differences(
    masked: onnx.ModelProto, cut: onnx.ModelProto, feeds: Feeds, keep: Keep, tolerance: Tolerance
) -> Iterator[Difference]:
    """Every float tensor of both models that depends on the input, in order of computation.

    Tensors that only one of them has are left out, and numbers computed from shapes, which may
    differ rightly. Infinities must stand in the same places and are not compared otherwise.

    Args:
        masked: The reference.
        cut: The model under suspicion.
        feeds: One input.
        keep: Tensor -> axis -> positions of the reference that the cut model has.
        tolerance: What is accepted of each.
    """
    shared = set(_data_tensors(cut))
    names = [name for name in _data_tensors(masked) if name in shared]
    expected, found = _values(masked, names, feeds), _values(cut, names, feeds)
    for name in names:
        values, candidate = expected.get(name), found.get(name)
        if values is None or candidate is None or not is_float(values):
            continue
        for axis, indices in keep.get(name, {}).items():
            values = np.take(values, indices, axis=axis)
        yield _difference(name, values, candidate, tolerance)


def first_difference(
    masked: onnx.ModelProto, cut: onnx.ModelProto, feeds: Feeds, keep: Keep, tolerance: Tolerance
) -> str | None:
    """Name of the first tensor that differs; None if none does, or if the models do not run."""
    try:
        for found in inner_differences(masked, cut, feeds, keep, tolerance):
            if not found.is_accepted:
                return found.output
    except Exception:  # noqa: BLE001  (a diagnosis that fails must not hide what it diagnoses)
        return None
    return None


def _difference(
    name: str, expected: npt.NDArray[Any], found: npt.NDArray[Any], tolerance: Tolerance
) -> Difference:
    if expected.shape != found.shape:
        return Difference(output=name, max_difference=np.inf, scale=0.0, limit=0.0)
    a, b = expected.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    scale = float(np.max(np.abs(a[finite]), initial=0.0))
    worst = float(np.max(np.abs(a[finite] - b[finite]), initial=0.0))
    if not np.all(same | finite):
        worst = np.inf
    return Difference(output=name, max_difference=worst, scale=scale, limit=tolerance.limit(scale))


def _data_tensors(model: onnx.ModelProto) -> list[str]:
    """Tensors of the main graph that depend on values of an input, not only on its shape."""
    weights = {tensor.name for tensor in model.graph.initializer}
    data = {value.name for value in model.graph.input} - weights
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type not in _FROM_SHAPE and any(name in data for name in inputs_of(node)):
            data.update(node.output)
            names.extend(name for name in node.output if name)
    return names


def _values(
    model: onnx.ModelProto, names: Sequence[str], feeds: Feeds
) -> dict[str, npt.NDArray[Any]]:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {value.name: value for value in model.graph.output}
    del shown.graph.output[:]
    shown.graph.output.extend(
        outputs.get(name) or onnx.helper.make_empty_tensor_value_info(name) for name in names
    )
    return run(open_session(shown, level=OFF), feeds)
