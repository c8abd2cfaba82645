"""Do the operands of a vertex fit together? Where they do not, no rule is asked.

Shape inference turns most misfits away by leaving the output unknown; here is what it lets pass
and a rule would trip over: weights of other ranks and lengths, constant indices out of range.
"""

from collections.abc import Callable, Mapping
from math import prod

from graph_analysis.trace_graph import TraceGraph, Vertex

Shape = tuple[int, ...]
# of fused operators, which no definition in the onnx package describes
_ATTRIBUTE_TYPES: Mapping[str, type] = {
    "activation": bytes,
    "activation_params": list,
    "alpha": float,
    "axis": int,
    "group": int,
    "kv_num_heads": int,
    "num_heads": int,
    "qkv_hidden_sizes": list,
    "transA": int,
    "transB": int,
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def misfit(graph: TraceGraph, vertex: Vertex) -> bool:
    """Whether the operands cannot be what the operator takes; all shapes must be known."""
    if not vertex.is_standard and not _attributes_are_typed(vertex):
        return True
    check = _CHECKS.get(vertex.op_type)
    return check is not None and bool(vertex.inputs) and not check(graph, vertex)


def _attributes_are_typed(vertex: Vertex) -> bool:
    return all(
        isinstance(value, _ATTRIBUTE_TYPES.get(name, object))
        for name, value in vertex.attributes.items()
    )


def _shape(graph: TraceGraph, vertex: Vertex, slot: int) -> Shape | None:
    """Of an input, None where it is left out."""
    if slot >= len(vertex.inputs) or not vertex.inputs[slot]:
        return None
    return graph.shape(vertex.inputs[slot])


def _conv(graph: TraceGraph, vertex: Vertex) -> bool:
    x, weight, bias = (_shape(graph, vertex, slot) for slot in range(3))
    groups = vertex.attributes.get("group", 1)
    if x is None or weight is None or len(x) != len(weight) or len(x) < 3 or groups < 1:
        return False
    if vertex.op_type == "ConvTranspose":
        channels, into, fits = weight[1] * groups, weight[0], weight[0] % groups == 0
    else:
        channels, into, fits = weight[0], weight[1] * groups, weight[0] % groups == 0
    return fits and x[1] == into and bias in (None, (channels,))


def _gemm(graph: TraceGraph, vertex: Vertex) -> bool:
    a, b, bias = (_shape(graph, vertex, slot) for slot in range(3))
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return False
    inner = a[0] if vertex.attributes.get("transA") else a[1]
    if inner != (b[1] if vertex.attributes.get("transB") else b[0]):
        return False
    return bias is None or _broadcasts(bias, graph.shape(vertex.outputs[0]) or ())


def _qgemm(graph: TraceGraph, vertex: Vertex) -> bool:
    """QGemm (com.microsoft): two matrices, of integers."""
    a, b = _shape(graph, vertex, 0), _shape(graph, vertex, 3)
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return False
    inner = a[0] if vertex.attributes.get("transA") else a[1]
    return bool(inner == (b[1] if vertex.attributes.get("transB") else b[0]))


def _broadcasts(small: Shape, large: Shape) -> bool:
    """Whether ``small`` stretches to ``large``."""
    tail = large[len(large) - len(small) :]
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small, tail, strict=True))


def _channel_vectors(graph: TraceGraph, vertex: Vertex) -> bool:
    """BatchNormalization, InstanceNormalization: one number for each channel."""
    x = _shape(graph, vertex, 0)
    given = [_shape(graph, vertex, slot) for slot in range(1, len(vertex.inputs))]
    return x is not None and len(x) >= 2 and all(shape == (x[1],) for shape in given)


def _last_axes(graph: TraceGraph, vertex: Vertex) -> bool:
    """LayerNormalization, RMSNormalization: scale and bias stretch to the normalised axes."""
    x = _shape(graph, vertex, 0)
    if not x:
        return False
    given = [_shape(graph, vertex, slot) for slot in range(1, len(vertex.inputs))]
    axis = vertex.attributes.get("axis", -1)
    return -len(x) <= axis < len(x) and all(s is None or _broadcasts(s, x) for s in given)


def _to_the_first(graph: TraceGraph, vertex: Vertex) -> bool:
    """PRelu: the others stretch to the first."""
    x, slope = _shape(graph, vertex, 0), _shape(graph, vertex, 1)
    return x is not None and slope is not None and _broadcasts(slope, x)


def _recurrent(graph: TraceGraph, vertex: Vertex) -> bool:
    x, weight, again, bias = (_shape(graph, vertex, slot) for slot in range(4))
    if x is None or weight is None or again is None or {len(x), len(weight), len(again)} != {3}:
        return False
    rows, hidden = weight[1], again[2]
    directions = 2 if vertex.attributes.get("direction") == b"bidirectional" else 1
    if rows != _GATES[vertex.op_type] * hidden or x[2] != weight[2]:
        return False
    fits = weight[0] == directions and again == (directions, rows, hidden)
    states = [_shape(graph, vertex, slot) for slot in (5, 6)]
    fits = fits and all(state is None or len(state) == 3 for state in states)
    return fits and bias in (None, (directions, 2 * rows))


def _gather(graph: TraceGraph, vertex: Vertex) -> bool:
    x = _shape(graph, vertex, 0)
    axis = vertex.attributes.get("axis", 0)
    if not x or not -len(x) <= axis < len(x):
        return False
    indices = graph.constant(vertex.inputs[1])
    length = x[axis]
    return indices is None or bool(((indices >= -length) & (indices < length)).all())


def _slice(graph: TraceGraph, vertex: Vertex) -> bool:
    x = _shape(graph, vertex, 0)
    given = [_shape(graph, vertex, slot) for slot in range(1, 5)]
    if x is None or len({shape for shape in given if shape is not None}) > 1:
        return False
    steps = graph.constant(vertex.inputs[4]) if given[3] is not None else None
    if steps is not None and not steps.all():
        return False
    axes = graph.constant(vertex.inputs[3]) if given[2] is not None else None
    return axes is None or bool(((axes >= -len(x)) & (axes < len(x))).all())


def _same_elements(graph: TraceGraph, vertex: Vertex) -> bool:
    x = _shape(graph, vertex, 0)
    return x is not None and 0 < prod(x) == prod(graph.shape(vertex.outputs[0]) or ())


def _matmul(graph: TraceGraph, vertex: Vertex) -> bool:
    return all(_shape(graph, vertex, slot) for slot in (0, 1))


def _norm_groups(graph: TraceGraph, vertex: Vertex) -> bool:
    x, groups = _shape(graph, vertex, 0), vertex.attributes.get("num_groups", 0)
    given = [_shape(graph, vertex, slot) for slot in (1, 2)]
    if x is None or len(x) < 2 or groups < 1 or x[1] % groups:
        return False
    return all(shape in ((groups,), (x[1],)) for shape in given)


def _axis_exists(graph: TraceGraph, vertex: Vertex) -> bool:
    x = _shape(graph, vertex, 0)
    return x is not None and -len(x) <= vertex.attributes.get("axis", -1) < len(x)


def _vectors_along_the_last(graph: TraceGraph, vertex: Vertex) -> bool:
    """SkipLayerNormalization and its kin."""
    x = _shape(graph, vertex, 0)
    given = [_shape(graph, vertex, slot) for slot in range(1, len(vertex.inputs))]
    return x is not None and all(shape is None or _is_tail(shape, x) for shape in given)


def _is_tail(shape: Shape, x: Shape) -> bool:
    return bool(shape) and bool(x) and shape[-1] == x[-1] and _broadcasts(shape, x)


def _depth(graph: TraceGraph, vertex: Vertex) -> bool:
    x, size = _shape(graph, vertex, 0), int(vertex.attributes.get("blocksize", 0))
    if x is None or len(x) != 4 or size < 1:
        return False
    if vertex.op_type == "DepthToSpace":
        return x[1] % (size * size) == 0
    return x[2] % size == 0 and x[3] % size == 0


def _same_rank(graph: TraceGraph, vertex: Vertex) -> bool:
    """Tile, Pad, Expand: outputs are no smaller, and Tile and Pad keep the rank."""
    x, out = _shape(graph, vertex, 0), graph.shape(vertex.outputs[0])
    if x is None or out is None:
        return False
    return len(x) == len(out) or (vertex.op_type == "Expand" and len(x) < len(out))


def _attention(graph: TraceGraph, vertex: Vertex) -> bool:
    """Operators with heads: their numbers are positive and divide the widths."""
    if vertex.is_standard:
        return True  # the standard's own inference has seen to it
    heads = vertex.attributes.get("num_heads", 0)
    shared = vertex.attributes.get("kv_num_heads", heads)
    if not isinstance(heads, int) or not isinstance(shared, int) or min(heads, shared) < 1:
        return False
    given = [_shape(graph, vertex, slot) for slot in range(3)]
    x = given[0]
    if x is None or len(x) not in (3, 5) or heads % shared:
        return False
    if vertex.op_type == "Attention":
        return _packed_projection(vertex, heads, given)
    if vertex.op_type == "GroupQueryAttention" and given[1] is None:
        return len(x) == 3 and x[2] % (heads + 2 * shared) == 0
    counts = (heads, shared, shared)
    return all(
        shape is None or len(shape) not in (3,) or shape[2] % count == 0
        for shape, count in zip(given, counts, strict=True)
    )


def _packed_projection(vertex: Vertex, heads: int, given: list[Shape | None]) -> bool:
    x, weight, bias = given
    if x is None or weight is None or len(x) != 3 or len(weight) != 2 or x[2] != weight[0]:
        return False
    sizes = vertex.attributes.get("qkv_hidden_sizes") or [weight[1] // 3] * 3
    fits = len(sizes) == 3 and sum(sizes) == weight[1] and all(s % heads == 0 for s in sizes)
    return fits and bias in (None, (weight[1],))


def _scaled(graph: TraceGraph, vertex: Vertex) -> bool:
    """QuantizeLinear, DequantizeLinear: several scales are as many as an axis has positions."""
    x, scale = _shape(graph, vertex, 0), _shape(graph, vertex, 1)
    axis = vertex.attributes.get("axis", 1)
    if x is None or scale is None or len(scale) != 1 or scale[0] <= 1:
        return x is not None and scale is not None
    return bool(-len(x) <= axis < len(x) and scale[0] == x[axis])


def _rotary(graph: TraceGraph, vertex: Vertex) -> bool:
    x, angles = _shape(graph, vertex, 0), _shape(graph, vertex, 1 if vertex.is_standard else 2)
    return x is not None and len(x) in (3, 4) and bool(angles) and 0 not in (angles or ())


def _channels(graph: TraceGraph, vertex: Vertex) -> bool:
    x = _shape(graph, vertex, 0)
    return x is not None and len(x) >= 2


_CHECKS: Mapping[str, Callable[[TraceGraph, Vertex], bool]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv"), _conv),
    **dict.fromkeys(("Gemm", "FusedGemm"), _gemm),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _channel_vectors),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), _last_axes
    ),
    **dict.fromkeys(_GATES, _recurrent),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _same_elements),
    **dict.fromkeys(
        ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool"), _channels
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"), _axis_exists),
    **dict.fromkeys(
        ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _vectors_along_the_last
    ),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _depth),
    **dict.fromkeys(("Tile", "Pad", "Expand"), _same_rank),
    **dict.fromkeys(("Attention", "GroupQueryAttention", "MultiHeadAttention"), _attention),
    **dict.fromkeys(("MatMul", "FusedMatMul"), _matmul),
    "Gather": _gather,
    "GroupNormalization": _norm_groups,
    "PRelu": _to_the_first,
    "QGemm": _qgemm,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _scaled),
    "RotaryEmbedding": _rotary,
    "Slice": _slice,
}
