"""Matrix products."""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("MatMul")
def matmul(call: Call) -> Value:
    """Matrix product with NumPy's rules for vectors and stacks."""
    return call.write.emit(torch.matmul, call.tensor(0), call.tensor(1))


@operator("Gemm")
def gemm(call: Call) -> Value:
    """``alpha * A' @ B' + beta * C``; with a transposed weight it is torch's linear layer."""
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    transposed = bool(call.attribute("transB", 0))
    a, b, c = call.tensor(0), call.tensor(1), call.optional(2)
    if call.attribute("transA", 0):
        a = call.write.emit(torch.t, a)
    sizes = c.shape() if c is not None else ()
    if (
        transposed
        and alpha == beta == 1.0
        and (c is None or (sizes is not None and len(sizes) == 1))
    ):
        return call.write.emit(functional.linear, a, b, c)
    if transposed:
        b = call.write.emit(torch.t, b)
    if c is not None:
        return call.write.emit(torch.addmm, c, a, b, beta=beta, alpha=alpha)
    product = call.write.emit(torch.matmul, a, b)
    return product if alpha == 1.0 else call.write.emit(torch.mul, product, alpha)


@operator("Einsum")
def einsum(call: Call) -> Value:
    """Sum of products by Einstein's notation."""
    equation = call.attribute("equation").replace(" ", "")
    return call.write.emit(torch.einsum, equation, *call.tensors())
