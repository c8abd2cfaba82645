"""Are the weights of a cut file those of the reference at the positions that stay, bit for bit?

What a network computes cannot tell a small bias from its neighbour beside activations thousands of
times as large; the values themselves can. Says nothing about how they are wired: running does.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from exporters.weights import Indices, to_array

_FLOATS = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    }
)


def wrong_weights(
    reference: onnx.ModelProto,
    cut: onnx.ModelProto,
    keep: Mapping[str, Mapping[int, Indices]],
) -> Iterator[tuple[str, str]]:
    """Float initializers of the main graph that are not as they must be: name, and what is wrong.

    Initializers that only one of the models has are left out.

    Args:
        reference: The masked model.
        cut: The model under suspicion.
        keep: Initializer -> axis -> positions of the reference that ``cut`` has.
    """
    known = {tensor.name: tensor for tensor in reference.graph.initializer}
    for tensor in cut.graph.initializer:
        source = known.get(tensor.name)
        if source is None or source.data_type not in _FLOATS:
            continue
        problem = _problem(source, tensor, keep.get(tensor.name, {}))
        if problem:
            yield tensor.name, problem


def _problem(
    source: onnx.TensorProto, tensor: onnx.TensorProto, keep: Mapping[int, Indices]
) -> str:
    if source.data_type != tensor.data_type:
        return "is of another type"
    expected: npt.NDArray[np.generic] = to_array(source)
    for axis, indices in sorted(keep.items(), key=lambda item: len(item[1])):
        expected = np.take(expected, indices, axis=axis)
    found = to_array(tensor)
    if expected.shape != found.shape:
        return f"has shape {list(found.shape)} instead of {list(expected.shape)}"
    if expected.tobytes() == found.tobytes():
        return ""
    a, b = expected.astype(np.float64), found.astype(np.float64)
    differs = (a != b) & ~(np.isnan(a) & np.isnan(b))
    count = int(np.sum(differs))
    if not count:
        return ""
    place = np.unravel_index(int(np.argmax(differs)), differs.shape)
    where = [int(index) for index in place]
    return (
        f"holds other values than the reference in {count} of {a.size} places, first at {where}: "
        f"{b[place]:.6g} instead of {a[place]:.6g}"
    )
