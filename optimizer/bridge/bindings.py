"""Two concrete bindings of a graph's free axes, at which the importer probes every value.

1. Axis 0 of the inputs is the batch. Named, it is 2 and 7; fixed at N in the file it is N and 3 N,
   because exporters bake the batch in without meaning it.
2. Every other named axis gets sizes of its own, multiples of 32 for the spatial axes of an image
   (a U-Net halves them five times), small ones for sequences.
3. An input without a shape has no probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

_BATCH = (2, 7)  # halves, thirds and comparisons with 1 differ


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Shapes of one graph input at the two bindings, ``None`` if the file gives no rank."""

    name: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None


@dataclass(frozen=True, kw_only=True)
class Bindings:
    """Bindings of all inputs.

    Attributes:
        inputs: In graph order.
        batch: The batch size that the file fixes and the second binding changes, if any.
    """

    inputs: tuple[Binding, ...]
    batch: int | None

    @property
    def relaxes_batch(self) -> bool:
        """Whether the file fixes the batch and the second binding changes it."""
        return self.batch is not None


def choose_bindings(inputs: Sequence[onnx.ValueInfoProto], *, free_batch: bool = True) -> Bindings:
    """Choose the sizes of all free axes of ``inputs``.

    Args:
        inputs: Graph inputs that are not initializers.
        free_batch: Whether a batch that the file fixes may vary.
    """
    fixed = _fixed_batch(inputs) if free_batch else None
    sizes: dict[str, tuple[int, int]] = {}
    bindings = []
    for info in inputs:
        tensor = info.type.tensor_type
        if not tensor.HasField("shape"):
            bindings.append(Binding(name=info.name, shapes=None))
            continue
        dims = list(tensor.shape.dim)
        pairs = [_pair(info.name, axis, dims, sizes, fixed) for axis in range(len(dims))]
        shapes = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
        bindings.append(Binding(name=info.name, shapes=shapes))
    return Bindings(inputs=tuple(bindings), batch=fixed)


def _fixed_batch(inputs: Sequence[onnx.ValueInfoProto]) -> int | None:
    for info in inputs:
        dims = info.type.tensor_type.shape.dim
        if dims:
            return dims[0].dim_value if dims[0].HasField("dim_value") else None
    return None


def _pair(
    name: str,
    axis: int,
    dims: Sequence[onnx.TensorShapeProto.Dimension],
    sizes: dict[str, tuple[int, int]],
    fixed_batch: int | None,
) -> tuple[int, int]:
    dim = dims[axis]
    if dim.HasField("dim_value"):
        size = dim.dim_value
        return (size, 3 * size) if axis == 0 and size == fixed_batch else (size, size)
    key = dim.dim_param or f"{name}:{axis}"
    if key not in sizes:
        step = 32 * len(sizes)
        spatial = (128 + step, 224 + step) if len(dims) > 3 else (16 + step // 4, 24 + step // 4)
        sizes[key] = _BATCH if axis == 0 else spatial
    return sizes[key]
