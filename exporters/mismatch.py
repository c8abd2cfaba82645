"""Inside two models: do they agree on every tensor between input and output, and where not first?

Outputs alone can be blind: behind a softmax, a tiny layer scale or a saturated gate a wrong cut
hardly moves them. Inner tensors are compared each at its own scale, so nothing hides.

Tensors are looked at in windows, in order of computation, so that not all of them are in memory at
once, and a search for the first that differs runs no further than to there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from exporters.cleanup import live_nodes
from exporters.comparison import EXACT, Difference, Tolerance, is_float
from exporters.draft import inputs_of
from exporters.figures import Mismatch
from exporters.sessions import OFF, Feeds, fetch, open_session
from exporters.weights import Indices, copy_without

Keep = Mapping[str, Mapping[int, Indices]]

_FROM_SHAPE = frozenset({"Shape", "Size"})
_FIRST = Tolerance(relative=1e-4, absolute=0.0)  # above the rounding of deep networks
_WINDOW_BYTES = 256 << 20  # of all tensors that are held at once
_FEW, _MANY = 8, 256  # tensors in the first window, and at most


class _Pair(NamedTuple):
    """One tensor in both models; ``expected`` at the positions that stay."""

    name: str
    expected: npt.NDArray[Any]
    found: npt.NDArray[Any]


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
    for name, expected, found in _pairs(masked, cut, _shared(masked, cut), feeds, keep):
        yield _difference(name, expected, found, tolerance)


def first_mismatch(
    masked: onnx.ModelProto,
    cut: onnx.ModelProto,
    feeds: Feeds,
    keep: Keep,
    *,
    runs: bool = True,
) -> Mismatch | None:
    """The first tensor that differs, or that the cut model cannot compute if it does not run.

    None if none does, or if nothing can be said: a diagnosis that fails must not hide what it
    diagnoses. Differences that rounding could make count only where there are no larger ones.
    """
    try:
        names = _shared(masked, cut)
        runnable = len(names) if runs else _runnable(cut, names, feeds)
        for tolerance in (_FIRST, EXACT):
            for pair in _pairs(masked, cut, names[:runnable], feeds, keep):
                found = _difference(*pair, tolerance)
                if not found.is_accepted:
                    return _described(cut, pair, found)
        if runnable < len(names):
            return _mismatch(cut, names[runnable], "cannot be computed")
    except Exception:  # noqa: BLE001  (the runtime raises a type per failure)
        return None
    return None


def first_not_finite(model: onnx.ModelProto, feeds: Feeds) -> Mismatch | None:
    """The first tensor with an infinity or a not-a-number; None if there is none, as above."""
    try:
        names = _data_tensors(model)
        shown = open_session(_with_outputs(model, names), level=OFF)
        for window in _windows(names):
            values = fetch(shown, window.names, feeds)
            window.add(values)
            for name, array in values.items():
                if name in names and is_float(array) and not np.all(np.isfinite(_wide(array))):
                    what = "a not-a-number" if np.any(np.isnan(_wide(array))) else "an infinity"
                    return _mismatch(model, name, f"holds {what}")
    except Exception:  # noqa: BLE001  (as above)
        return None
    return None


def _wide(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return values.astype(np.float64)


def _shared(masked: onnx.ModelProto, cut: onnx.ModelProto) -> list[str]:
    there = set(_data_tensors(cut))
    return [name for name in _data_tensors(masked) if name in there]


def _pairs(
    masked: onnx.ModelProto, cut: onnx.ModelProto, names: Sequence[str], feeds: Feeds, keep: Keep
) -> Iterator[_Pair]:
    if not names:
        return
    only = len(names) < len(_shared(masked, cut))
    sessions = [
        open_session(_with_outputs(model, names, only=only), level=OFF) for model in (masked, cut)
    ]
    for window in _windows(names):
        expected, found = (fetch(session, window.names, feeds) for session in sessions)
        window.add(expected)
        window.add(found)
        for name in window.names:
            values, candidate = expected.get(name), found.get(name)
            if values is None or candidate is None or not is_float(values):
                continue
            for axis, indices in keep.get(name, {}).items():
                values = np.take(values, indices, axis=axis)
            yield _Pair(name, values, candidate)


class _Window:
    """Tensors that are looked at together."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.bytes = 0

    def add(self, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Count what they took."""
        self.bytes += sum(array.nbytes for array in values.values())


def _windows(names: Sequence[str]) -> Iterator[_Window]:
    """``names`` in order, as many at once as fit by what the last ones took."""
    start, size = 0, _FEW
    while start < len(names):
        window = _Window(names[start : start + size])
        yield window
        start += len(window.names)
        each = max(1, window.bytes // len(window.names))
        size = min(max(1, _WINDOW_BYTES // each), 2 * size, _MANY)


def _runnable(cut: onnx.ModelProto, names: Sequence[str], feeds: Feeds) -> int:
    """How many of ``names``, from the first on, ``cut`` can compute.

    Each window is run as a model of its own: what cannot even be loaded would stop all of them.
    """
    start = 0
    for window in _windows(names):
        end = start + len(window.names)
        values = _computed(cut, window.names, feeds)
        if values is None:
            low, high = start, end  # all before low can be had, the one before high cannot
            while high - low > 1:
                middle = (low + high) // 2
                can = _computed(cut, names[start:middle], feeds) is not None
                low, high = (middle, high) if can else (low, middle)
            return low
        window.add(values)
        start = end
    return len(names)


def _computed(
    model: onnx.ModelProto, names: Sequence[str], feeds: Feeds
) -> Mapping[str, npt.NDArray[Any]] | None:
    """Values of ``names``, from what they need of ``model`` alone; None if that does not run."""
    try:
        return fetch(open_session(_with_outputs(model, names, only=True), level=OFF), names, feeds)
    except Exception:  # noqa: BLE001  (as above)
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


def _described(cut: onnx.ModelProto, pair: _Pair, found: Difference) -> Mismatch:
    """The figures of a tensor that differs."""
    if pair.expected.shape != pair.found.shape:
        problem = f"has shape {list(pair.found.shape)} instead of {list(pair.expected.shape)}"
        return _mismatch(cut, pair.name, problem)
    a, b = pair.expected.astype(np.float64), pair.found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.abs(a - b)
    gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.nan_to_num(gap, nan=np.inf))
    place = np.unravel_index(int(gap.argmax()), gap.shape)
    differing = int(np.sum(gap > found.limit))
    where = [int(index) for index in place]
    problem = (
        f"differs by at most {found.max_difference:.3g} at scale {found.scale:.3g}, in {differing} "
        f"of {gap.size} elements; at {where} it is {b[place]:.6g} instead of {a[place]:.6g}"
    )
    return _mismatch(cut, pair.name, problem, found=found, differing=differing, elements=gap.size)


def _mismatch(
    model: onnx.ModelProto, name: str, problem: str, *, found: Difference | None = None,
    differing: int = 0, elements: int = 0,
) -> Mismatch:  # fmt: skip
    maker = next((node for node in model.graph.node if name in node.output), onnx.NodeProto())
    return Mismatch(
        tensor=name,
        operator=maker.op_type,
        node=maker.name,
        problem=problem,
        max_difference=found.max_difference if found else None,
        scale=found.scale if found else None,
        differing=differing,
        elements=elements,
    )


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


def _with_outputs(
    model: onnx.ModelProto, names: Sequence[str], *, only: bool = False
) -> onnx.ModelProto:
    """``model`` with ``names`` as its outputs; ``only`` what they need, if the rest cannot run."""
    shown = copy_without(model, "output", "node")
    outputs = {value.name: value for value in model.graph.output}
    shown.graph.node.extend(live_nodes(model.graph.node, names) if only else model.graph.node)
    shown.graph.output.extend(
        outputs.get(name) or onnx.helper.make_empty_tensor_value_info(name) for name in names
    )
    return shown
