"""Reference networks for 32 x 32 images, with the counts of PAPER.md 3.6.

ResNet-18 11,173,962 parameters (555 M MACs), ResNet-50 23,520,842 (1298 M), VGG16-BN 15,253,578
(314 M), DenseNet-121 7,048,548. The last count is that of 100 classes; all others have 10.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResNet(nn.Module):
    """Residual stages of 1, 2, 4 and 8 times ``width`` channels; no pooling in the stem.

    Args:
        depths: Blocks of each stage.
        bottleneck: Whether a block is 1x1, 3x3, 1x1 with four times the channels at its end.
        width: Channels of the stem.
        num_classes: Of the scores.
    """

    def __init__(
        self, depths: Sequence[int], *, bottleneck: bool, width: int = 64, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks, before = [], width
        for stage, depth in enumerate(depths):
            inside = width << stage
            after = 4 * inside if bottleneck else inside
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(_ResidualBlock(before, inside, after, stride))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        x = self.blocks(self.stem(images))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class _ResidualBlock(nn.Module):
    def __init__(self, before: int, inside: int, after: int, stride: int) -> None:
        super().__init__()
        if after == inside:
            plan = [(before, inside, 3, stride), (inside, after, 3, 1)]
        else:
            plan = [(before, inside, 1, 1), (inside, inside, 3, stride), (inside, after, 1, 1)]
        parts: list[nn.Module] = []
        for num_in, num_out, kernel, step in plan:
            parts += [*_conv_norm(num_in, num_out, kernel, step), nn.ReLU()]
        self.body = nn.Sequential(*parts[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(*_conv_norm(before, after, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class Vgg16(nn.Module):
    """Thirteen convolutions with normalisations, two hidden linear layers."""

    def __init__(self, width: int = 64, num_classes: int = 10) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        before = 3
        for factor, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(count):
                conv = nn.Conv2d(before, factor * width, 3, 1, 1)
                parts += [conv, nn.BatchNorm2d(factor * width), nn.ReLU()]
                before = factor * width
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(
            nn.Linear(before, before),
            nn.ReLU(),
            nn.Linear(before, before),
            nn.ReLU(),
            nn.Linear(before, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 32, 32) to (N, classes)."""
        return self.classifier(self.features(images).flatten(1))


class DenseNet(nn.Module):
    """Blocks whose layers see all that came before, halved in channels and sides in between."""

    def __init__(
        self,
        depths: Sequence[int] = (6, 12, 24, 16),
        *,
        growth: int = 32,
        num_classes: int = 100,
    ) -> None:
        super().__init__()
        width = 2 * growth
        parts: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False)]
        for number, depth in enumerate(depths):
            for _ in range(depth):
                parts.append(_DenseLayer(width, growth))
                width += growth
            parts += [nn.BatchNorm2d(width), nn.ReLU()]
            if number < len(depths) - 1:
                parts += [nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
                width //= 2
        self.features = nn.Sequential(*parts)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        x = functional.adaptive_avg_pool2d(self.features(images), 1)
        return self.head(x.flatten(1))


class _DenseLayer(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + growth, H, W)."""
        return torch.cat([x, self.body(x)], 1)


def resnet18(width: int = 64) -> ResNet:
    """Two blocks in each stage."""
    return ResNet((2, 2, 2, 2), bottleneck=False, width=width)


def resnet50(width: int = 64) -> ResNet:
    """Bottlenecks, 3, 4, 6 and 3 of them."""
    return ResNet((3, 4, 6, 3), bottleneck=True, width=width)


def _conv_norm(num_in: int, num_out: int, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(num_in, num_out, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(num_out)]
