"""SuperResNet (PAPER.md 3.5): residual blocks with parallel kernels of 3, 5 and 7.

The paper names the space of ZenNAS and these candidates; its code is not public, so the super-block
is a rebuild (inferred): ReLU(shortcut + sum over k of the branch with kernel k). Each branch and
each projection is a structure, an identity shortcut is not. ``PLAN`` starts from ZenNAS's network
for 1 M parameters.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

KERNELS = (3, 5, 7)
Stage = tuple[int, int, int, int]  # channels out, stride, channels inside, blocks
PLAN: tuple[Stage, ...] = ((16, 1, 8, 1), (32, 2, 16, 1), (64, 2, 32, 1), (64, 2, 32, 1))
# the paper's results have 1 M and 2 M parameters, so its supernet must hold more
WIDE_PLAN: tuple[Stage, ...] = ((32, 1, 16, 2), (64, 2, 32, 2), (128, 2, 64, 2), (128, 2, 64, 2))


class SuperResNet(nn.Module):
    """Images of 3 channels to class scores."""

    def __init__(
        self,
        plan: Sequence[Stage] = WIDE_PLAN,
        *,
        stem: int = 8,
        last: int = 128,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        blocks, width = [], stem
        for num_out, stride, inside, count in plan:
            for number in range(count):
                blocks.append(_SuperBlock(width, num_out, stride if number == 0 else 1, inside))
                width = num_out
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(
            nn.Conv2d(width, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU()
        )
        self.head = nn.Linear(last, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        x = self.last(self.blocks(self.stem(images)))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class _SuperBlock(nn.Module):
    def __init__(self, num_in: int, num_out: int, stride: int, inside: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(num_in, inside, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(inside),
                nn.ReLU(),
                nn.Conv2d(inside, num_out, kernel, 1, kernel // 2, bias=False),
                nn.BatchNorm2d(num_out),
            )
            for kernel in KERNELS
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or num_in != num_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        terms = [self.shortcut(x), *(branch(x) for branch in self.branches)]
        return torch.relu(reduce(torch.add, terms))
