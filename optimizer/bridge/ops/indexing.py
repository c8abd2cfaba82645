"""Reading and writing at positions: Gather and Scatter in all their forms, NonZero, OneHot."""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue
from optimizer.bridge.registry import on_host, operator
from optimizer.bridge.values import Value


@operator("Gather")
def gather(call: Call) -> Value:
    """Pick slices along an axis.

    1. A constant scalar picks one slice, which is a view.
    2. Constant positions are made non-negative at import.
    3. Rows of a matrix are an embedding, which has the faster gradient.
    4. Constant positions along an axis that grows with a baked-in batch of one name elements of
       sample 0; with a leading axis of size 1 they are meant for every sample.
    """
    axis = call.attribute("axis", 0)
    x, index = call.tensor(0), call.value(1)
    if index.constant is not None and call.write.grows(x, axis):
        share, rows = x.shape(), index.constant
        if share is not None and axis == 0 and rows.dim() > 1 and len(rows) == 1:
            return call.write.emit(select_in_each_sample, x, call.tensor(1), share[0])
        call.write.binds_batch = True
    if index.constant is not None and index.constant.dim() == 0:
        return call.write.emit(torch.select, x, axis, call.fixed(1))
    positions = _positions(call, index, x, axis)
    if axis == 0 and x.rank == 2 and x.constant is None:
        return call.write.emit(functional.embedding, positions, x)
    if positions.rank == 1:
        return call.write.emit(torch.index_select, x, axis, positions)
    return call.write.emit(select, x, positions, axis)


def _positions(call: Call, index: Value, x: Value, axis: int) -> Value:
    index = call.write.tensor(index)
    if (
        index.constant is not None
        and int(index.constant.min() if index.constant.numel() else 0) >= 0
    ):
        return index
    return call.write.emit(non_negative, index, x, axis)


def non_negative(index: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    """Count negative positions from the end of ``axis`` of ``x``."""
    index = index.to(torch.int64)
    return torch.where(index < 0, index + x.shape[axis], index)


def select(x: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
    """Pick slices along ``axis``; the axes of ``index`` take its place."""
    axis = axis % x.dim()
    picked = x.index_select(axis, index.reshape(-1))
    return picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def select_in_each_sample(x: torch.Tensor, index: torch.Tensor, share: int) -> torch.Tensor:
    """Pick slices from every run of ``share`` along axis 0; ``index`` has one row."""
    samples = x.reshape(-1, share, *x.shape[1:])
    return select(samples, index[0], 1)


@operator("GatherElements")
def gather_elements(call: Call) -> Value:
    """Pick element by element along an axis."""
    axis = call.attribute("axis", 0)
    x = call.tensor(0)
    positions = _positions(call, call.value(1), x, axis)
    return call.write.emit(torch.gather, x, axis, positions)


@operator("GatherND")
def gather_nd(call: Call) -> Value:
    """Pick slices at tuples of positions; see ``_is_baked_batch`` for a baked-in batch."""
    x, index, batch_axes = call.tensor(0), call.tensor(1), call.attribute("batch_dims", 0)
    if _is_baked_batch(call, x, index, batch_axes):
        return call.write.emit(pick_in_each_sample, x, index)
    return call.write.emit(pick, x, index, batch_axes)


def _is_baked_batch(call: Call, x: Value, index: Value, batch_axes: int) -> bool:
    """Whether constant positions only ever name sample 0 of a batch that may grow."""
    positions = index.constant
    if positions is None or batch_axes or not call.write.grows(x, 0):
        return False
    if positions.dim() < 2 or len(positions) != 1 or positions.shape[-1] < 2:
        call.write.binds_batch = True
        return False
    return not bool(positions[..., 0].any())


def pick_in_each_sample(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Pick with all but the first coordinate, in every sample; ``index`` has one row."""
    coordinates: list[slice | torch.Tensor] = [slice(None), *index[0, ..., 1:].unbind(-1)]
    return x[tuple(coordinates)]


def pick(x: torch.Tensor, index: torch.Tensor, batch_axes: int) -> torch.Tensor:
    """Pick ``x[index[..., :]]``, the first ``batch_axes`` axes in parallel."""
    coordinates = _coordinates(x.shape[batch_axes:], index)
    if not batch_axes:
        return x[coordinates]
    batch = x.shape[:batch_axes]
    flat = x.reshape(-1, *x.shape[batch_axes:])
    rows = torch.arange(flat.shape[0], device=x.device)
    inner = index.shape[batch_axes:-1]
    rows = rows.reshape(-1, *(1,) * len(inner))
    columns = (coordinate.reshape(-1, *inner) for coordinate in coordinates)
    picked = flat[(rows, *columns)]
    return picked.reshape(*batch, *picked.shape[1:])


def _coordinates(sizes: torch.Size, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
    parts = index.to(torch.int64).unbind(-1)
    return tuple(
        torch.where(part < 0, part + size, part) for part, size in zip(parts, sizes, strict=False)
    )


@operator("ScatterND")
def scatter_nd(call: Call) -> Value:
    """Write slices at tuples of positions."""
    x, index, updates = (call.tensor(position) for position in range(3))
    return call.write.emit(write_at, x, index, updates, call.attribute("reduction", "none"))


def write_at(
    x: torch.Tensor, index: torch.Tensor, updates: torch.Tensor, reduction: str
) -> torch.Tensor:
    """Return a copy of ``x`` with ``updates`` put, added, multiplied, ... at ``index``."""
    coordinates = _coordinates(x.shape, index)
    if reduction in {"none", "add"}:
        return x.index_put(coordinates, updates, accumulate=reduction == "add")
    depth = index.shape[-1]
    flat = x.reshape(-1, *x.shape[depth:])
    row = torch.zeros_like(coordinates[0])
    for size, coordinate in zip(x.shape, coordinates, strict=False):
        row = row * size + coordinate
    rows = row.reshape(-1, *(1,) * (x.dim() - depth)).expand(-1, *flat.shape[1:])
    changed = flat.scatter_reduce(
        0, rows, updates.reshape(rows.shape), _REDUCTIONS[reduction], include_self=True
    )
    return changed.reshape(x.shape)


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> Value:
    """Write element by element along an axis."""
    axis, x = call.attribute("axis", 0), call.tensor(0)
    positions = _positions(call, call.value(1), x, axis)
    reduction = call.attribute("reduction", "none")
    if reduction == "none":
        return call.write.emit(torch.scatter, x, axis, positions, call.tensor(2))
    return call.write.emit(
        torch.scatter_reduce, x, axis, positions, call.tensor(2), _REDUCTIONS[reduction]
    )


@operator("NonZero")
def non_zero(call: Call) -> Value:
    """Positions of what is not zero, one column each; reads the data, so it synchronises."""
    return call.write.emit(positions_of_non_zero, call.tensor(0))


def positions_of_non_zero(x: torch.Tensor) -> torch.Tensor:
    """Return ``(rank, count)`` positions."""
    return torch.nonzero(x).t()


@operator("Compress")
def compress(call: Call) -> Value:
    """Keep the slices whose condition is set; reads the data, so it synchronises."""
    return call.write.emit(keep, call.tensor(0), call.tensor(1), call.attribute("axis"))


def keep(x: torch.Tensor, condition: torch.Tensor, axis: int | None) -> torch.Tensor:
    """Return the slices along ``axis`` (or of the flattened ``x``) whose condition is set."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    return x.index_select(axis, torch.nonzero(condition).reshape(-1))


@operator("OneHot")
def one_hot(call: Call) -> Value:
    """On-value at a position along a new axis, off-value elsewhere."""
    depth, axis = call.numbers(1), call.attribute("axis", -1)
    return call.write.emit(spread, call.tensor(0), depth, call.tensor(2), axis)


def spread(
    index: torch.Tensor, depth: HostValue, off_and_on: torch.Tensor, axis: int
) -> torch.Tensor:
    """Return the one-hot form of ``index``; a position out of range is all off."""
    count = int(depth[0] if isinstance(depth, tuple) else depth)
    position = index.to(torch.int64)
    position = torch.where(position < 0, position + count, position)
    axis = axis % (index.dim() + 1)
    classes = torch.arange(count, device=index.device).reshape(-1, *(1,) * (index.dim() - axis))
    return torch.where(position.unsqueeze(axis) == classes, off_and_on[1], off_and_on[0])


@on_host("Gather")
def host_gather(call: Call) -> Value | None:
    """Pick sizes from a shape."""
    source = call.numbers(0)
    if call.value(0).shape() == () or call.value(0).shape() is None:
        return None
    dtype = call.dtype(0)
    return call.settle(
        call.write.emit_host(take_numbers, source, call.numbers(1), dtype=dtype, moves=True), dtype
    )


def take_numbers(values: HostValue, index: HostValue) -> HostValue:
    """Return ``values[index]``, one number per index."""
    assert isinstance(values, tuple)
    if isinstance(index, tuple):
        return tuple(values[int(position)] for position in index)
    return values[int(index)]
