"""DemoNet of the public tutorials and its second variant (PAPER.md 3.3).

627,338 and 2,464,010 parameters at full width. What makes them hard: one tensor feeds two parallel
normalisations of one Add, and a normalisation follows a Concat.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class DemoNet(nn.Module):
    """Images of 3 channels to class scores.

    Args:
        width: Channels of the first convolution; all others are multiples of it.
        variant: 2 has another Concat, and its normalisation after the last one only.
        num_classes: Of the scores.
    """

    def __init__(self, width: int = 64, variant: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.variant = variant
        self.conv1, self.bn1 = _conv(3, width), nn.BatchNorm2d(width)
        self.conv2, self.conv3 = _conv(width, 2 * width), _conv(width, 2 * width)
        self.bn2, self.bn3 = nn.BatchNorm2d(2 * width), nn.BatchNorm2d(2 * width)
        self.conv4 = _conv(3 * width, 4 * width)
        last = 4 * width
        if variant == 1:
            self.bn4 = nn.BatchNorm2d(3 * width)
        else:
            self.conv5 = _conv(6 * width, 8 * width)
            last = 12 * width
            self.bn5 = nn.BatchNorm2d(last)
        self.linear1 = nn.Linear(last, 2 * width)
        self.linear2 = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        x1 = functional.relu(self.bn1(self.conv1(images)))
        t, u = self.conv2(x1), self.conv3(x1)
        x2 = self.bn2(t) + self.bn3(t) + u
        joined = torch.cat([x1, x2], 1)
        if self.variant == 1:
            x = self.conv4(self.bn4(joined))
        else:
            x5 = self.conv4(joined)
            x6 = self.conv5(torch.cat([x5, x2], 1))
            x = self.bn5(torch.cat([x6, x5], 1))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.linear2(self.linear1(x))


def _conv(num_in: int, num_out: int) -> nn.Conv2d:
    return nn.Conv2d(num_in, num_out, 3, 1, 1)
