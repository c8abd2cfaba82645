"""At least one small node per supported operator and version, for the test of the opsets.

A case is valid for the versions ``since`` to ``until`` of its operator; an operator whose signature
changed has one for each form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from tests.unit.optimizer.bridge.onnx_models import floats

Inputs = Sequence[np.ndarray | None]
NEWEST = 99


@dataclass(frozen=True, kw_only=True)
class Case:
    """One node; ``named`` are its attributes, and settings of ``one_node``."""

    op_type: str
    inputs: Inputs
    since: int = 1
    until: int = NEWEST
    named: dict[str, Any] = field(default_factory=dict)


CASES: list[Case] = []
Adder = Callable[..., None]


def versions(since: int = 1, until: int = NEWEST) -> Adder:
    """A function that adds a case: operator, inputs, attributes."""

    def add(op_types: str, *inputs: np.ndarray | None, **named: Any) -> None:
        CASES.extend(
            Case(op_type=op_type, inputs=inputs, since=since, until=until, named=named)
            for op_type in op_types.split()
        )

    return add


always = versions()
X = floats(2, 3, 4, 5)
POSITIVE = np.abs(X) + np.float32(0.5)
ROW = floats(5)
INTS = np.array([7, -7, 5])


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def some_floats(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


# Elementwise
always("Abs Atan Asinh Ceil Cos Cosh Erf Exp Floor Neg Relu Round Sigmoid Sign Sin Sinh", X)
always("Softplus Softsign Tan Tanh HardSwish Mish IsNaN Identity Elu Celu LeakyRelu Gelu", X)
always("ThresholdedRelu Swish HardSigmoid Selu Shrink IsInf", X)
always("Log Sqrt Reciprocal Acosh", POSITIVE + 1)
always("Acos Asin Atanh", np.tanh(X))
always("Gelu", X, approximate="tanh")
always("SwiGLU", X, POSITIVE, alpha=1.5)
always("BitwiseNot", np.array([1, 2], np.int32))
always("BitwiseAnd BitwiseOr BitwiseXor", np.array([1, 6], np.int32), np.array([3, 5], np.int32))
always("BitShift", np.array([1, 6], np.uint8), np.array([3, 1], np.uint8), direction="LEFT")
always("BitCast", X, to=onnx.TensorProto.INT32)
always("Not", X > 0)
always("And Or Xor", X > 0, X[0] > 0)
always("Add Sub Mul Div", X, ROW)
always("Add Sub Mul Div", INTS, ints(2, 2, -3))
versions(9)("Greater Less", X.round(), floats(4, 5).round())
versions(7, 8)("Greater Less", X, ROW)
versions(11)("Equal", X.round(), floats(4, 5).round())
always("Equal", INTS, ints(7, 2, 5))
always("GreaterOrEqual LessOrEqual", X.round(), floats(4, 5).round())
always("Mod", INTS, ints(2, 2, -3))
always("Mod", X, POSITIVE, fmod=1)
always("Pow", POSITIVE, ROW)
versions(12)("Pow", X, np.array(2))
always("Where", X > 0, X, ROW)
versions(8)("Sum Min Max Mean", X, floats(4, 5), POSITIVE)
always("Sum Min Max Mean", X, POSITIVE)
versions(1, 10)("Clip", X, min=-0.5, max=0.7)
versions(11)("Clip", X, number(-0.5), number(0.7))
versions(11)("Clip", X, None, number(0.7))
always("PRelu", X, np.abs(floats(3, 1, 1)))
always("Cast", X, to=onnx.TensorProto.FLOAT16)
always("CastLike", X, floats(1, dtype=np.float64))
versions(1, 11)("Dropout", X, ratio=0.3)
versions(1, 11)("Dropout", X, ratio=0.3, outputs=2)
versions(12)("Dropout", X, number(0.3), outputs=2)

# Sliding windows
IMAGE = floats(2, 4, 7, 6)
WEIGHT = floats(4, 2, 3, 2)
PADS = {"strides": [2, 2], "pads": [1, 1, 0, 0]}
SAME = {"strides": [2, 1], "auto_pad": "SAME_LOWER"}
for geometry in (PADS, SAME, {"dilations": [2, 1]}):
    always("Conv ConvTranspose", IMAGE, WEIGHT, floats(4), group=2, **geometry)
for geometry in (PADS, SAME):
    always("MaxPool AveragePool LpPool", IMAGE, kernel_shape=[3, 2], **geometry)
    always("AveragePool", IMAGE, kernel_shape=[3, 2], count_include_pad=1, **geometry)
versions(10)("MaxPool AveragePool", IMAGE, kernel_shape=[3, 2], ceil_mode=1, **PADS)
versions(8)("MaxPool", IMAGE, kernel_shape=[2, 2], outputs=2, strides=[2, 2])
versions(8)("MaxPool", IMAGE, kernel_shape=[2, 2], outputs=2, strides=[2, 2], storage_order=1)
for op_type, since in {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}.items():
    versions(since)(op_type, IMAGE, kernel_shape=[2, 2], dilations=[2, 2])
always("GlobalAveragePool GlobalMaxPool", X)
always("GlobalLpPool", X, p=2)
always("MaxUnpool", X, np.arange(X.size).reshape(X.shape), kernel_shape=[1, 1])
always("DeformConv", IMAGE, floats(4, 4, 3, 2), floats(2, 12, 5, 5, seed=2))
always("Col2Im", floats(2, 12, 8), ints(5, 6), ints(2, 3), strides=[2, 1])

# Normalisation, softmax, losses
for axis in (0, 1, 3):
    always("Softmax LogSoftmax Hardmax", X, axis=axis)
always("Softmax LogSoftmax Hardmax", X)
always("InstanceNormalization", X, floats(3), floats(3))
always("BatchNormalization", X, floats(3), floats(3), floats(3), np.abs(floats(3)))
always("LRN", floats(2, 6, 4, 4), size=3, alpha=0.5, beta=0.7, bias=2.0)
always("LayerNormalization", X, ROW, ROW)
always("RMSNormalization", X, ROW)
versions(18, 20)("GroupNormalization", floats(2, 6, 4), floats(3), floats(3), num_groups=3)
versions(21)("GroupNormalization", floats(2, 6, 4), floats(6), floats(6), num_groups=3)
always("LpNormalization", X, p=1, axis=1)
always("MeanVarianceNormalization", X)
LABELS = np.ones((2, 4, 5), np.int64)
always("NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss", X, LABELS, np.abs(floats(3)))

# Products
always("MatMul", X, floats(5, 3))
for bias in (floats(4), floats(3, 1)):
    always("Gemm", floats(5, 3), floats(4, 5), bias, transA=1, transB=1, alpha=0.5, beta=2.0)
versions(11)("Gemm", floats(3, 5), floats(5, 4))
always("Einsum", floats(2, 3, 4), floats(2, 4, 5), equation="...ij,...jk")
always("Det", floats(2, 3, 3))
QUERY, KEY, PAIR = floats(2, 4, 5, 8), floats(2, 2, 6, 8, seed=2), floats(2, 2, 6, 8, seed=3)
always("Attention", QUERY, KEY, PAIR, is_causal=1)
always("Attention", QUERY, KEY, PAIR, floats(5, 6), softcap=2.0, scale=0.3)

# Recurrent
STEPS, LENGTHS, STATE = floats(5, 2, 3), np.array([5, 3], np.int32), floats(2, 2, 4, seed=5)
for op_type, gates, outputs in (("LSTM", 4, 3), ("GRU", 3, 2), ("RNN", 1, 2)):
    weights = (floats(2, gates * 4, 3), floats(2, gates * 4, 4, seed=2))
    layer = (STEPS, *weights, floats(2, 8 * gates, seed=3))
    bidirectional = {"hidden_size": 4, "outputs": outputs, "direction": "bidirectional"}
    always(op_type, *layer, **bidirectional)
    states = (STATE, STATE + 1, floats(2, 12, seed=7)) if op_type == "LSTM" else (STATE,)
    always(op_type, *layer, LENGTHS, *states, clip=0.5, **bidirectional)

# Reductions
for op_type in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp"):
    last = 12 if op_type == "Sum" else 17
    versions(1, last)(f"Reduce{op_type}", POSITIVE, axes=[1, 2], keepdims=0)
    versions(last + 1)(f"Reduce{op_type}", POSITIVE, ints(1, -1), keepdims=0)
    versions(last + 1)(f"Reduce{op_type}", POSITIVE, ints(), noop_with_empty_axes=1)
    always(f"Reduce{op_type}", POSITIVE)
versions(1, 17)("ReduceSumSquare", POSITIVE, axes=[1, 2])
versions(18)("ReduceSumSquare", POSITIVE, ints(1, -1))
always("ArgMax ArgMin", X.round(), axis=2)
versions(12)("ArgMax ArgMin", X.round(), axis=-1, keepdims=0, select_last_index=1)
always("CumSum CumProd", X, np.array(1), exclusive=1, reverse=1)
versions(1, 9)("TopK", X, k=2, outputs=2, axis=1)
versions(10)("TopK", X, ints(2), outputs=2)
versions(11)("TopK", X.round(), ints(3), outputs=2, largest=0)

# Data movement
always("Compress", X, np.array([True, False, True]), axis=1)
always("Concat", X, X, axis=1)
always("Constant", value_floats=[1.0, 2.0])
always("ConstantOfShape", ints(2, 3), value=onnx.helper.make_tensor("value", 1, [1], [2.5]))
always("DepthToSpace", floats(2, 8, 3, 4), blocksize=2)
versions(11)("DepthToSpace", floats(2, 8, 3, 4), blocksize=2, mode="CRD")
always("SpaceToDepth", floats(2, 3, 4, 6), blocksize=2)
always("Expand", floats(3, 1), ints(2, 1, 4))
always("EyeLike", floats(3, 4), k=1)
always("Flatten", X, axis=2)
always("Gather", X, ints(0, 2), axis=1)
versions(11)("Gather", X, ints(0, -1), axis=1)
always("GatherElements", floats(2, 3), np.array([[0, 1, 1], [1, 0, 0]]))
always("GatherND", X, np.array([[0, 1], [1, 2]]))
versions(12)("GatherND", X, np.array([[1], [0]]), batch_dims=1)
always("NonZero", X.round())
always("OneHot", ints(0, 2), np.array(4), some_floats(0, 1), axis=0)
for mode in ("constant", "reflect", "edge"):
    versions(1, 10)("Pad", X, mode=mode, pads=[0, 0, 1, 2, 0, 0, 1, 1])
    versions(11)("Pad", X, ints(0, 0, 1, 2, 0, 0, 1, 1), mode=mode)
versions(18)("Pad", X, ints(1, 2), number(3), ints(-1))
versions(19)("Pad", X, ints(0, 0, 1, 2, 0, 0, 1, 1), mode="wrap")
always("Range", number(1), number(5), number(0.7))
always("Reshape", X, ints(0, -1, 5))
versions(14)("Reshape", floats(0, 3), ints(3, 0), allowzero=1)
versions(1, 10)("Scatter", floats(2, 3), np.array([[0, 1, 1]]), floats(1, 3))
PLACES, PAIRS = np.array([[0, 1, 1]]), np.array([[0, 1], [1, 2]])
for reduction, since in {"none": 11, "add": 16, "mul": 16, "max": 18, "min": 18}.items():
    how = {} if reduction == "none" else {"reduction": reduction}
    versions(since)("ScatterElements", floats(2, 3), PLACES, floats(1, 3, seed=2), **how)
    versions(since)("ScatterND", X, PAIRS, floats(2, 4, 5, seed=2), **how)
always("Shape Size", X)
versions(15)("Shape", X, start=1, end=-1)
versions(1, 9)("Slice", X, starts=[1, -3], ends=[3, 99], axes=[1, 3])
versions(10)("Slice", X, ints(-1), ints(-99), ints(3), ints(-2))
versions(1, 12)("Split", X, axis=3, split=[2, 3], outputs=2)
versions(13)("Split", X, ints(2, 3), axis=3, outputs=2)
versions(18)("Split", X, axis=3, outputs=2, num_outputs=2)
versions(1, 12)("Squeeze", floats(1, 3, 1, 2), axes=[0, 2])
versions(13)("Squeeze", floats(1, 3, 1, 2), ints(0, -2))
versions(1, 12)("Unsqueeze", X, axes=[0, 3])
versions(13)("Unsqueeze", X, ints(-1, 0))
always("Tile", X, ints(1, 2, 1, 3))
always("Transpose", X, perm=[0, 2, 3, 1])
always("Trilu", X, np.array(1))
always("Unique", floats(9).round(), outputs=4)
always("CenterCropPad", X, ints(3, 3, 3, 6))

# Images, regions, sequences, spectra
SCALES = some_floats(1, 1, 2, 1.5)
for mode in ("nearest", "linear"):
    versions(1, 8)("Upsample", X, mode=mode, scales=SCALES.tolist())
    versions(9, 9)("Upsample", X, SCALES, mode=mode)
    versions(10, 10)("Resize", X, SCALES, mode=mode)
    versions(10, 10)("Resize", X, some_floats(1, 1, 0.5, 0.6), mode=mode)
    versions(11)("Resize", X, floats(0), SCALES, mode=mode)
versions(13)("Resize", X, None, None, ints(2, 3, 3, 7), mode="cubic")
versions(18)("Resize", X, None, some_floats(0.5, 0.6), mode="linear", antialias=1, axes=[2, 3])
GRID = np.clip(floats(2, 3, 4, 2), -1.3, 1.3)
versions(16, 19)("GridSample", X, GRID, mode="bicubic", padding_mode="reflection")
versions(20)("GridSample", X, GRID, mode="cubic", padding_mode="reflection")
versions(20)("GridSample", floats(2, 3, 4, 5, 6), np.tanh(floats(2, 2, 3, 4, 3)), mode="linear")
always("AffineGrid", floats(2, 2, 3), ints(2, 3, 4, 5), align_corners=1)
BOXES = np.array([[0, 0, 4, 3], [1, 1, 3.5, 2.5]], np.float32)
always("RoiAlign", X, BOXES, ints(0, 1), output_height=2, output_width=2, sampling_ratio=2)
always("MaxRoiPool", X, np.array([[1, 0, 0, 4, 3]], np.float32), pooled_shape=[2, 2])
CORNERS, SCORES = np.abs(floats(1, 9, 4)), np.abs(floats(1, 2, 9))
always("NonMaxSuppression", CORNERS, SCORES, ints(5), some_floats(0.3))
always("ReverseSequence", floats(4, 3, 2), ints(2, 4, 1))
always("TensorScatter", floats(2, 3, 6, 5), floats(2, 3, 2, 5, seed=2), ints(1, 4))
always("RotaryEmbedding", floats(2, 3, 5, 8), floats(2, 5, 4), floats(2, 5, 4, seed=2))
always("CausalConvWithState", floats(2, 3, 5), floats(3, 1, 4), floats(3), outputs=2)
HEADS = {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": "linear"}
always("LinearAttention", floats(2, 6, 12), floats(2, 6, 6), floats(2, 6, 10), outputs=2, **HEADS)
always("HannWindow HammingWindow BlackmanWindow", np.array(9))
MEL = (np.array(8), np.array(64), np.array(16000), number(20), number(7500))
always("MelWeightMatrix", *MEL)
versions(17, 19)("DFT", floats(2, 6, 1), axis=1)
versions(20)("DFT", floats(2, 6, 1), None, np.array(1))
always("STFT", floats(2, 33, 1), np.array(4), floats(8))
N_GRAMS = {"pool_int64s": [2, 3, 5, 4], "ngram_counts": [0, 2], "ngram_indexes": [0, 1, 2]}
N_GRAMS |= {"mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1}
always("TfIdfVectorizer", ints(5, 4, 3, 2, 5, 1, 4), **N_GRAMS)
