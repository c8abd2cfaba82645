"""Settings that are legal one by one and not together."""

from typing import Protocol


class Settings(Protocol):
    """The part of ``TrainConfig`` that can contradict itself."""

    @property
    def warm_up(self) -> float: ...  # noqa: D102 - as in TrainConfig, like the others
    @property
    def search(self) -> float: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def accumulate(self) -> int: ...  # noqa: D102
    @property
    def start(self) -> str: ...  # noqa: D102
    @property
    def loss(self) -> str: ...  # noqa: D102
    @property
    def feature_weight(self) -> float: ...  # noqa: D102
    @property
    def early_stop(self) -> bool: ...  # noqa: D102
    @property
    def max_accuracy_drop(self) -> float | None: ...  # noqa: D102
    @property
    def ema_decay(self) -> float | None: ...  # noqa: D102


TEACHER_LOSSES = ("distillation", "mix")  # what is learned from the original network


def contradictions(settings: Settings) -> list[tuple[str, str]]:
    """Name every pair of ``settings`` that cannot be had together.

    Returns:
        The setting to change and the reason, for each.
    """
    found = []
    if settings.warm_up + settings.search > 1:
        text = "warm_up_ratio + search_ratio is above 1, so nothing could arrive in time"
        found.append(("search_ratio", text))
    elif settings.warm_up + settings.search == 1 and settings.ema_decay is not None:
        text = (
            f"ema_decay={settings.ema_decay} averages the steps after the arrival, and "
            "warm_up_ratio + search_ratio = 1 leaves none"
        )
        found.append(("ema_decay", text))
    if settings.accumulate > settings.batch_size:
        text = (
            f"accumulate={settings.accumulate} parts of a batch of {settings.batch_size} samples "
            "would be empty"
        )
        found.append(("accumulate", text))
    if settings.early_stop and settings.max_accuracy_drop is None:
        text = "early_stop=True needs max_accuracy_drop, which says what is good enough"
        found.append(("early_stop", text))
    if settings.start == "scratch":
        found += _of_scratch(settings)
    return found


def _of_scratch(settings: Settings) -> list[tuple[str, str]]:
    found = []
    if settings.loss in TEACHER_LOSSES:
        text = f"loss={settings.loss!r} learns from the original, which start='scratch' leaves out"
        found.append(("loss", text))
    if settings.feature_weight:
        text = "feature_weight learns from the original, which start='scratch' leaves out"
        found.append(("feature_weight", text))
    if settings.max_accuracy_drop is not None:
        text = "start='scratch' has no original accuracy that max_accuracy_drop could count from"
        found.append(("max_accuracy_drop", text))
    return found
