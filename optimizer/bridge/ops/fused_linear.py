"""Convolutions and matrix products of com.microsoft, which carry an activation or a transposition.

What Conv and Gemm need is in ``convolution`` and ``matmul``; only the ends differ.
"""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.ops.convolution import conv
from optimizer.bridge.ops.fused_activation import activate
from optimizer.bridge.ops.matmul import gemm
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.slots import MICROSOFT
from optimizer.bridge.values import Value


@operator("FusedConv", domain=MICROSOFT)
def fused_conv(call: Call) -> Value:
    """Conv, a tensor of the result's shape added to it, an activation."""
    result = conv(call)
    assert isinstance(result, Value)
    if call.has(3):
        result = call.write.emit(torch.add, result, call.tensor(3))
    name, parameters = call.attribute("activation", ""), call.attribute("activation_params", ())
    return activate(call, result, name, parameters)


@operator("NhwcFusedConv", domain=MICROSOFT)
def channels_last_conv(call: Call) -> Value:
    """The same on channels-last data; the weight has the usual layout."""
    rank = call.rank(0)
    first = (0, rank - 1, *range(1, rank - 1))
    inputs = list(call.inputs)
    for position in (0, 3):
        if call.has(position):
            inputs[position] = call.write.emit(torch.permute, call.tensor(position), first)
    inner = Call(call.node, call.opset, inputs, call.write, call.initializer)
    result = fused_conv(inner)
    return call.write.emit(torch.permute, result, (0, *range(2, rank), 1))


@operator("FusedGemm", domain=MICROSOFT)
def fused_gemm(call: Call) -> Value:
    """Gemm and an activation."""
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    given = [call.attribute(name) for name in names]
    parameters = [number for number in given if number is not None]
    name = call.attribute("activation", "")
    if name == "Selu":  # alpha and gamma here; beta is not one of its parameters
        parameters = [number for number in (given[0], given[2]) if number is not None]
    product = gemm(call)
    assert isinstance(product, Value)
    return activate(call, product, name, parameters)


@operator("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(call: Call) -> Value:
    """``alpha * A' @ B'``; the stored weight of a linear layer keeps torch's own kernel.

    1. transA, transB swap the last two axes; a vector stays as it is.
    2. transBatchA, transBatchB first move axis 0 to where the last but one is.
    """
    alpha = call.attribute("alpha", 1.0)
    a, turned_a = _operand(call, 0, "A")
    b, turned_b = _operand(call, 1, "B")
    if turned_a and call.rank(1) == 1:
        message = (
            "with transA and a vector on the right is not covered: ONNX Runtime ignores transA"
        )
        raise UnsupportedVariant(message)
    if turned_a:
        a = call.write.emit(torch.transpose, a, -2, -1)
    if turned_b and b.rank == 2:
        product = call.write.emit(functional.linear, a, b)
    else:
        b = call.write.emit(torch.transpose, b, -2, -1) if turned_b else b
        product = call.write.emit(torch.matmul, a, b)
    return product if alpha == 1.0 else call.write.emit(torch.mul, product, alpha)


def _operand(call: Call, position: int, letter: str) -> tuple[Value, bool]:
    """Return an operand after its batch axes were moved, and whether its matrices are turned."""
    x, rank = call.tensor(position), call.rank(position)
    if call.attribute(f"transBatch{letter}", 0):
        if rank < 3:
            message = f"with transBatch{letter} of a tensor of {rank} axes is not covered"
            raise UnsupportedVariant(message)
        x = call.write.emit(torch.permute, x, (*range(1, rank - 1), 0, rank - 1))
    return x, bool(call.attribute(f"trans{letter}", 0)) and rank > 1
