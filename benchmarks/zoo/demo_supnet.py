"""DemoSupNet (PAPER.md 3.2): three branches at a Concat, two at an Add.

The paper states the topology; widths, sizes of images and positions are a rebuild (inferred).
All convolutions see 16 x 16 positions: the published 209 M MACs over 0.82 M parameters are 255, and
one reduction of 32 x 32 images gives 256. The widths are those that come nearest to the four
published numbers (0.82 M and 209 M; of the sub-network 0.45 M and 107 M): 0.83 M and 208 M, of the
sub-network 0.45 M and 109 M.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 64, 160, 128, 144)  # of Conv1; of each branch; of Conv4; of Conv6; of Conv7 and Conv8
_HIDDEN = 128


class DemoSupNet(nn.Module):
    """Grey images, padded to even sides, to class scores."""

    def __init__(
        self, widths: tuple[int, int, int, int, int] = WIDTHS, num_classes: int = 10
    ) -> None:
        super().__init__()
        stem, branch, middle, joined, last = widths
        self.conv1, self.bn1 = nn.Conv2d(1, stem, 3, 2, 1), nn.BatchNorm2d(stem)
        self.conv2, self.bn2 = _conv(stem, branch), nn.BatchNorm2d(branch)
        self.conv3, self.bn3 = _conv(stem, branch), nn.BatchNorm2d(branch)
        self.conv4, self.bn4 = _conv(stem, middle), nn.BatchNorm2d(middle)
        self.conv5, self.bn5 = _conv(middle, branch), nn.BatchNorm2d(branch)
        self.conv6, self.bn6 = _conv(3 * branch, joined), nn.BatchNorm2d(joined)
        self.conv7, self.bn7 = _conv(joined, last), nn.BatchNorm2d(last)
        self.conv8, self.bn8 = _conv(joined, last), nn.BatchNorm2d(last)
        self.linear9 = nn.Linear(last, _HIDDEN)
        self.linear10 = nn.Linear(_HIDDEN, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, classes)."""
        x = functional.relu(self.bn1(self.conv1(images)))
        first = self.bn2(self.conv2(x))
        second = self.bn3(self.conv3(functional.max_pool2d(x, 3, 1, 1)))
        third = self.bn4(self.conv4(functional.avg_pool2d(x, 3, 1, 1)))
        third = self.bn5(self.conv5(third))
        x = functional.relu(self.bn6(self.conv6(torch.cat([first, second, third], 1))))
        x = self.bn7(self.conv7(x)) + self.bn8(self.conv8(x))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.linear10(functional.relu(self.linear9(x)))


def _conv(num_in: int, num_out: int) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, 3, 1, 1)
