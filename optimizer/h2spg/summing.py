"""Sums over the elements of each unit: of a tensor, or of products that are never kept.

Tensors are gone through in pieces that fit the processor's cache, with one scratch tensor for what
is computed of a piece: fresh memory for every product costs more than the sums. The sums of
positions are gathered in one fixed order, so that they are the same on every process and in every
run, on a GPU too.

Shape letters: U units, P positions along one axis.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optimizer.h2spg.laying import wide_type

_PIECE = (
    1 << 18
)  # elements; two or three such tensors in single precision fill a second-level cache

Room = Callable[[int, Tensor], Tensor | None]
"""``room(number, like)``: scratch of the shape of ``like``, or None where fresh memory is free."""

Terms = Callable[[Sequence[Tensor], Room], Iterator[Tensor]]
"""``terms(pieces, room)`` -> the products to be summed, one after the other."""


@dataclass(frozen=True, eq=False)
class Counted:
    """The units along one axis of one tensor whose elements count: int64 ``unit`` (P,)."""

    tensor: int
    dim: int
    unit: Tensor


@dataclass(eq=False)
class Scratch:
    """Memory that is used again and again; holds nothing from one use to the next."""

    kept: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict)

    def __call__(self, number: int, like: Tensor) -> Tensor | None:
        """Take the scratch of ``number``; None on devices whose allocator keeps memory."""
        if like.device.type != "cpu" or not like.is_contiguous():
            return None
        found = self.kept.get((number, like.dtype))
        if found is None or found.numel() < like.numel():
            found = torch.empty(max(like.numel(), _PIECE), dtype=like.dtype)
            self.kept[number, like.dtype] = found
        return found[: like.numel()].view(like.shape)

    def __getstate__(self) -> dict[str, object]:
        """Nothing: a copy makes its own."""
        return {"kept": {}}


class Summing:
    """Sums over units, prepared for tensors of given shapes."""

    def __init__(
        self,
        shapes: Sequence[torch.Size],
        counted: Sequence[Counted],
        num_units: int,
        device: torch.device,
    ) -> None:
        """Prepare.

        Args:
            shapes: Of the tensors.
            counted: What belongs to which unit; unit U is none.
            num_units: U.
            device: Where the tensors are.
        """
        self._num_units, self._device = num_units, device
        self._shapes = [tuple(shape) or (1,) for shape in shapes]
        self._dims: dict[int, list[int]] = {}  # tensor -> axes that are summed along
        for entry in counted:
            dims = self._dims.setdefault(entry.tensor, [])
            if entry.dim not in dims:
                dims.append(entry.dim)
        self._prepare_order(counted)
        self._scratch = Scratch()

    def of_terms(
        self,
        lists: Sequence[Sequence[Tensor | None]],
        terms: Terms,
        factors: Sequence[Sequence[float] | None],
    ) -> list[Tensor]:
        """Sum what ``terms`` makes of pieces of tensors, in at least single precision.

        Args:
            lists: What the terms are made of; each has one tensor for each of the layout's, or None
                where the terms are 0.
            terms: Makes as many products as there are ``factors``.
            factors: For each term what the sums of each tensor are multiplied by, or None for 1.

        Returns:
            For each term float64 (U,).
        """
        sums: list[list[Tensor]] = [[] for _ in factors]
        for number, dims in self._dims.items():
            group = [tensors[number] for tensors in lists]
            given = [tensor for tensor in group if tensor is not None]
            found = None
            if len(given) == len(group):
                found = self._along(given, self._shapes[number], dims, terms)
            for term, scales in enumerate(factors):
                for place, dim in enumerate(dims):
                    if found is None:
                        sums[term].append(self._zeros(self._shapes[number][dim]))
                    elif scales is None or _are_equal(scales):
                        sums[term].append(found[term][place])
                    else:
                        sums[term].append(found[term][place] * scales[number])
        return [
            self._gathered(values) * (scales[0] if scales and _are_equal(scales) else 1.0)
            for values, scales in zip(sums, factors, strict=True)
        ]

    def _along(
        self, tensors: Sequence[Tensor], shape: tuple[int, ...], dims: Sequence[int], terms: Terms
    ) -> list[list[Tensor]]:
        """For each term and each axis the sums over all other axes: float64 (P,)."""
        found: list[list[list[Tensor]]] = []  # term, axis, piece
        for pieces in _pieces(tensors, shape):
            wide = [piece.to(wide_type(piece)) for piece in pieces]
            for term, product in enumerate(terms(wide, self._scratch)):
                if term == len(found):
                    found.append([[] for _ in dims])
                for place, dim in enumerate(dims):
                    found[term][place].append(_partial(product, shape, dim))
        return [
            [_whole(parts, shape, dim) for parts, dim in zip(axes, dims, strict=True)]
            for axes in found
        ]

    def _gathered(self, sums: Sequence[Tensor]) -> Tensor:
        if not len(self._source):
            return self._zeros(self._num_units)
        values = torch.cat([*sums])[self._source]
        return torch.segment_reduce(values, "sum", offsets=self._offsets)

    def _zeros(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.float64, device=self._device)

    def _prepare_order(self, counted: Sequence[Counted]) -> None:
        """Where the sums of each unit lie among those of all positions, unit by unit."""
        first, offset = {}, 0
        for number, dims in self._dims.items():
            for dim in dims:
                first[number, dim] = offset
                offset += self._shapes[number][dim]
        empty = torch.empty(0, dtype=torch.int64, device=self._device)
        unit = torch.cat([empty, *(entry.unit for entry in counted)])
        source = torch.cat(
            [
                empty,
                *(
                    torch.arange(len(entry.unit), device=self._device)
                    + first[entry.tensor, entry.dim]
                    for entry in counted
                ),
            ]
        )
        order = torch.argsort(unit, stable=True)
        counts = torch.bincount(unit, minlength=self._num_units + 1)[: self._num_units]
        self._source = source[order][: int(counts.sum())]
        self._offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _are_equal(values: Sequence[float]) -> bool:
    return len(set(values)) == 1


def _pieces(tensors: Sequence[Tensor], shape: tuple[int, ...]) -> Iterator[Sequence[Tensor]]:
    """Rows of all tensors alike, as matrices; whole tensors where memory is not in order."""
    if not all(tensor.is_contiguous() for tensor in tensors):
        yield [tensor.view(shape) for tensor in tensors]
        return
    matrices = [tensor.view(shape[0], math.prod(shape[1:])) for tensor in tensors]
    rows = shape[0]
    if tensors[0].device.type == "cpu":
        rows = max(1, _PIECE // max(math.prod(shape[1:]), 1))
    for start in range(0, max(shape[0], 1), max(rows, 1)):
        yield [matrix[start : start + rows] for matrix in matrices]


def _partial(product: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """Sums of one piece: (P,) along the first axis, else (P * everything behind,)."""
    if product.dim() != 2 or not product.is_contiguous():
        others = [other for other in range(len(shape)) if other != dim]
        product = product.view(-1, *shape[1:])
        return product.sum(dim=others) if others else product.clone()
    if dim == 0:
        return product.sum(1) if product.shape[1] != 1 else product.flatten().clone()
    length = math.prod(shape[dim:])
    return product.view(product.numel() // length, length).sum(0)


def _whole(parts: Sequence[Tensor], shape: tuple[int, ...], dim: int) -> Tensor:
    """float64 (P,) from the sums of all pieces."""
    if dim == 0:
        return torch.cat([*parts]).double()
    sums = parts[0] if len(parts) == 1 else torch.stack([*parts]).sum(0)
    return sums.view(shape[dim], -1).sum(1, dtype=torch.float64)


def products(pieces: Sequence[Tensor], room: Room) -> Iterator[Tensor]:
    """The product of two."""
    left, right = pieces
    yield torch.mul(left, right, out=room(0, left))


def squares(pieces: Sequence[Tensor], room: Room) -> Iterator[Tensor]:
    """The square of one."""
    yield torch.mul(pieces[0], pieces[0], out=room(0, pieces[0]))


def squared_products(pieces: Sequence[Tensor], room: Room) -> Iterator[Tensor]:
    """The square of the product of two."""
    for product in products(pieces, room):
        yield product.square_()


def itself(pieces: Sequence[Tensor], room: Room) -> Iterator[Tensor]:
    """One as it is."""
    yield pieces[0]


def movement(pieces: Sequence[Tensor], room: Room) -> Iterator[Tensor]:
    """Of x and x' with m = x - x': x * x, x * m and m * m."""
    before, after = pieces
    moved = torch.sub(before, after, out=room(1, before))
    yield torch.mul(before, before, out=room(0, before))
    yield torch.mul(before, moved, out=room(0, before))
    yield torch.mul(moved, moved, out=room(0, before))
