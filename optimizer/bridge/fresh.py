"""New weights for a network that is trained from scratch: what each initializer starts with.

Decided by the operators that read it, as ``roles`` decides what trains. What no rule knows keeps
the values of the file: a table that steers a recurrence, say, is no noise.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import onnx
import torch

from optimizer.bridge.control_roles import is_control, sources
from optimizer.bridge.slots import MICROSOFT

_EMBEDDING = 0.02  # standard deviation, of tokens and positions (Devlin et al., 2018)
_PRELU = 0.25  # slope (He et al., 2015)
_RECURRENT = ("RNN", "GRU", "LSTM")


@dataclass(frozen=True)
class Fresh:
    """What a tensor is filled with.

    Attributes:
        kind: ``constant`` is ``value`` everywhere, ``normal`` has it as standard deviation,
            ``uniform`` as bound on both sides.
        value: See ``kind``.
    """

    kind: Literal["constant", "normal", "uniform"]
    value: float


ZEROS, ONES = Fresh("constant", 0.0), Fresh("constant", 1.0)
_Shape = tuple[int, ...]


def fresh_weights(graph: onnx.GraphProto, trained: Collection[str]) -> Mapping[str, Fresh]:
    """Return what the ``trained`` initializers of ``graph`` and running statistics start with.

    1. Convolutions and products: normal with deviation ``gain / sqrt(fan in)``, gain sqrt(2) for
       convolutions and in front of an activation that halves its input, else 1 (He et al., 2015).
    2. Normalisations: scale 1, shift 0; running mean 0, variance 1. Biases: 0.
    3. Embeddings, and matrices that are added or joined (positions, tokens): normal, 0.02.
    4. Recurrent operators: uniform within 1 / sqrt(hidden), biases too, as torch has them; initial
       states 0.
    5. Factors: 1. Slopes of a PRelu: 0.25.
    6. A weight is followed through data movement, and through arithmetic among constants (weight
       standardisation); behind anything else it is not in the answer. Of several uses an embedding
       comes first, then the weight of a layer, then an operand.

    Args:
        graph: As in ``roles.trainable_initializers``.
        trained: Names of the initializers that become parameters.
    """
    search = _Search(graph)
    found = {}
    for proto in graph.initializer:
        if proto.name in trained or proto.name in search.statistics:
            uses = sorted(search.uses(proto.name, tuple(proto.dims)), key=lambda use: use[0])
            if uses:
                found[proto.name] = uses[0][1]
    return found


@torch.no_grad()
def redraw(
    tensors: Mapping[str, torch.Tensor], fresh: Mapping[str, Fresh], *, seed: int
) -> tuple[str, ...]:
    """Fill ``tensors`` in place; the same numbers for one seed on every device.

    Args:
        tensors: Initializer name to live tensor.
        fresh: What they are filled with; others stay.
        seed: Of the draws.

    Returns:
        Names of the parameters that stay as they are, sorted.
    """
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(tensors.keys() & fresh.keys()):
        target, rule = tensors[name], fresh[name]
        drawn = torch.empty(target.shape, dtype=torch.float32)
        if rule.kind == "normal":
            drawn.normal_(0.0, rule.value, generator=generator)
        elif rule.kind == "uniform":
            drawn.uniform_(-rule.value, rule.value, generator=generator)
        else:
            drawn.fill_(rule.value)
        target.copy_(drawn)
    kept = tensors.keys() - fresh.keys()
    return tuple(sorted(name for name in kept if tensors[name].requires_grad))


_EMBEDDED, _LAYER, _OPERAND = range(3)  # what counts more comes first
_Use = tuple[int, Fresh]

_MOVES = frozenset(("Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Reshape", "Slice"))
_MOVES |= {"Split", "Expand", "Tile", "Pad", "QuantizeLinear", "DequantizeLinear"}
_JOINING = frozenset(("Add", "Sub", "Mul", "Div", "Sum", "Concat"))
_HALVING = frozenset(
    ("Relu", "LeakyRelu", "PRelu", "Clip", "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "Erf")
)
_HALVING |= {"HardSwish", "Swish", "Elu", "Selu", "Mish", "Softplus", "ThresholdedRelu"}
_BETWEEN = _MOVES | {"Add", "Transpose", "BatchNormalization", "LayerNormalization", "Sum", "Div"}
_REACH = 4  # operators between a product and its activation


class _Search:
    """The uses of an initializer, found by going forwards.

    Attributes:
        statistics: Names of running statistics.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        constant = {proto.name for proto in graph.initializer}
        self.statistics: set[str] = set()
        for node in graph.node:
            for name in set(filter(None, node.input)):
                self._readers.setdefault(name, []).append(node)
            if all(name in constant for name in node.input if name) and any(node.input):
                constant.update(node.output)
            if node.op_type == "BatchNormalization" and len(node.input) > 4:
                self.statistics.update(node.input[3:5])
        self._constant = constant

    def uses(self, name: str, shape: _Shape) -> Iterator[_Use]:
        """What the readers of ``name`` say it should start with."""
        pending, seen = [(name, shape)], {name}
        while pending:
            here, shape = pending.pop()
            for node in self._readers.get(here, ()):
                yield from self._of(node, here, shape)
                for made, moved in self._moved(node, here, shape):
                    if made not in seen:
                        seen.add(made)
                        pending.append((made, moved))

    def _moved(
        self, node: onnx.NodeProto, name: str, shape: _Shape
    ) -> Iterator[tuple[str, _Shape]]:
        if is_control(node):
            yield from ((made, shape) for made, given in sources(node).items() if name in given)
        elif node.op_type == "Transpose":
            order = _attribute(node, "perm", list(range(len(shape)))[::-1])
            known = len(order) == len(shape)  # not behind a Reshape, which is not followed
            yield node.output[0], tuple(shape[axis] for axis in order) if known else shape
        elif node.op_type in _MOVES and node.input[0] == name:
            yield from ((made, shape) for made in node.output)
        elif node.op_type in _JOINING and node.output[0] in self._constant:
            yield node.output[0], shape

    def _of(self, node: onnx.NodeProto, name: str, shape: _Shape) -> Iterator[_Use]:
        if node.op_type in _JOINING:
            if node.output[0] not in self._constant:
                yield _OPERAND, _operand(node, shape)
            return
        rules = _MICROSOFT if node.domain == MICROSOFT else _STANDARD
        rule = rules.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx", MICROSOFT):
            return
        for slot in (at for at, given in enumerate(node.input) if given == name):
            fresh = rule(node, slot, shape, self._is_halved)
            if fresh is not None:
                yield (_EMBEDDED if node.op_type == "Gather" else _LAYER), fresh

    def _is_halved(self, node: onnx.NodeProto) -> bool:
        """Whether an activation that halves its input comes soon behind ``node``."""
        here = {node.output[0]}
        for _ in range(_REACH):
            readers = [reader for name in here for reader in self._readers.get(name, ())]
            if any(reader.op_type in _HALVING for reader in readers):
                return True
            here = {one.output[0] for one in readers if one.op_type in _BETWEEN and one.output}
        return False


_IsHalved = Callable[[onnx.NodeProto], bool]
_Rule = Callable[[onnx.NodeProto, int, _Shape, _IsHalved], Fresh | None]


def _operand(node: onnx.NodeProto, shape: _Shape) -> Fresh:
    if node.op_type in ("Mul", "Div"):
        return ONES
    is_vector = sum(length > 1 for length in shape) <= 1 and node.op_type != "Concat"
    return ZEROS if is_vector else Fresh("normal", _EMBEDDING)


def _scaled(fan_in: float, *, is_halved: bool) -> Fresh:
    gain = math.sqrt(2.0) if is_halved else 1.0
    return Fresh("normal", gain / math.sqrt(max(1.0, fan_in)))


def _convolution(_: onnx.NodeProto, slot: int, shape: _Shape, __: _IsHalved) -> Fresh | None:
    if slot != 1:
        return ZEROS if slot > 1 else None
    return _scaled(math.prod(shape[1:]), is_halved=True)


def _transposed(node: onnx.NodeProto, slot: int, shape: _Shape, _: _IsHalved) -> Fresh | None:
    """Each output sums over the inputs of its group, and over a stride-th of the kernel."""
    if slot != 1:
        return ZEROS if slot > 1 else None
    strides = math.prod(_attribute(node, "strides", [1]))
    groups = _attribute(node, "group", 1)
    return _scaled(shape[0] / groups * math.prod(shape[2:]) / strides, is_halved=True)


def _product(node: onnx.NodeProto, slot: int, shape: _Shape, halved: _IsHalved) -> Fresh | None:
    if slot > 1 or not shape:
        return ZEROS if slot > 1 else None
    turned = bool(_attribute(node, "transB" if slot else "transA", 0))
    axis = (-2 if slot else -1) if not turned else (-1 if slot else -2)
    fan_in = shape[axis] if len(shape) > 1 else shape[0]
    return _scaled(fan_in, is_halved=halved(node))


def _einsum(node: onnx.NodeProto, slot: int, shape: _Shape, halved: _IsHalved) -> Fresh | None:
    equation = _attribute(node, "equation", b"").decode().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    term = terms.split(",")[slot]
    if not arrow or len(term) != len(shape) or "." in term:
        return None
    summed = [length for letter, length in zip(term, shape, strict=True) if letter not in result]
    return _scaled(math.prod(summed), is_halved=halved(node))


def _recurrent(node: onnx.NodeProto, slot: int, _: _Shape, __: _IsHalved) -> Fresh | None:
    if slot in (1, 2, 3, 7):
        return Fresh("uniform", 1 / math.sqrt(max(1, _attribute(node, "hidden_size", 1))))
    return ZEROS if slot in (5, 6) else None


def _by_slot(**slots: Fresh) -> _Rule:
    known = {int(name.removeprefix("slot")): fresh for name, fresh in slots.items()}
    return lambda node, slot, shape, halved: known.get(slot)  # noqa: ARG005 - the shape of a rule


def _attention(_: onnx.NodeProto, slot: int, shape: _Shape, __: _IsHalved) -> Fresh | None:
    if slot == 1:
        return _scaled(shape[0], is_halved=False)
    return ZEROS if slot == 2 else None


_NOISE = Fresh("normal", _EMBEDDING)
_SCALE_AND_SHIFT = _by_slot(slot1=ONES, slot2=ZEROS)
_STANDARD: Mapping[str, _Rule] = {
    **dict.fromkeys(("Conv", "DeformConv", "CausalConvWithState"), _convolution),
    **dict.fromkeys(_RECURRENT, _recurrent),
    "ConvTranspose": _transposed,
    "Gemm": _product,
    "MatMul": _product,
    "Einsum": _einsum,
    "BatchNormalization": _by_slot(slot1=ONES, slot2=ZEROS, slot3=ZEROS, slot4=ONES),
    "InstanceNormalization": _SCALE_AND_SHIFT,
    "GroupNormalization": _SCALE_AND_SHIFT,
    "LayerNormalization": _SCALE_AND_SHIFT,
    "RMSNormalization": _SCALE_AND_SHIFT,
    "SimplifiedLayerNormalization": _SCALE_AND_SHIFT,
    "PRelu": _by_slot(slot1=Fresh("constant", _PRELU)),
    "Gather": _by_slot(slot0=_NOISE),
}
_MICROSOFT: Mapping[str, _Rule] = {
    **dict.fromkeys(("FusedConv", "NhwcFusedConv"), _convolution),
    **dict.fromkeys(("FusedGemm", "FusedMatMul", "TransposeMatMul"), _product),
    **dict.fromkeys(("BiasGelu", "FastGelu", "BiasSoftmax"), _by_slot(slot1=ZEROS)),
    "Attention": _attention,
    "MultiHeadAttention": _by_slot(slot3=ZEROS),
    "EmbedLayerNormalization": _by_slot(
        slot2=_NOISE, slot3=_NOISE, slot4=_NOISE, slot5=ONES, slot6=ZEROS
    ),
    "SkipLayerNormalization": _by_slot(slot2=ONES, slot3=ZEROS, slot4=ZEROS),
    "SkipSimplifiedLayerNormalization": _by_slot(slot2=ONES, slot3=ZEROS),
}


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = next((one for one in node.attribute if one.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)
