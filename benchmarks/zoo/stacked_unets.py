"""StackedUnets (PAPER.md 3.1): two U-nets of different down-sampling side by side, joined by a sum.

The topology is the paper's, vertex by vertex; its widths are unknown. With 64 channels everywhere
there are 780,746 parameters and 207.0 M MACs (the paper: 0.80 M and 184 M), 63 traced vertices, 22
segments, 27 edges between them, and six structures. Numbers in names are the paper's vertices.
"""

from torch import Tensor, nn
from torch.nn import functional


class StackedUnets(nn.Module):
    """Images of 3 channels, sides a multiple of 8, to class scores."""

    def __init__(self, width: int = 64, num_classes: int = 10) -> None:
        super().__init__()
        self.left = _PoolingUnet(width)
        self.right = _StridedUnet(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        joined = self.left(images) + self.right(images)  # 76
        pooled = functional.adaptive_avg_pool2d(joined, 1)
        return self.head(pooled.squeeze(3).squeeze(2))


class _PoolingUnet(nn.Module):
    """Vertices 0 to 38: max-pooling before the convolutions of each depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0, self.bn1, self.conv3 = _conv(3, width), nn.BatchNorm2d(width), _same(width)
        self.conv5, self.conv7, self.bn9 = _same(width), _same(width), nn.BatchNorm2d(width)
        self.conv11, self.conv12 = _same(width), _same(width)
        self.conv14, self.conv15 = _same(width), _same(width)
        self.conv26, self.conv27, self.bn28 = _same(width), _same(width), nn.BatchNorm2d(width)
        self.conv36, self.bn38 = _same(width), nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, width, H, W)."""
        full = self.conv3(functional.relu(self.bn1(self.conv0(images))))
        half = functional.relu(self.conv5(functional.max_pool2d(full, 2)))
        half = self.bn9(functional.relu(self.conv7(half)))
        quarter = self.conv12(self.conv11(functional.max_pool2d(half, 2)))
        eighth = self.conv15(self.conv14(functional.max_pool2d(quarter, 2)))
        up = _doubled(_doubled(eighth) + quarter) + half  # 20, 25
        up = _doubled(functional.relu(self.bn28(self.conv27(self.conv26(up))))) + full  # 34
        return self.bn38(functional.relu(self.conv36(functional.relu(up))))


class _StridedUnet(nn.Module):
    """Vertices 39 to 75: strides in the convolutions of each depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv39, self.bn40 = _conv(3, width), nn.BatchNorm2d(width)
        self.conv42, self.conv43 = _same(width, 2), _same(width)
        self.conv45, self.bn47 = _same(width, 2), nn.BatchNorm2d(width)
        self.conv48, self.conv49 = _same(width), _same(width)
        self.conv50, self.conv51, self.conv52 = _same(width, 2), _same(width), _same(width)
        self.conv63, self.conv64, self.bn65 = _same(width), _same(width), nn.BatchNorm2d(width)
        self.conv73, self.bn75 = _same(width), nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, width, H, W)."""
        full = functional.relu(self.bn40(self.conv39(images)))
        half = functional.relu(self.conv43(self.conv42(full)))
        quarter = self.bn47(functional.relu(self.conv45(half)))
        quarter = self.conv49(self.conv48(quarter))
        eighth = self.conv52(self.conv51(self.conv50(quarter)))
        up = _doubled(_doubled(eighth) + quarter) + half  # 57, 62
        up = _doubled(functional.relu(self.bn65(self.conv64(self.conv63(up))))) + full  # 71
        return self.bn75(functional.relu(self.conv73(functional.relu(up))))


def _conv(num_in: int, num_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, 3, stride, 1)


def _same(width: int, stride: int = 1) -> nn.Conv2d:
    return _conv(width, width, stride)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
