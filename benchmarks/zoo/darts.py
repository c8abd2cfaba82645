"""The DARTS supernet without architecture weights (PAPER.md 3.4): all operators of an edge summed.

Of the eight operators of an edge, "none" adds zeros and is left out. Counts with affine
normalisations, 8 cells, 10 classes, 32 x 32: 16 channels 2.005 M parameters and 300.3 M MACs, 24
channels 4.110 M and 600.0 M (without affine 1.931 M and 3.998 M); 724 structures by the paper's
rule. 14 cells, 1000 classes, 224 x 224: 3.620 M and 410 M, 7.276 M and 815 M, with 36 channels
15.066 M and 1,674 M; 1,230 structures.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

_NODES = 4


class DartsSupernet(nn.Module):
    """Images of 3 channels to class scores.

    Args:
        channels: C of the first cell.
        cells: How many; those at one third and at two thirds halve the sides and double C.
        num_classes: Of the scores.
        stem: ``cifar`` keeps the sides, ``imagenet`` divides them by 8.
        affine: Whether the normalisations of the operators have weights.
    """

    def __init__(
        self,
        channels: int = 24,
        cells: int = 8,
        num_classes: int = 10,
        *,
        stem: str = "cifar",
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.stem = _CifarStem(channels) if stem == "cifar" else _ImagenetStem(channels)
        before, last = self.stem.widths
        was_reduced = stem == "imagenet"
        built = []
        for number in range(cells):
            reduces = number in (cells // 3, 2 * cells // 3)
            channels *= 1 + reduces
            cell = _Cell(
                (before, last), channels, reduces=reduces, was_reduced=was_reduced, affine=affine
            )
            built.append(cell)
            was_reduced, before, last = reduces, last, _NODES * channels
        self.cells = nn.ModuleList(built)
        self.head = nn.Linear(last, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        s0, s1 = self.stem(images)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.head(nn.functional.adaptive_avg_pool2d(s1, 1).flatten(1))


class _CifarStem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widths = 3 * channels, 3 * channels
        self.conv = nn.Conv2d(3, 3 * channels, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(3 * channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same twice: both inputs of the first cell."""
        x = self.bn(self.conv(images))
        return x, x


class _ImagenetStem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widths = channels, channels
        self.first = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.second = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A quarter of the sides, and an eighth."""
        x = self.first(images)
        return x, self.second(x)


class _Cell(nn.Module):
    """Four nodes, each the sum of all operators on all earlier states; their Concat."""

    def __init__(
        self,
        widths: tuple[int, int],
        channels: int,
        *,
        reduces: bool,
        was_reduced: bool,
        affine: bool,
    ) -> None:
        super().__init__()
        entrance = _FactorizedReduce if was_reduced else _pointwise
        self.preprocess0 = entrance(widths[0], channels, affine=affine)
        self.preprocess1 = _pointwise(widths[1], channels, affine=affine)
        self.edges = nn.ModuleList(
            nn.ModuleList(
                _MixedOperator(channels, 2 if reduces and state < 2 else 1, affine=affine)
                for state in range(node + 2)
            )
            for node in range(_NODES)
        )

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        """(N, C0, H, W) and (N, C1, H, W) to (N, 4 C, H / stride, W / stride)."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        for edges in self.edges:
            states.append(_sum([edge(s) for edge, s in zip(edges, states, strict=True)]))
        return torch.cat(states[-_NODES:], 1)


class _MixedOperator(nn.Module):
    """Seven operators on one edge, summed."""

    def __init__(self, channels: int, stride: int, *, affine: bool) -> None:
        super().__init__()
        skip = _FactorizedReduce(channels, channels, affine=affine) if stride > 1 else nn.Identity()
        self.operators = nn.ModuleList(
            [
                nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.BatchNorm2d(channels, affine=affine)),
                nn.Sequential(
                    nn.AvgPool2d(3, stride, 1, count_include_pad=False),
                    nn.BatchNorm2d(channels, affine=affine),
                ),
                skip,
                _separable(channels, 3, stride, affine=affine),
                _separable(channels, 5, stride, affine=affine),
                nn.Sequential(*_depthwise(channels, 3, stride, 2, affine=affine)),
                nn.Sequential(*_depthwise(channels, 5, stride, 2, affine=affine)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H / stride, W / stride)."""
        return _sum([operator(x) for operator in self.operators])


class _FactorizedReduce(nn.Module):
    """Half of the channels from the even positions, half from the odd ones."""

    def __init__(self, num_in: int, num_out: int, *, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(num_in, num_out // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(num_in, num_out - num_out // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(num_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), sides even, to (N, C', H / 2, W / 2)."""
        x = torch.relu(x)
        return self.bn(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


def _pointwise(num_in: int, num_out: int, *, affine: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(num_in, num_out, 1, bias=False),
        nn.BatchNorm2d(num_out, affine=affine),
    )


def _depthwise(
    channels: int, kernel: int, stride: int, dilation: int, *, affine: bool
) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def _separable(channels: int, kernel: int, stride: int, *, affine: bool) -> nn.Sequential:
    first = _depthwise(channels, kernel, stride, 1, affine=affine)
    return nn.Sequential(*first, *_depthwise(channels, kernel, 1, 1, affine=affine))


def _sum(terms: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, terms)  # Python's sum() would start with 0 + t
