"""CARN x2, one convolution group (PAPER.md 3.6): Concats that grow, inside blocks and over them.

964,187 parameters, 24 of them in the two fixed convolutions that take the mean colour away and put
it back. Not a classifier: an image of twice the sides.
"""

import torch
from torch import Tensor, nn

MEAN = (0.4488, 0.4371, 0.4040)  # of the training images of DIV2K
_PARTS = 3


class Carn(nn.Module):
    """Images of 3 channels, values 0..1, to images of twice the sides."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.without_mean, self.with_mean = _shift(-1.0), _shift(1.0)
        self.entry = nn.Conv2d(3, width, 3, 1, 1)
        self.cascade = _Cascade(width, [_Cascade(width) for _ in range(_PARTS)])
        self.upsample = nn.Sequential(
            nn.Conv2d(width, 4 * width, 3, 1, 1), nn.ReLU(), nn.PixelShuffle(2)
        )
        self.exit = nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, 2 H, 2 W)."""
        x = self.cascade(self.entry(self.without_mean(images)))
        return self.with_mean(self.exit(self.upsample(x)))


class _Cascade(nn.Module):
    """Each part sees a 1x1 convolution of all that came before; the last one's is the result."""

    def __init__(self, width: int, parts: list["_Cascade"] | None = None) -> None:
        super().__init__()
        own: list[nn.Module] = [*parts] if parts else [_Residual(width) for _ in range(_PARTS)]
        self.parts = nn.ModuleList(own)
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d((number + 2) * width, width, 1), nn.ReLU())
            for number in range(_PARTS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        known = x
        for part, narrow in zip(self.parts, self.narrow, strict=True):
            known = torch.cat([known, part(x)], 1)
            x = narrow(known)
        return x


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return torch.relu(self.body(x) + x)


def _shift(sign: float) -> nn.Conv2d:
    """A fixed 1x1 convolution that adds ``sign * MEAN``."""
    conv = nn.Conv2d(3, 3, 1)
    conv.weight.data = torch.eye(3).view(3, 3, 1, 1)
    conv.bias = nn.Parameter(sign * torch.tensor(MEAN))
    conv.requires_grad_(requires_grad=False)
    return conv
