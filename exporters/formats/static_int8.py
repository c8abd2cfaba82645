"""INT8 static quantisation: ONNX Runtime's, as QDQ, with one scale per channel of the weights.

Activations are unsigned, weights signed and of 7 bits: the product of two full 8-bit numbers
saturates on processors without VNNI, so a file measured on one machine would be wrong on another.
The ranges of activations are the smallest and largest values on the calibration batches, which
are read one after the other. Products of two activations (attention) stay float.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime

from exporters.formats.converting import converted
from exporters.formats.refusing import (
    check_is_float32,
    check_opset,
    check_size,
    nodes_of,
    opset_of,
    unsupported,
)
from exporters.sessions import Feeds
from graph_analysis.loading import name_nodes

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader

_FORM = "INT8 file"
_LEAST_OPSET = 13
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_BETWEEN = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Flatten",
    "GlobalAveragePool",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
# Behind a normalisation single channels are far larger than the others, and one scale for all of
# them leaves the rest a few steps: in such networks only the products themselves are quantised.
_NORMS = frozenset(
    {
        "GroupNormalization",
        "LayerNormalization",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
    }
)
_NORM_IN_STEPS = frozenset({"ReduceMean", "Sqrt", "Div"})
_ATTENTION = frozenset({"Softmax", "Attention", "MultiHeadAttention"})
_QUIET, _USUAL = 4, 2  # severities of ONNX Runtime's log


def to_int8(model: onnx.ModelProto, batches: Iterable[Feeds]) -> onnx.ModelProto:
    """``model`` quantised, its interface as it was.

    Args:
        model: Float32.
        batches: Real samples, by input name; read once, one at a time.

    Raises:
        InputError: ``export-unsupported``: it is no float32 model, its opset is below 13, nothing
            in it can be quantised, or ONNX Runtime's converter fails.
    """
    check_size(model, _FORM)
    check_is_float32(model, _FORM)
    check_opset(model, _LEAST_OPSET, _FORM, "a scale per channel")
    result = converted(model, _FORM, lambda: _quantise(model, batches))
    if not any(node.op_type == "QuantizeLinear" for node in nodes_of(result.graph)):
        reason = (
            "none of its nodes is a Conv, Gemm or MatMul with weights and an input of known type "
            "in the main graph"
        )
        raise unsupported(_FORM, reason)
    if opset_of(result) != opset_of(model):
        reason = f"the converter changed its opset from {opset_of(model)} to {opset_of(result)}"
        raise unsupported(_FORM, reason)
    return result


def quantised_operators(model: onnx.ModelProto) -> tuple[str, ...]:
    """Kinds of operators that are quantised in ``model``."""
    kinds = {node.op_type for node in nodes_of(model.graph)}
    inner = [node for node in model.graph.node if node.op_type in _ATTENTION]
    last = {value.name for value in model.graph.output}
    is_attentive = any(not last & set(node.output) for node in inner)
    is_normed = bool(kinds & _NORMS) or kinds >= _NORM_IN_STEPS
    return _PRODUCTS if is_normed or is_attentive else (*_PRODUCTS, *_BETWEEN)


def _quantise(model: onnx.ModelProto, batches: Iterable[Feeds]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet(), tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        plain, folded, path = (Path(folder) / f"{name}.onnx" for name in ("in", "folded", "out"))
        plain.write_bytes(model.SerializeToString())
        # folds normalisations into convolutions, which the converter cannot quantise on their own
        quant_pre_process(str(plain), str(folded), skip_symbolic_shape=True)
        left_out = _untyped_products(folded)
        quantize_static(
            str(folded),
            str(path),
            _reader(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(quantised_operators(model)),
            nodes_to_exclude=left_out,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(path)


def _untyped_products(path: Path) -> list[str]:
    """Names of products whose input has no known type, behind an operator that inference skips.

    The converter would quantise their bias without their input, and stop. Nodes without a name
    are given one in the file.
    """
    model = onnx.load(path)
    name_nodes(model.graph)
    onnx.save(model, path)
    typed = {value.name for value in model.graph.input}
    typed |= {value.name for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    typed |= {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _PRODUCTS and not typed >= set(node.input[:1])
    ]


def _reader(batches: Iterable[Feeds]) -> "CalibrationDataReader":
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
        """One batch after the other, as the calibration asks for them."""

        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else dict(batch)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's remarks off the terminal, and its handler out of the root logger.

    ``logging.warning`` installs a handler where there is none, for good.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(_QUIET)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_USUAL)
        root.setLevel(before)
        root.removeHandler(handler)
