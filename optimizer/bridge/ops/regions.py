"""Regions of an image: pooling over each, and choosing among boxes.

Shape letters: R regions, C channels, P and Q cells of the result, H and W of the image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, only
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value


@operator("MaxRoiPool")
def max_roi_pool(call: Call) -> Value:
    """Maximum over the pixels of every cell of a region."""
    shape, scale = tuple(call.attribute("pooled_shape")), call.attribute("spatial_scale", 1.0)
    return call.write.emit(region_maxima, call.tensor(0), call.tensor(1), shape, scale)


def region_maxima(x: Tensor, regions: Tensor, shape: tuple[int, int], scale: float) -> Tensor:
    """Return maxima ``(R, C, P, Q)`` over whole pixels; a cell without any gives 0.

    Args:
        x: ``(N, C, H, W)``.
        regions: ``(R, 5)``: sample, x and y of the first pixel, x and y of the last.
        shape: P and Q.
        scale: From the regions' coordinates to those of ``x``.
    """
    corners = torch.floor(regions[:, 1:] * scale + 0.5)
    sample = regions[:, 0].to(torch.int64)
    columns = _pixels_of_cells(corners[:, 0], corners[:, 2], shape[1], x.shape[3])
    rows = _pixels_of_cells(corners[:, 1], corners[:, 3], shape[0], x.shape[2])
    images = x.index_select(0, sample)
    low = torch.full((), -float("inf"), dtype=x.dtype, device=x.device)
    cells = []
    for row in rows.unbind(1):  # one row of cells at a time: P * Q images at once are many
        strip = torch.where(row[:, None, :, None], images, low).amax(2)  # (R, C, W)
        cells.append(torch.where(columns.unsqueeze(1), strip.unsqueeze(2), low).amax(3))
    found = torch.stack(cells, 2)
    return torch.where(torch.isinf(found) & (found < 0), torch.zeros_like(found), found)


def _pixels_of_cells(first: Tensor, last: Tensor, cells: int, size: int) -> Tensor:
    """Return which pixels of an axis belong to which cell, ``(R, cells, size)``."""
    width = torch.clamp(last - first + 1, min=1) / cells
    number = torch.arange(cells, device=first.device)
    begin = torch.floor(number * width.unsqueeze(1)) + first.unsqueeze(1)
    end = torch.ceil((number + 1) * width.unsqueeze(1)) + first.unsqueeze(1)
    pixel = torch.arange(size, device=first.device)
    return (pixel >= begin.unsqueeze(2)) & (pixel < end.unsqueeze(2))


@operator("RoiAlign", since=10)
def roi_align_unshifted(call: Call) -> Value:
    """Version 10: coordinates are those of pixel corners."""
    return _roi_align(call, "output_half_pixel")


@operator("RoiAlign", since=16)
def roi_align(call: Call) -> Value:
    """From version 16: coordinates are shifted by half a pixel unless the node says otherwise."""
    return _roi_align(call, call.attribute("coordinate_transformation_mode", "half_pixel"))


def _roi_align(call: Call, coordinates: str) -> Value:
    mode = call.attribute("mode", "avg")
    if mode not in {"avg", "max"}:
        message = f"with mode={mode!r} is not covered"
        raise UnsupportedVariant(message)
    return call.write.emit(
        region_samples,
        *(call.tensor(position) for position in range(3)),
        (call.attribute("output_height", 1), call.attribute("output_width", 1)),
        call.attribute("sampling_ratio", 0),
        call.attribute("spatial_scale", 1.0),
        shifted=coordinates == "half_pixel",
        largest=mode == "max",
    )


def region_samples(
    x: Tensor,
    regions: Tensor,
    sample: Tensor,
    shape: tuple[int, int],
    ratio: int,
    scale: float,
    *,
    shifted: bool,
    largest: bool,
) -> Tensor:
    """Return ``(R, C, P, Q)``: every cell is the mean of points between the pixels.

    Args:
        x: ``(N, C, H, W)``.
        regions: ``(R, 4)``: x and y of the first corner, x and y of the last.
        sample: ``(R,)``, which image.
        shape: P and Q.
        ratio: Points per axis of a cell; 0 for about one per pixel.
        scale: From the regions' coordinates to those of ``x``.
        shifted: Whether pixel centres lie at halves.
        largest: Whether to take the largest weighted neighbour of all points, not their mean.
    """
    corners = regions.to(torch.promote_types(regions.dtype, torch.float32)) * scale
    corners = corners - (0.5 if shifted else 0.0)
    smallest = 0.0 if shifted else 1.0
    across, down = (
        _points(corners[:, (axis, axis + 2)], shape[1 - axis], x.shape[3 - axis], ratio, smallest)
        for axis in (0, 1)
    )
    pixels = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    base = sample.to(torch.int64).reshape(-1, 1, 1) * x.shape[2]
    weighted = []
    for row, weight_y in down.neighbours:
        for column, weight_x in across.neighbours:
            position = (base + row.unsqueeze(2)) * x.shape[3] + column.unsqueeze(1)
            weight = (weight_y.unsqueeze(2) * weight_x.unsqueeze(1)).unsqueeze(3).to(x.dtype)
            found = pixels.index_select(0, position.reshape(-1))
            weighted.append(found.reshape(*position.shape, x.shape[1]) * weight)
    is_used = (down.is_used.unsqueeze(2) & across.is_used.unsqueeze(1)).unsqueeze(3)
    sizes = (len(regions), shape[0], -1, shape[1], across.is_used.shape[1] // shape[1], x.shape[1])
    if largest:
        values = torch.where(is_used, torch.stack(weighted).amax(0), -float("inf"))
        cells = values.reshape(sizes).amax((2, 4))
        cells = torch.where(torch.isinf(cells), torch.zeros_like(cells), cells)
    else:
        values = torch.where(is_used, torch.stack(weighted).sum(0), 0.0)
        count = torch.clamp(down.count * across.count, min=1).reshape(-1, 1, 1, 1).to(x.dtype)
        cells = values.reshape(sizes).sum((2, 4)) / count
    return cells.permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class _Points:
    """Where an axis is sampled, all ``(R, cells * points)`` but ``count``.

    Attributes:
        neighbours: The pixels on both sides and their weights, 0 outside of the image.
        is_used: A region that is smaller than others has fewer points per cell.
        count: Points per cell, ``(R,)``.
    """

    neighbours: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    is_used: Tensor
    count: Tensor


def _points(ends: Tensor, cells: int, size: int, ratio: int, smallest: float) -> _Points:
    """Spread points over an axis from ``ends[:, 0]`` to ``ends[:, 1]``."""
    first, last = ends.unbind(1)
    width = last - first
    if smallest:
        width = torch.clamp(width, min=smallest)
    width = width / cells
    count = torch.full_like(width, ratio) if ratio else torch.clamp(torch.ceil(width), min=0)
    # reads the data, so it synchronises; the sizes of the result do not depend on it
    most = ratio or (1 if width.is_meta or not len(width) else max(int(count.max()), 1))
    number = torch.arange(most, device=ends.device)
    inner = (number + 0.5) / torch.clamp(count, min=1).unsqueeze(1)
    cell = torch.arange(cells, device=ends.device).reshape(-1, 1)
    place = first.reshape(-1, 1, 1) + (cell + inner.unsqueeze(1)) * width.reshape(-1, 1, 1)
    place = place.reshape(len(width), -1)
    is_inside = (place >= -1) & (place <= size)
    place = torch.clamp(place, 0, size - 1)
    low = torch.clamp(torch.floor(place), max=max(size - 2, 0))
    part = place - low
    high = torch.clamp(low + 1, max=size - 1)
    is_used = (number < count.unsqueeze(1)).repeat(1, cells)
    neighbours = (
        (low.to(torch.int64), (1 - part) * is_inside),
        (high.to(torch.int64), part * is_inside),
    )
    return _Points(neighbours=neighbours, is_used=is_used, count=count)


@operator("NonMaxSuppression", since=10)
def non_max_suppression(call: Call) -> Value:
    """Greedy choice of boxes by score; a box that overlaps a chosen one too much is dropped.

    Reads the data, so it synchronises.
    """
    limits = [call.numbers(place) if call.has(place) else None for place in (2, 3, 4)]
    centred = bool(call.attribute("center_point_box", 0))
    return call.write.emit(chosen_boxes, call.tensor(0), call.tensor(1), *limits, centred=centred)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # sizes depend on data
@torch.no_grad()
def chosen_boxes(
    boxes: Tensor,
    scores: Tensor,
    most: HostValue | None,
    overlap: HostValue | None,
    threshold: HostValue | None,
    *,
    centred: bool,
) -> Tensor:
    """Return ``(chosen, 3)``: sample, class and box, per sample and class by falling score.

    Args:
        boxes: ``(N, boxes, 4)``: two opposite corners, or centre and size if ``centred``.
        scores: ``(N, classes, boxes)``.
        most: Boxes per sample and class; none if left out.
        overlap: Intersection over union above which a box is dropped.
        threshold: Score that a box must exceed.
        centred: See ``boxes``.
    """
    limit = 0 if most is None else int(only(most))
    bound = 0.0 if overlap is None else float(only(overlap))
    low, high, scores = *_corners(boxes.cpu(), centred=centred), scores.cpu()
    rows = []
    for sample in range(scores.shape[0] if limit > 0 else 0):
        for number, score in enumerate(scores[sample].unbind(0)):
            order = torch.argsort(score, descending=True, stable=True)
            if threshold is not None:
                order = order[score[order] > float(only(threshold))]
            chosen = _without_overlap(low[sample], high[sample], order, limit, bound)
            rows += [(sample, number, box) for box in chosen]
    return torch.tensor(rows, dtype=torch.int64, device=boxes.device).reshape(-1, 3)


def _corners(boxes: Tensor, *, centred: bool) -> tuple[Tensor, Tensor]:
    first, second = boxes[..., :2], boxes[..., 2:]
    if centred:
        return first - second / 2, first + second / 2
    return torch.minimum(first, second), torch.maximum(first, second)


def _without_overlap(
    low: Tensor, high: Tensor, order: Tensor, limit: int, bound: float
) -> list[int]:
    """Take the first box of ``order``, drop what overlaps it, and so on."""
    area = (high - low).prod(1)
    taken: list[int] = []
    while len(order) and len(taken) < limit:
        box, order = order[0], order[1:]
        taken.append(int(box))
        sides = torch.minimum(high[order], high[box]) - torch.maximum(low[order], low[box])
        common = torch.clamp(sides, min=0).prod(1)
        union = area[order] + area[box] - common
        drops = (common > 0) & (union > 0) & (area[order] > 0) & (area[box] > 0)
        order = order[~(drops & (common / union > bound))]
    return taken
