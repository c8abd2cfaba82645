"""Sums over the elements of each unit: of a tensor, or of products that are never kept.

Tensors are gone through in pieces that fit the processor's cache, with one scratch tensor for what
is computed of a piece: fresh memory for every product costs more than the sums. The sums of
positions are gathered in one fixed order, so that they are the same on every process and in every
run, on a GPU too.

Shape letters: U units, P positions along one axis.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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


class Scratch:
    """Memory that is used again and again; holds nothing from one use to the next."""

    def __init__(self) -> None:
        """Take no memory yet."""
        self._views: dict[tuple[int, torch.dtype, torch.Size], Tensor] = {}
        self._memory: dict[tuple[int, torch.dtype], Tensor] = {}

    def __call__(self, number: int, like: Tensor) -> Tensor | None:
        """Take the scratch of ``number``; None on devices whose allocator keeps memory."""
        key = number, like.dtype, like.shape
        found = self._views.get(key)
        if found is None and like.device.type == "cpu":
            memory = self._memory.get(key[:2])
            if memory is None or memory.numel() < like.numel():
                memory = torch.empty(max(like.numel(), _PIECE), dtype=like.dtype)
                self._memory[key[:2]] = memory
            found = self._views[key] = memory[: like.numel()].view(like.shape)
        return found

    def __getstate__(self) -> dict[str, object]:
        """Nothing: a copy makes its own."""
        return {"_views": {}, "_memory": {}}


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
        dims_of: dict[int, list[int]] = {}
        for entry in counted:
            dims = dims_of.setdefault(entry.tensor, [])
            if entry.dim not in dims:
                dims.append(entry.dim)
        self._vectors = [n for n, dims in dims_of.items() if _is_vector(self._shapes[n], dims)]
        self._dims = {n: dims for n, dims in dims_of.items() if n not in self._vectors}
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
            shape = self._shapes[number]
            group = [tensors[number] for tensors in lists]
            given = [tensor for tensor in group if tensor is not None]
            if len(given) == len(group):
                found = self._along(given, shape, dims, terms)
            else:
                found = [[self._zeros(shape[dim]) for dim in dims] for _ in factors]
            for values, scales, axes in zip(sums, factors, found, strict=True):
                if scales is None or _are_equal(scales):
                    values.extend(axes)
                else:
                    values.extend(sum_P * scales[number] for sum_P in axes)
        if self._vectors:
            self._add_vectors(lists, terms, factors, sums)
        return [
            self._gathered(values) * (scales[0] if scales and _are_equal(scales) else 1.0)
            for values, scales in zip(sums, factors, strict=True)
        ]

    def _add_vectors(
        self,
        lists: Sequence[Sequence[Tensor | None]],
        terms: Terms,
        factors: Sequence[Sequence[float] | None],
        sums: Sequence[list[Tensor]],
    ) -> None:
        """All tensors that have one position per element, as one: they are many and small."""
        numbers = self._vectors
        rows = [torch.cat([self._vector(tensors, n) for n in numbers]) for tensors in lists]
        wide = [row.to(wide_type(row)) for row in rows]
        lengths = [self._shapes[n][0] for n in numbers]
        for product, scales, values in zip(terms(wide, self._scratch), factors, sums, strict=True):
            whole = product.to(torch.float64, copy=True)  # never the scratch itself
            if scales is None or _are_equal(scales):
                values.append(whole)
                continue
            parts = torch.split_with_sizes(whole, lengths)
            values.extend(part * scales[n] for part, n in zip(parts, numbers, strict=True))

    def _vector(self, tensors: Sequence[Tensor | None], number: int) -> Tensor:
        tensor = tensors[number]
        if tensor is None:
            return torch.zeros(self._shapes[number][0], device=self._device)
        return tensor.reshape(-1)

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
        for number, dims in [*self._dims.items(), *((n, [0]) for n in self._vectors)]:
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


def _is_vector(shape: tuple[int, ...], dims: Sequence[int]) -> bool:
    return list(dims) == [0] and math.prod(shape) == shape[0]


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
        return product.sum(1)
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


def itself(pieces: Sequence[Tensor], _: Room) -> Iterator[Tensor]:
    """One as it is."""
    yield pieces[0]


def movement(pieces: Sequence[Tensor], room: Room) -> Iterator[Tensor]:
    """Of x and x' with m = x - x': x * x, x * m and m * m."""
    before, after = pieces
    moved = torch.sub(before, after, out=room(1, before))
    yield torch.mul(before, before, out=room(0, before))
    yield torch.mul(before, moved, out=room(0, before))
    yield torch.mul(moved, moved, out=room(0, before))
