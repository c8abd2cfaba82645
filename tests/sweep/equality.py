"""Is what the module computes what ONNX Runtime computes? The limit comes from rounding itself.

Where both differ by more than a few units in the last place, the same graph in float64 decides: the
module may be as far from that as ONNX Runtime is, times a small factor.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from exporters.sessions import OFF, Feeds, open_session, run
from graph_analysis.loading import load_model
from optimizer.bridge.arrays import array_from_tensor, tensor_from_array
from optimizer.bridge.module import ImportedModule, import_model
from tests.sweep.float_kinds import FLOAT_KINDS, in_float_kind

Arrays = Mapping[str, npt.NDArray[np.generic]]
_ULPS = 16  # of the largest element of an output: no doubt below this
_FACTOR = 4  # how much further from the float64 result than ONNX Runtime


def run_ort(model: onnx.ModelProto, feeds: Feeds) -> dict[str, npt.NDArray[np.generic]]:
    """Outputs of a file by name, graph optimisations off.

    ONNX Runtime has no convolution in float64, among others: the reference of ONNX itself runs
    what it cannot.
    """
    try:
        session = open_session(model, level=OFF)
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        names = [info.name for info in model.graph.output]
        found = ReferenceEvaluator(model).run(None, dict(feeds))
        return dict(zip(names, found, strict=True))
    return run(session, feeds)


def run_module(imported: ImportedModule, feeds: Feeds) -> dict[str, npt.NDArray[np.generic]]:
    """Outputs of the module in evaluation form by name."""
    arguments = [tensor_from_array(feeds[name]) for name in imported.input_names]
    with torch.no_grad():
        result = imported.module.eval()(*arguments)
    results = result if isinstance(result, tuple | list) else (result,)
    return {
        name: array_from_tensor(tensor)
        for name, tensor in zip(imported.output_names, results, strict=True)
    }


class Judge:
    """Compares outputs of a model with those of ONNX Runtime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model

    @cached_property
    def _exact(self) -> ImportedModule:
        """The same graph in float64."""
        double = in_float_kind(self._model, FLOAT_KINDS["double"])
        return import_model(load_model(double.SerializeToString()).model)

    def differences(
        self, found: Arrays, expected: Arrays, feeds: Feeds, weights: Arrays | None = None
    ) -> list[str]:
        """Say what differs by more than rounding; nothing if all is the same.

        Args:
            found: Outputs of the module.
            expected: Outputs of ONNX Runtime.
            feeds: What both were fed.
            weights: What the module's weights are, if they are not those of the file.
        """
        return [
            message
            for name, theirs in expected.items()
            for message in _difference(
                name, found[name], theirs, lambda: self._exactly(feeds, weights)
            )
        ]

    def _exactly(self, feeds: Feeds, weights: Arrays | None) -> Arrays:
        exact = self._exact
        if weights is not None:
            exact.load_weights({name: array.astype(np.float64) for name, array in weights.items()
                                if name in exact.tensors})  # fmt: skip
        wide = {name: _wide(array) for name, array in feeds.items()}
        return run_module(exact, wide)


def relative_difference(found: Arrays, expected: Arrays) -> float:
    """Return the largest difference of a float output, relative to its largest element."""
    worst = 0.0
    for name, theirs in expected.items():
        if not is_float(theirs) or found[name].shape != theirs.shape:
            continue
        ours, theirs = found[name].astype(np.float64), theirs.astype(np.float64)
        both = np.isfinite(ours) & np.isfinite(theirs)
        scale = np.abs(theirs[both]).max(initial=0.0) or 1.0
        worst = max(worst, float(np.abs(ours - theirs)[both].max(initial=0.0) / scale))
    return worst


def is_float(array: npt.NDArray[np.generic]) -> bool:
    """Whether it holds floats; bfloat16 is of no kind that numpy knows."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _wide(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return array.astype(np.float64) if is_float(array) else array


def _difference(
    name: str,
    ours: npt.NDArray[np.generic],
    theirs: npt.NDArray[np.generic],
    exactly: Callable[[], Arrays],
) -> Sequence[str]:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return [f"'{name}' is {ours.dtype}{list(ours.shape)}, "
                f"not {theirs.dtype}{list(theirs.shape)}"]  # fmt: skip
    if not is_float(theirs):
        wrong = int((ours != theirs).sum())
        if not wrong or wrong <= int((exactly()[name] != theirs).sum()):
            return []
        return [f"'{name}' has {wrong} of {theirs.size} elements that differ"]
    wide_ours, wide_theirs = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(wide_theirs)
    if not np.array_equal(wide_ours[~finite], wide_theirs[~finite], equal_nan=True):
        return [f"'{name}' differs where it is not finite"]
    gap = np.abs(wide_ours - wide_theirs)[finite].max(initial=0.0)
    scale = np.abs(wide_theirs)[finite].max(initial=0.0)
    few = _ULPS * _epsilon(theirs) * scale
    if gap <= few:
        return []
    exact = exactly()[name].astype(np.float64)
    if exact.shape != theirs.shape:
        return [f"'{name}' has another shape in float64"]
    ours_off = np.abs(wide_ours - exact)[finite].max()
    theirs_off = np.abs(wide_theirs - exact)[finite].max()
    if ours_off <= _FACTOR * theirs_off + few:
        return []
    return [f"'{name}' differs by {gap:.3g} of {scale:.3g}; from float64 by {ours_off:.3g}, "
            f"ONNX Runtime by {theirs_off:.3g}"]  # fmt: skip


def _epsilon(array: npt.NDArray[np.generic]) -> float:
    return 2.0**-7 if array.dtype.name == "bfloat16" else float(np.finfo(array.dtype).eps)
