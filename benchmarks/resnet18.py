"""ResNet-18 in plain torch with its 2,880 channel units, for what is measured of H2SPG alone.

The channels that the shortcuts tie together are one group per stage; an ONNX file that is imported
has the same units, and whole blocks besides.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from optimizer.h2spg import UnitLayout, UnitSlices

WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        """Make a block that maps ``width_in`` channels to ``width``."""
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Sequential | None = None
        if stride > 1 or width_in != width:
            conv = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width_in, H, W) to (B, width, H / stride, W / stride)."""
        past = x if self.shortcut is None else self.shortcut(x)
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + past)


class ResNet18(nn.Module):
    """The network for 224 x 224 images; smaller ones pass too."""

    def __init__(self, classes: int = 1000) -> None:
        """Make it with random weights."""
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        before = (64, *WIDTHS)
        self.stages = nn.ModuleList(
            nn.ModuleList([Block(before[n], width, 2 if n else 1), Block(width, width, 1)])
            for n, width in enumerate(WIDTHS)
        )
        self.head = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, classes)."""
        x = self.pool(torch.relu(self.norm(self.stem(x))))
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.head(x.mean(dim=(2, 3)))

    def layout(self) -> UnitLayout:
        """All channels that can go: one pool for each stage and for the inside of each block."""
        slices: list[UnitSlices] = []
        pools: list[int] = []

        def add(rows: list[Tensor], columns: list[Tensor]) -> None:
            units = torch.arange(len(rows[0])) + len(pools)
            slices.extend(UnitSlices(parameter, 0, units) for parameter in rows)
            slices.extend(UnitSlices(parameter, 1, units) for parameter in columns)
            pools.extend([pools[-1] + 1 if pools else 0] * len(units))

        for number in range(len(WIDTHS)):
            self._add_stage(number, add)
        return UnitLayout(slices, num_units=len(pools), pool_of_unit=torch.tensor(pools))

    def _add_stage(self, number: int, add: Callable[[list[Tensor], list[Tensor]], None]) -> None:
        first, second = self.stages[number]
        made = [first.conv2, first.bn2, second.conv2, second.bn2]
        made += [self.stem, self.norm] if number == 0 else list(first.shortcut)
        read = [second.conv1.weight]
        if number == 0:
            read.append(first.conv1.weight)
        if number + 1 < len(WIDTHS):
            following = self.stages[number + 1][0]
            read += [following.conv1.weight, following.shortcut[0].weight]
        else:
            read.append(self.head.weight)
        add([parameter for module in made for parameter in module.parameters()], read)
        for block in (first, second):
            inside = [*block.conv1.parameters(), *block.bn1.parameters()]
            add(inside, [block.conv2.weight])
