"""Operators that ONNX Runtime's optimisers fuse (com.microsoft): the rules of their parts."""

from graph_analysis.labels import Axes, Labelling
from graph_analysis.rules import attention
from graph_analysis.rules.contraction import conv, gemm, matmul
from graph_analysis.rules.elementwise import broadcast, unary
from graph_analysis.trace_graph import Vertex


def fused_conv(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """FusedConv: Conv, a tensor of the output's shape added to it, an activation."""
    out = conv(labelling, vertex)
    if len(vertex.inputs) > 3 and vertex.inputs[3]:
        out = [_added(labelling, vertex, out[0], vertex.inputs[3])]
    return out


def fused_matmul(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """FusedMatMul: MatMul of operands that may be transposed, times a constant."""
    if vertex.attributes.get("transBatchA") or vertex.attributes.get("transBatchB"):
        for name in vertex.inputs:
            labelling.freeze_all(name, f"{vertex.name!r} moves a batch axis")
        return [[None] * len(labelling.graph.shape(vertex.outputs[0]) or ())]
    turned = [bool(vertex.attributes.get(name)) for name in ("transA", "transB")]
    return matmul(labelling, vertex, turned)


def biased(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """BiasGelu, FastGelu: a bias along the last axis, then an activation."""
    operands = [
        (labelling.of(name), labelling.graph.shape(name) or ()) for name in vertex.inputs if name
    ]
    return [broadcast(labelling, operands, f"{vertex.name!r} combines it with a fixed tensor")]


def skip_layer_norm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """SkipLayerNormalization and its kin: a residual Add, then the last axis is normalised.

    Outputs are the normalised sum, two statistics, and the sum itself.
    """
    simplified = vertex.op_type.startswith("SkipSimplified")
    added = [0, 1, 3 if simplified else 4]
    names = [vertex.inputs[slot] for slot in added if slot < len(vertex.inputs)]
    operands = [(labelling.of(name), labelling.graph.shape(name) or ()) for name in names if name]
    total = broadcast(labelling, operands, f"{vertex.name!r} adds it to a fixed tensor")
    for name in vertex.inputs[2:]:
        if name and name not in names:
            reason = f"{vertex.name!r}: what it normalises over stays"
            labelling.tie(labelling.of(name)[-1], total[-1], reason)
    last = len(labelling.of(vertex.inputs[0])) - 1
    labelling.mask(vertex, last, f"{vertex.name!r} normalises over it")
    statistics: Axes = [*total[:-1], None]
    outputs: list[Axes] = [list(total), statistics, list(statistics), list(total)]
    return outputs[: len(vertex.outputs)]


def embed_layer_norm(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """EmbedLayerNormalization: tables picked by ids, summed, normalised; their rows stay."""
    tables = [name for name in vertex.inputs[2:5] if name]
    for name in tables:
        labelling.freeze(labelling.of(name)[0], f"{vertex.name!r} picks by data")
    width = labelling.of(tables[0])[1]
    for name in (*tables[1:], *vertex.inputs[5:7]):
        if name:
            reason = f"{vertex.name!r}: what it normalises over stays"
            labelling.tie(labelling.of(name)[-1], width, reason)
    labelling.mask(vertex, 1, f"{vertex.name!r} normalises over it", tables[0])
    labelled = [labelling.of(name)[-1] for name in (*tables, *vertex.inputs[5:7]) if name]
    out = None if any(axis is None for axis in labelled) else width
    outputs: list[Axes] = [[None, None, out], [None], [None, None, out]]
    return outputs[: len(vertex.outputs)]


def _added(labelling: Labelling, vertex: Vertex, out: Axes, name: str) -> Axes:
    shape = labelling.graph.shape(name) or ()
    operands = [(out, shape), (labelling.of(name), shape)]
    return broadcast(labelling, operands, f"{vertex.name!r} combines it with a fixed tensor")


RULES = {
    **attention.MICROSOFT,
    "BiasGelu": biased,
    "EmbedLayerNormalization": embed_layer_norm,
    "FastGelu": biased,
    "FusedConv": fused_conv,
    "FusedGemm": gemm,
    "FusedMatMul": fused_matmul,
    "Gelu": unary,
    "QuickGelu": unary,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_layer_norm,
}
