"""Makes a batch size free that an exporter baked into constants.

Row-major order keeps the batch recognisable: if it is the outermost factor of axis ``j`` of the
input, it is the outermost factor of that axis of the output before which as many elements lie.
"""

import math

Sizes = tuple[int, ...]


def relax_target(first: Sizes, second: Sizes, target: Sizes) -> Sizes:
    """Return a Reshape target that fits at both batch sizes.

    1. Nothing to do if the input's shape does not depend on the batch, or in more than one axis.
    2. -1 is settled from the first binding: it would swallow the batch where that does not belong.
    3. The axis before which as many elements lie as before the batch becomes -1; of several (the
       others have size 1) the outermost. Without such an axis the target stays.

    Args:
        first: Input shape at the batch that the target was written for.
        second: Input shape at another batch.
        target: Reshape target without zeros, at most one -1.

    Example:
        >>> relax_target((1, 32, 64), (3, 32, 64), (1, 32, -1, 16))
        (-1, 32, 4, 16)
        >>> relax_target((9, 49, 96), (27, 49, 96), (1, 3, 3, 7, 7, 96))
        (-1, 3, 3, 7, 7, 96)
    """
    if len(first) != len(second) or math.prod(first) == 0:
        return target
    varying = [axis for axis, size in enumerate(first) if size != second[axis]]
    if len(varying) != 1:
        return target
    known = math.prod(size for size in target if size != -1)
    if known == 0 or math.prod(first) % known:
        return target
    missing = math.prod(first) // known
    settled = tuple(missing if size == -1 else size for size in target)
    if math.prod(settled) != math.prod(first):
        return target
    (batch_axis,) = varying
    before = math.prod(first[:batch_axis])
    for axis in range(len(settled)):
        grown = settled[axis] * second[batch_axis]
        if math.prod(settled[:axis]) == before and grown % first[batch_axis] == 0:
            return (*settled[:axis], -1, *settled[axis + 1 :])
    return target


def differ_only_in_stale_batch(shapes: list[Sizes], axis: int) -> bool:
    """Whether tensors could be joined along ``axis`` if their size-1 axes were expanded."""
    for position in range(len(shapes[0])):
        sizes = {shape[position] for shape in shapes}
        if position != axis and len(sizes - {1}) > 1:
            return False
    return True
