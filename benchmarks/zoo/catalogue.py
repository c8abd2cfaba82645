"""Every network of the zoo by name: at full size, and small enough for a test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from benchmarks.zoo.carn import Carn
from benchmarks.zoo.darts import DartsSupernet
from benchmarks.zoo.demo_net import DemoNet
from benchmarks.zoo.demo_supnet import DemoSupNet
from benchmarks.zoo.references import DenseNet, Vgg16, resnet18, resnet50
from benchmarks.zoo.reg_net import RegNet
from benchmarks.zoo.stacked_unets import StackedUnets
from benchmarks.zoo.super_resnet import PLAN, SuperResNet

_SMALL = (3, 16, 16)
_CIFAR = (3, 32, 32)


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network.

    Attributes:
        full: Makes it as it is in PAPER.md.
        small: Makes it with few channels, the graph the same or shorter.
        image: (C, H, W) of the full one.
        small_image: (C, H, W) of the small one.
    """

    full: Callable[[], nn.Module]
    small: Callable[[], nn.Module]
    image: tuple[int, int, int] = _CIFAR
    small_image: tuple[int, int, int] = _SMALL

    def build(self, *, is_small: bool = False, seed: int = 0) -> nn.Module:
        """The network with weights drawn by ``seed``."""
        torch.manual_seed(seed)
        return self.small() if is_small else self.full()


NETWORKS: Mapping[str, Network] = {
    "stacked_unets": Network(full=StackedUnets, small=partial(StackedUnets, 6)),
    "demo_supnet": Network(
        full=DemoSupNet,
        small=partial(DemoSupNet, (6, 8, 8, 8, 8)),
        image=(1, 32, 32),
        small_image=(1, 16, 16),
    ),
    "demo_net": Network(full=DemoNet, small=partial(DemoNet, 4)),
    "demo_net_2": Network(full=partial(DemoNet, variant=2), small=partial(DemoNet, 4, variant=2)),
    "darts_8": Network(full=DartsSupernet, small=partial(DartsSupernet, 4, 2)),
    "darts_14": Network(
        full=partial(DartsSupernet, 16, 14, 1000, stem="imagenet"),
        small=partial(DartsSupernet, 4, 1, stem="imagenet"),
        image=(3, 224, 224),
        small_image=(3, 64, 64),
    ),
    "super_resnet": Network(full=SuperResNet, small=partial(SuperResNet, PLAN[:3], last=16)),
    "regnet_x": Network(
        full=RegNet, small=partial(RegNet, depths=(1, 2), widths=(8, 16), group_width=4)
    ),
    "regnet_y": Network(
        full=partial(RegNet, gated=True),
        small=partial(RegNet, gated=True, depths=(1, 2), widths=(8, 16), group_width=4),
    ),
    "carn": Network(full=Carn, small=partial(Carn, 6), image=(3, 48, 48), small_image=(3, 8, 8)),
    "resnet18": Network(full=resnet18, small=partial(resnet18, 4)),
    "resnet50": Network(full=resnet50, small=partial(resnet50, 2)),
    "vgg16_bn": Network(full=Vgg16, small=partial(Vgg16, 4), small_image=_CIFAR),
    "densenet121": Network(
        full=DenseNet, small=partial(DenseNet, (2, 3), growth=4, num_classes=10)
    ),
}
