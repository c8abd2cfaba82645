"""MaxUnpool: maxima put back where they were found."""

import math

from torch import Tensor

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, join
from optimizer.bridge.ops.windows import Sizes, kernel_of, window_of
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value


@operator("MaxUnpool", since=9)
def max_unpool(call: Call) -> Value:
    """Put maxima at their positions in an image of zeros, whose size may be an input."""
    window = window_of(call, kernel_of(call))
    geometry = (window.kernel, window.stride, window.begin, window.end)
    shape = call.numbers(2) if call.has(2) else None
    return call.write.emit(unpooled, call.tensor(0), call.tensor(1), shape, geometry)


def unpooled(
    x: Tensor,
    index: Tensor,
    shape: HostValue | None,
    geometry: tuple[Sizes, Sizes, Sizes, Sizes],
) -> Tensor:
    """Return the image; ``index`` counts in the flattened image of the size that pooling had.

    Args:
        x: ``(N, C, *spatial)``.
        index: The same shape.
        shape: Sizes of the result, ``x``'s first two among them; default: what pooling needs.
        geometry: kernel, strides, pads before and after.
    """
    sizes = tuple(
        (size - 1) * stride - before - after + kernel
        for size, kernel, stride, before, after in zip(x.shape[2:], *geometry, strict=True)
    )
    whole = (*x.shape[:2], *sizes)
    flat = x.new_zeros(math.prod(whole))
    image = flat.index_put((index.reshape(-1),), x.reshape(-1)).reshape(whole)
    if shape is None:
        return image
    wanted = (*x.shape[:2], *(int(size) for size in join(shape)[2:]))
    corner = tuple(slice(0, min(*pair)) for pair in zip(whole, wanted, strict=True))
    result = x.new_zeros(wanted)
    result[corner] = image[corner]
    return result
