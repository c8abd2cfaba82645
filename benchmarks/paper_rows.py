"""The rows of the paper's tables that can be trained here, with what was published for them.

Sections are those of PAPER.md. A target that the paper states for its own widths is the share that
its sub-network has on the rebuilt ones, where that is known (2.1); recipes of 2.1 and 2.2 are not
published, so those are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graph_analysis.search_space import GroupKind

OPERATORS = frozenset({GroupKind.OPERATOR})
EVERYTHING = frozenset(GroupKind)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of one table.

    Attributes:
        section: Of PAPER.md.
        network: Of the zoo.
        data: Of ``paper_data.READERS``.
        target_ratio: Share of ``quantity`` that remains.
        quantity: ``macs`` or ``parameters``.
        kinds: What may go: the paper's rows of 2.1 to 2.3 erase operators only.
        published: As printed: percent of top-1, million MACs, million parameters, full and cut.
        epochs: Of the recipe.
        settings: Of ``TrainConfig``, beside the above.
        recipe: Whose it is.
    """

    section: str
    network: str
    data: str
    target_ratio: float
    quantity: str = "macs"
    kinds: frozenset[GroupKind] = OPERATORS
    published: Mapping[str, float]
    epochs: int
    settings: Mapping[str, Any]
    recipe: str = "ours; the paper's is not published"


_OURS: Mapping[str, Any] = {
    "batch_size": 64,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "warm_up_ratio": 0.1,
    "search_ratio": 0.2,
}
_TABLE = "of the table; learning rate by cosine instead of steps"
# start epoch over epochs, batch, learning rate and weight decay are the table's
_SUPER: Mapping[str, Any] = {**_OURS, "label_smoothing": 0.1}


def _published(**figures: float) -> Mapping[str, float]:
    return figures


ROWS: Mapping[str, Row] = {
    "demo_supnet": Row(
        section="2.1",
        network="demo_supnet",
        data="fashion-mnist",
        target_ratio=0.53,  # 109 of 208 M: Conv2, Conv3 and Conv8 without their norms and columns
        published=_published(
            full_top1=84.9,
            full_macs=209,
            full_parameters=0.82,
            top1=84.7,
            macs=107,
            parameters=0.45,
        ),
        epochs=100,
        settings=_OURS,
    ),
    "stacked_unets": Row(
        section="2.1",
        network="stacked_unets",
        data="svhn",
        target_ratio=0.58,  # 119.7 of 207.0 M: the right half, and the deepest part of the left
        published=_published(
            full_top1=95.3,
            full_macs=184,
            full_parameters=0.80,
            top1=96.1,
            macs=115,
            parameters=0.37,
        ),
        epochs=100,
        settings=_OURS,
    ),
    "darts_8": Row(
        section="2.1",
        network="darts_8",
        data="stl10",
        target_ratio=127 / 614,
        published=_published(
            full_top1=74.6,
            full_macs=614,
            full_parameters=4.05,
            top1=75.1,
            macs=127,
            parameters=0.64,
        ),
        epochs=100,
        settings=_OURS,
    ),
    "super_resnet_1m": Row(
        section="2.2",
        network="super_resnet",
        data="cifar10",
        target_ratio=0.17,  # 1.0 of 5.88 M
        quantity="parameters",
        published=_published(top1=96.3, parameters=1.0),
        epochs=300,
        settings=_SUPER,
    ),
    "super_resnet_2m": Row(
        section="2.2",
        network="super_resnet",
        data="cifar10",
        target_ratio=0.34,  # 2.0 of 5.88 M
        quantity="parameters",
        published=_published(top1=97.5, parameters=2.0),
        epochs=300,
        settings=_SUPER,
    ),
    "resnet18": Row(
        section="2.5",
        network="resnet18",
        data="cifar10",
        target_ratio=112.5 / 555.4,
        kinds=EVERYTHING,
        published=_published(
            full_top1=93.02,
            full_macs=555.4,
            full_parameters=11.17,
            top1=92.86,
            macs=112.5,
            parameters=0.98,
        ),
        epochs=300,
        settings={**_OURS, "weight_decay": 1e-4, "warm_up_ratio": 50 / 300},
        recipe=_TABLE,
    ),
    "resnet50": Row(
        section="2.5",
        network="resnet50",
        data="cifar10",
        target_ratio=129.3 / 1297.8,
        kinds=EVERYTHING,
        published=_published(
            full_top1=93.62,
            full_macs=1297.8,
            full_parameters=23.5,
            top1=94.39,
            macs=129.3,
            parameters=0.84,
        ),
        epochs=300,
        settings={**_OURS, "weight_decay": 1e-3, "warm_up_ratio": 10 / 300},
        recipe=_TABLE,
    ),
    "vgg16_bn": Row(
        section="2.5",
        network="vgg16_bn",
        data="cifar10",
        target_ratio=83.4 / 313.7,
        kinds=EVERYTHING,
        published=_published(
            full_macs=313.7, full_parameters=15.25, top1=93.27, macs=83.4, parameters=0.77
        ),
        epochs=300,
        settings={**_OURS, "warm_up_ratio": 50 / 300},
        recipe="epochs and start of the table; without its MixUp and l1 norm",
    ),
    "carn": Row(
        section="2.5",
        network="carn",
        data="div2k",
        target_ratio=1 - 0.816,
        kinds=EVERYTHING,
        published=_published(psnr_set14=33.05, psnr_b100=31.81, psnr_urban100=30.79),
        epochs=1,
        settings={"optimizer": "adam", "lr": 1e-4, "batch_size": 64},
        recipe="of the table",
    ),
}
