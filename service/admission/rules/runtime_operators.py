"""Definitions of ONNX Runtime's own operators, which the onnx package does not know.

Facts of the runtime's operator sets: how many inputs and outputs, and which attributes of which
type. Operators of the default domain are here as well that the runtime's optimiser writes into it,
whatever the version it is imported in. What can be compressed is what the importer lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

MICROSOFT = "com.microsoft"
_TYPE = onnx.AttributeProto


@dataclass(frozen=True, kw_only=True)
class RuntimeOperator:
    """One operator.

    Attributes:
        least: Inputs that a node has at least.
        most: Inputs that a node has at most.
        outputs: Outputs that a node has at most; one at least.
        may_lack: Inputs below ``least`` that may be left out.
        attributes: Name to type.
        required: Names of attributes without a default.
    """

    least: int
    most: int
    outputs: int
    may_lack: tuple[int, ...] = ()
    attributes: Mapping[str, int] = field(default_factory=dict)
    required: frozenset[str] = frozenset()


def _facts(
    *,
    inputs: tuple[int, int],
    outputs: int,
    may_lack: tuple[int, ...] = (),
    integer: str = "",
    number: str = "",
    string: str = "",
    ints: str = "",
    floats: str = "",
    required: str = "",
) -> RuntimeOperator:
    kinds = (
        (integer, _TYPE.INT),
        (number, _TYPE.FLOAT),
        (string, _TYPE.STRING),
        (ints, _TYPE.INTS),
        (floats, _TYPE.FLOATS),
    )
    return RuntimeOperator(
        least=inputs[0],
        most=inputs[1],
        outputs=outputs,
        may_lack=may_lack,
        attributes={name: kind for names, kind in kinds for name in names.split()},
        required=frozenset(required.split()),
    )


RUNTIME_OPERATORS: Mapping[tuple[str, str], RuntimeOperator] = {
    (MICROSOFT, "Attention"): _facts(
        inputs=(2, 7),
        outputs=2,
        integer=(
            "do_rotary num_heads past_present_share_buffer rotary_embedding_dim unidirectional"
        ),
        number="mask_filter_value scale",
        ints="qkv_hidden_sizes",
        required="num_heads",
    ),
    (MICROSOFT, "BiasGelu"): _facts(inputs=(2, 2), outputs=1),
    (MICROSOFT, "BiasSoftmax"): _facts(
        inputs=(2, 2), outputs=1, integer="axis is_inner_broadcast", required="is_inner_broadcast"
    ),
    (MICROSOFT, "DequantizeLinear"): _facts(inputs=(2, 3), outputs=1, integer="axis"),
    (MICROSOFT, "EmbedLayerNormalization"): _facts(
        inputs=(7, 9), outputs=3, may_lack=(1, 4), integer="mask_index_type", number="epsilon"
    ),
    (MICROSOFT, "FastGelu"): _facts(inputs=(1, 2), outputs=1),
    (MICROSOFT, "FusedConv"): _facts(
        inputs=(2, 4),
        outputs=1,
        integer="group",
        string="activation auto_pad",
        ints="dilations kernel_shape pads strides",
        floats="activation_params",
    ),
    (MICROSOFT, "FusedGemm"): _facts(
        inputs=(2, 3),
        outputs=1,
        integer="transA transB",
        number="activation_alpha activation_beta activation_gamma alpha beta",
        string="activation",
    ),
    (MICROSOFT, "FusedMatMul"): _facts(
        inputs=(2, 2), outputs=1, integer="transA transB transBatchA transBatchB", number="alpha"
    ),
    (MICROSOFT, "Gelu"): _facts(inputs=(1, 1), outputs=1),
    (MICROSOFT, "GroupQueryAttention"): _facts(
        inputs=(7, 17),
        outputs=4,
        may_lack=(1, 2, 3, 4),
        integer=(
            "causal do_rotary kv_cache_bit_width kv_num_heads local_window_size "
            "num_heads qk_output rotary_interleaved sliding_window_cache "
            "smooth_softmax"
        ),
        number="k_norm_epsilon q_norm_epsilon qk_norm_epsilon scale softcap",
        string="k_quant_type v_quant_type",
        required="kv_num_heads num_heads",
    ),
    ("", "LayerNormalization"): _facts(
        inputs=(2, 3), outputs=3, integer="axis stash_type", number="epsilon"
    ),
    (MICROSOFT, "MultiHeadAttention"): _facts(
        inputs=(1, 10),
        outputs=4,
        integer="num_heads unidirectional",
        number="mask_filter_value scale",
        required="num_heads",
    ),
    (MICROSOFT, "NhwcFusedConv"): _facts(
        inputs=(2, 4),
        outputs=1,
        integer="group",
        string="activation auto_pad",
        ints="dilations kernel_shape pads strides",
        floats="activation_params",
    ),
    (MICROSOFT, "QuantizeLinear"): _facts(inputs=(2, 3), outputs=1, integer="axis"),
    (MICROSOFT, "QuickGelu"): _facts(inputs=(1, 1), outputs=1, number="alpha"),
    (MICROSOFT, "RotaryEmbedding"): _facts(
        inputs=(4, 4),
        outputs=1,
        integer="interleaved is_packed_batching num_heads rotary_embedding_dim",
        number="scale",
    ),
    ("", "SimplifiedLayerNormalization"): _facts(
        inputs=(2, 2), outputs=2, integer="axis stash_type", number="epsilon"
    ),
    (MICROSOFT, "SkipLayerNormalization"): _facts(inputs=(3, 5), outputs=4, number="epsilon"),
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): _facts(
        inputs=(3, 4), outputs=4, number="epsilon"
    ),
    (MICROSOFT, "TransposeMatMul"): _facts(
        inputs=(2, 2), outputs=1, integer="transA transB", number="alpha"
    ),
}
