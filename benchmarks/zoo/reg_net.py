"""RegNet in its form for 32 x 32 images (PAPER.md 3.6), with and without squeeze and excitation.

The block is stock: 1x1, grouped 3x3, gate, 1x1, beside an identity or a strided 1x1. Widths and
depths are those of the stock network of 200 M MACs; the stem keeps the sides. Structures: each
residual branch and each projection. A gate multiplies, so its own branch is none.
"""

from torch import Tensor, nn

DEPTHS, WIDTHS, GROUP_WIDTH = (1, 1, 4, 7), (24, 56, 152, 368), 8


class RegNet(nn.Module):
    """Images of 3 channels to class scores.

    Args:
        gated: Whether the blocks have squeeze and excitation (Y instead of X).
        depths: Blocks of each stage.
        widths: Channels of each stage, multiples of ``group_width``.
        group_width: Channels of one convolution group.
        num_classes: Of the scores.
    """

    def __init__(
        self,
        *,
        gated: bool = False,
        depths: tuple[int, ...] = DEPTHS,
        widths: tuple[int, ...] = WIDTHS,
        group_width: int = GROUP_WIDTH,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        width = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks = []
        for stage, (depth, num_out) in enumerate(zip(depths, widths, strict=True)):
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(_Block(width, num_out, stride, group_width, gated=gated))
                width = num_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        x = self.blocks(self.stem(images))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class _Block(nn.Module):
    def __init__(
        self, num_in: int, num_out: int, stride: int, group_width: int, *, gated: bool
    ) -> None:
        super().__init__()
        groups = num_out // group_width
        self.first = nn.Sequential(
            nn.Conv2d(num_in, num_out, 1, bias=False),
            nn.BatchNorm2d(num_out),
            nn.ReLU(),
            nn.Conv2d(num_out, num_out, 3, stride, 1, groups=groups, bias=False),
            nn.BatchNorm2d(num_out),
            nn.ReLU(),
        )
        self.gate = _gate(num_out, max(1, num_in // 4)) if gated else None
        self.last = nn.Sequential(
            nn.Conv2d(num_out, num_out, 1, bias=False), nn.BatchNorm2d(num_out)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or num_in != num_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        hidden = self.first(x)
        if self.gate is not None:
            hidden = hidden * self.gate(hidden)
        return nn.functional.relu(self.last(hidden) + self.shortcut(x))


def _gate(width: int, inside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(width, inside, 1),
        nn.ReLU(),
        nn.Conv2d(inside, width, 1),
        nn.Sigmoid(),
    )
