"""Settings of one training run: frozen, and checked on construction.

Every default is right for fine-tuning a pretrained classifier; what moved accuracy and what did not
stands in the package's README.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from optimizer.contradictions import contradictions
from optimizer.errors import InputError
from optimizer.saliency_names import LEGAL, is_saliency

Quantity = Literal["macs", "parameters", "bytes", "latency"]

DEFAULT_LR = {"sgd": 0.05, "adam": 2e-3, "adamw": 2e-3}
DEFAULT_WEIGHT_DECAY = {"sgd": 1e-4, "adam": 0.0, "adamw": 1e-2}
QUANTITIES = ("macs", "parameters", "bytes", "latency")
LOSSES = (
    "auto",
    "mix",
    "distillation",
    "cross-entropy",
    "token-cross-entropy",
    "bce",
    "mse",
    "l1",
    "huber",
)
DEVICES = ("auto", "cpu", "cuda")
OPERATOR_SALIENCIES = ("ablation", "criterion")
COMPARISONS = ("auto", "loss", "relative")
RENORMALISE = ("auto", "on", "off")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
LR_SCHEDULES = ("cosine", "one-cycle", "constant", "step")
STARTS = ("pretrained", "scratch")
LAYOUTS = ("auto", "channels-last", "plain")
DEFAULT_WARM_UP = {"pretrained": 0.05, "scratch": 0.2}
PERIOD_SHARE = 0.04
_LONGEST_SEARCH = 0.5
_PERIOD_LEAVES, _FEWEST_PERIODS, _MOST_PERIODS = 0.76, 2, 5  # 0.76 ** 5 is about a quarter
AUGMENT = ("none", "flip-crop", "rand")
SYNC_BATCH_NORM = ("on", "off")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a run is told.

    Attributes:
        target_ratio: Share of ``quantity`` that remains (0..1).
        quantity: ``macs``, ``parameters``, ``bytes`` or ``latency``.
        epochs: Passes over the training data, all phases together.
        batch_size: Samples per step; fewer where the data has fewer.
        optimizer: ``sgd`` (Nesterov momentum), ``adam`` or ``adamw``.
        lr: Largest learning rate; None takes ``DEFAULT_LR``.
        momentum: SGD only.
        weight_decay: On weights with two or more axes; None takes ``DEFAULT_WEIGHT_DECAY``.
        clip_norm: Largest norm of the gradient; None leaves it alone.
        lr_schedule: ``cosine`` to 0, ``one-cycle`` (a longer rise from a 25th, then cosine to 0),
            ``constant``, or ``step`` (a tenth after half and after three quarters of the steps).
        lr_warm_up_ratio: Share of the steps in which the learning rate rises to its peak.
        precision: What convolutions and products are computed in: ``float32`` (as in the file),
            ``bfloat16`` or ``float16`` with weights and H2SPG in float32; ``auto`` takes bfloat16
            on a GPU that has it, else float32.
        accumulate: Parts that the batch of a step is computed in, one after the other.
        ema_decay: Of the moving average of the weights after the arrival, which is judged beside
            them; None keeps none.
        start: ``pretrained`` goes on from the weights of the file; ``scratch`` draws new ones.
        max_accuracy_drop: Loss of accuracy against the original that is good enough (0..1).
        early_stop: Whether the run ends as soon as it is good enough.
        patience: Evaluations after the arrival without a better network that end the run.
        layout: ``channels-last`` lays images out with channels innermost, ``plain`` does not;
            ``auto`` does so for networks of plain convolutions over images.
        checkpointing: Parts of the graph of which all but the last are computed again in the
            backward pass, to save memory; 1 keeps everything.
        loss: ``auto`` mixes labels and distillation where there are labels that fit, else distils;
            ``mix`` insists on labels, ``distillation`` uses none, the name of a task uses nothing
            else (``trainer.choosing``); ``mse`` without such labels distils by values.
        distillation_weight: Share of distillation in the mix (0..1).
        feature_weight: Of the distance to the original at ends of segments, beside the loss; 0 is
            off.
        temperature: Softens both sides of the distillation of class scores.
        label_smoothing: Of the cross-entropy.
        ignore_index: Label of positions that ``token-cross-entropy`` leaves out.
        augment: What training images go through: ``none``, ``flip-crop``, or ``rand`` (that, two
            random operations and erasing). Off by default: a mirrored 2 is no 2.
        augment_magnitude: Of ``rand`` (0..1).
        mixup: alpha of blending samples and their labels; 0 is off.
        cutmix: alpha of setting one image into another; 0 is off.
        warm_up_ratio: Share of the steps before the first decision; None takes
            ``DEFAULT_WARM_UP``.
        search_ratio: Share of the steps from the first decision to the arrival; None takes
            ``PERIOD_SHARE`` for each period, half of the steps at most.
        periods: Decisions; each removes the same share of what the last one left. None takes 2 to 5
            by the target: a network that loses little is disturbed less often.
        saliency: Criterion of channels, and of operators too unless they are ablated; or a mix of
            several, such as ``0.7*magnitude+0.3*taylor``.
        measure_every: Saliency is measured in one of so many steps, the last before each decision
            among them.
        operator_saliency: ``ablation`` measures how much the loss rises without each structure;
            ``criterion`` treats structures as channels are.
        comparison: How units of different groups are compared: by the ``loss`` that narrowing
            their group costs per share of the budget saved, measured on trial (whole structures
            too); or ``relative`` to the mean saliency of their group. ``auto`` is the loss where
            the trials are no more than half as many as the steps, and structures are ablated.
        renormalise: Whether convolutions whose normalisations an exporter folded away get new ones
            for the time of training: ``auto`` where the whole network looks so, ``on``, ``off``.
        cut_during_training: Whether what has become zero is cut out of the network that trains, so
            that steps get faster; the result differs by rounding only.
        sync_batch_norm: Whether normalisations take the statistics of a step over the samples of
            all processes (``on``) or of each one's own (``off``); one process alone has all.
        probe_samples: Training samples that ablation, the kind of the outputs and the statistics of
            new normalisations are measured on; trials take fewer (two batches at least) where all
            of them would see more samples than the run trains on.
        validation_ratio: Share of the training data held out where there is no validation data.
        seed: Of everything that is random.
        time_budget: Seconds of training; the schedule is compressed to fit. None is unlimited.
        checkpoint_steps: A checkpoint at least every so many steps,
        checkpoint_seconds: and at least every so many seconds.
        device: ``auto`` takes a GPU where there is one.
    """

    target_ratio: float
    quantity: Quantity = "macs"
    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    clip_norm: float | None = 5.0
    lr_schedule: str = "cosine"
    lr_warm_up_ratio: float = 0.1
    precision: str = "float32"
    accumulate: int = 1
    ema_decay: float | None = None
    start: str = "pretrained"
    max_accuracy_drop: float | None = None
    early_stop: bool = False
    patience: int | None = None
    layout: str = "auto"
    checkpointing: int = 1
    loss: str = "auto"
    distillation_weight: float = 0.9
    feature_weight: float = 0.0
    temperature: float = 4.0
    label_smoothing: float = 0.0
    ignore_index: int = -100
    augment: str = "none"
    augment_magnitude: float = 0.3
    mixup: float = 0.0
    cutmix: float = 0.0
    warm_up_ratio: float | None = None
    search_ratio: float | None = None
    periods: int | None = None
    saliency: str = "magnitude"
    measure_every: int = 1
    operator_saliency: str = "ablation"
    comparison: str = "auto"
    renormalise: str = "auto"
    cut_during_training: bool = True
    sync_batch_norm: str = "on"
    probe_samples: int = 256
    validation_ratio: float = 0.1
    seed: int = 0
    time_budget: float | None = None
    checkpoint_steps: int = 100
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values outside their range: all of them at once.

        Raises:
            InputError: Names every offender with its value and legal range; ``param`` is the first.
        """
        broken = [
            (name, f"{name}={getattr(self, name)!r} (legal: {legal})")
            for name, legal, holds in _RULES
            if not holds(getattr(self, name))
        ]
        broken = broken or contradictions(self)
        if broken:
            message = f"invalid training settings: {'; '.join(text for _, text in broken)}"
            raise InputError(message, param=broken[0][0])

    @property
    def peak_lr(self) -> float:
        """The largest learning rate."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr

    @property
    def warm_up(self) -> float:
        """Share of the steps before the first decision."""
        given = self.warm_up_ratio
        return DEFAULT_WARM_UP[self.start] if given is None else given

    @property
    def num_periods(self) -> int:
        """Decisions that are wanted; short runs make fewer (``trainer.plan``)."""
        if self.periods is not None:
            return self.periods
        wanted = round(math.log(self.target_ratio, _PERIOD_LEAVES))
        return min(max(wanted, _FEWEST_PERIODS), _MOST_PERIODS)

    @property
    def search(self) -> float:
        """Share of the steps from the first decision to the arrival."""
        if self.search_ratio is not None:
            return self.search_ratio
        return min(PERIOD_SHARE * self.num_periods, _LONGEST_SEARCH)

    @property
    def decay(self) -> float:
        """The weight decay."""
        given = self.weight_decay
        return DEFAULT_WEIGHT_DECAY[self.optimizer] if given is None else given

    def identity(self) -> dict[str, Any]:
        """What two runs must share for one to go on from the other's checkpoint."""
        free = ("time_budget", "checkpoint_steps", "checkpoint_seconds", "device")
        return {name: value for name, value in asdict(self).items() if name not in free}


def _is_whole(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_between(low: float, high: float, *, strict: bool = False) -> Callable[[Any], bool]:
    return lambda value: low < value < high if strict else low <= value <= high


def _is_one_of(names: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda value: value in names


def _or_none(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


_MOST = 1e9
_POSITIVE = _is_between(0.0, _MOST, strict=True)

_RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("target_ratio", "above 0 and below 1", _is_between(0.0, 1.0, strict=True)),
    ("quantity", ", ".join(QUANTITIES), _is_one_of(QUANTITIES)),
    ("epochs", "whole, at least 1", _is_whole(1)),
    ("batch_size", "whole, at least 1", _is_whole(1)),
    ("optimizer", ", ".join(DEFAULT_LR), _is_one_of(tuple(DEFAULT_LR))),
    ("lr", "above 0", _or_none(_POSITIVE)),
    ("momentum", "above 0 and below 1", _is_between(0.0, 1.0, strict=True)),
    ("weight_decay", "0 or more", _or_none(_is_between(0.0, _MOST))),
    ("clip_norm", "above 0", _or_none(_POSITIVE)),
    ("lr_schedule", ", ".join(LR_SCHEDULES), _is_one_of(LR_SCHEDULES)),
    ("lr_warm_up_ratio", "0 to 1", _is_between(0.0, 1.0)),
    ("precision", ", ".join(PRECISIONS), _is_one_of(PRECISIONS)),
    ("accumulate", "whole, at least 1", _is_whole(1)),
    ("ema_decay", "above 0 and below 1", _or_none(_is_between(0.0, 1.0, strict=True))),
    ("start", ", ".join(STARTS), _is_one_of(STARTS)),
    ("max_accuracy_drop", "0 to 1", _or_none(_is_between(0.0, 1.0))),
    ("early_stop", "true or false", lambda value: isinstance(value, bool)),
    ("patience", "whole, at least 1", _or_none(_is_whole(1))),
    ("layout", ", ".join(LAYOUTS), _is_one_of(LAYOUTS)),
    ("checkpointing", "whole, at least 1", _is_whole(1)),
    ("loss", ", ".join(LOSSES), _is_one_of(LOSSES)),
    ("distillation_weight", "0 to 1", _is_between(0.0, 1.0)),
    ("feature_weight", "0 or more", _is_between(0.0, _MOST)),
    ("temperature", "above 0", _POSITIVE),
    ("label_smoothing", "0 to 1", _is_between(0.0, 1.0)),
    ("ignore_index", "whole", _is_whole(-(1 << 62))),
    ("augment", ", ".join(AUGMENT), _is_one_of(AUGMENT)),
    ("augment_magnitude", "0 to 1", _is_between(0.0, 1.0)),
    ("mixup", "0 to 10", _is_between(0.0, 10.0)),
    ("cutmix", "0 to 10", _is_between(0.0, 10.0)),
    ("warm_up_ratio", "0 to 1", _or_none(_is_between(0.0, 1.0))),
    ("search_ratio", "above 0 and below 1", _or_none(_is_between(0.0, 1.0, strict=True))),
    ("periods", "whole, at least 1", _or_none(_is_whole(1))),
    ("saliency", LEGAL, is_saliency),
    ("measure_every", "whole, at least 1", _is_whole(1)),
    ("operator_saliency", ", ".join(OPERATOR_SALIENCIES), _is_one_of(OPERATOR_SALIENCIES)),
    ("comparison", ", ".join(COMPARISONS), _is_one_of(COMPARISONS)),
    ("renormalise", ", ".join(RENORMALISE), _is_one_of(RENORMALISE)),
    ("cut_during_training", "true or false", lambda value: isinstance(value, bool)),
    ("sync_batch_norm", ", ".join(SYNC_BATCH_NORM), _is_one_of(SYNC_BATCH_NORM)),
    ("probe_samples", "whole, at least 1", _is_whole(1)),
    ("validation_ratio", "0 to 0.5", _is_between(0.0, 0.5)),
    ("seed", "whole, at least 0", _is_whole(0)),
    ("time_budget", "above 0", _or_none(_POSITIVE)),
    ("checkpoint_steps", "whole, at least 1", _is_whole(1)),
    ("checkpoint_seconds", "above 0", _POSITIVE),
    ("device", ", ".join(DEVICES), _is_one_of(DEVICES)),
)
