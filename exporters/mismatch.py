"""Where two models part: the first tensor, in order of computation, that differs between them.

Run only after a proof has failed, to turn "the output is wrong" into "this tensor is wrong first".
"""

from collections.abc import Mapping

import numpy as np
import onnx

from exporters.comparison import EXACT, Outputs, compare
from exporters.sessions import OFF, Feeds, open_session, run
from exporters.weights import Indices

Keep = Mapping[str, Mapping[int, Indices]]


def first_difference(
    masked: onnx.ModelProto, cut: onnx.ModelProto, feeds: Feeds, keep: Keep
) -> str | None:
    """Name of the first tensor whose kept positions differ; None if none does, or none can be had.

    Args:
        masked: The reference.
        cut: The model under suspicion.
        feeds: An input on which the outputs differ.
        keep: Tensor -> axis -> positions of the reference that the cut model has.
    """
    try:
        expected, found = _all_tensors(masked, feeds), _all_tensors(cut, feeds)
    except Exception:  # noqa: BLE001  (a diagnosis that fails must not hide what it diagnoses)
        return None
    for name, values in expected.items():
        if name not in found:
            continue
        for axis, indices in keep.get(name, {}).items():
            values = np.take(values, indices, axis=axis)
        if not compare({name: values}, {name: found[name]}, EXACT).is_accepted:
            return name
    return None


def _all_tensors(model: onnx.ModelProto, feeds: Feeds) -> Outputs:
    """Every tensor of the main graph, in order of computation."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    outputs = {value.name: value for value in model.graph.output}
    del shown.graph.output[:]
    shown.graph.output.extend(
        outputs.get(name) or onnx.helper.make_empty_tensor_value_info(name) for name in names
    )
    values = run(open_session(shown, level=OFF), feeds)
    return {name: values[name] for name in names if name in values}
