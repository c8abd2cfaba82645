"""The demo's network: small, and with every joint that compression has to respect.

Residual adds, a Concat of parallel branches with a normalisation over it, a depthwise convolution,
a squeeze-excite gate. About 200,000 parameters. Only the architecture belongs here.
"""

import torch
from torch import nn

NUM_CLASSES = 10


class DigitsNet(nn.Module):
    """Classifier of 8x8 grey images: (N, 1, 8, 8) in 0..1 -> logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_norm(1, 32)
        self.wide = Residual(32, 48)
        self.narrow = Residual(32, 32)
        self.parallel = Parallel(32)
        self.gated = GatedDepthwise(Parallel.OUT, expanded=128, squeezed=16)
        self.down = _conv_norm(Parallel.OUT, 64, stride=2)
        self.late_wide = Residual(64, 48)
        self.late_narrow = Residual(64, 32)
        self.head = nn.Linear(64, NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify ``images`` (N, 1, 8, 8); returns logits (N, 10)."""
        x = self.narrow(self.wide(torch.relu(self.stem(images))))
        x = self.gated(self.parallel(x))
        x = torch.relu(self.down(x))
        x = self.late_narrow(self.late_wide(x))
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class Residual(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))): the branch is a removal structure."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.expand = _conv_norm(channels, inner)
        self.reduce = _conv_norm(inner, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, H, W) to the same shape."""
        return torch.relu(x + self.reduce(torch.relu(self.expand(x))))


class Parallel(nn.Module):
    """Three branches side by side, concatenated, with one normalisation over the Concat."""

    OUT = 64

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(channels, 24, 1, bias=False)
        self.square = nn.Conv2d(channels, 24, 3, padding=1, bias=False)
        self.pooled = nn.Conv2d(channels, 16, 1, bias=False)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.norm = nn.BatchNorm2d(self.OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, H, W) to (N, 64, H, W)."""
        branches = [self.point(x), self.square(x), self.pooled(self.pool(x))]
        return torch.relu(self.norm(torch.cat(branches, dim=1)))


class GatedDepthwise(nn.Module):
    """Inverted residual: expand, depthwise 3x3, squeeze-excite gate, project, add."""

    def __init__(self, channels: int, *, expanded: int, squeezed: int) -> None:
        super().__init__()
        self.expand = _conv_norm(channels, expanded, kernel=1)
        self.depthwise = _conv_norm(expanded, expanded, groups=expanded)
        self.squeeze = nn.Conv2d(expanded, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, expanded, 1)
        self.project = _conv_norm(expanded, channels, kernel=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, H, W) to the same shape."""
        y = torch.relu(self.depthwise(torch.relu(self.expand(x))))
        gate = torch.relu(self.squeeze(y.mean(dim=(2, 3), keepdim=True)))
        return torch.add(x, self.project(y * torch.sigmoid(self.excite(gate))))


def _conv_norm(
    channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=False,
    )
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))
