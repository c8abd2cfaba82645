"""What the numbers of an output are, told from what the original model returned.

Shape letters: N samples, K classes.
"""

from enum import StrEnum

from torch import Tensor

TINY = 1e-12
_SUM_TOLERANCE = 1e-3
_UNSURE = 1e-6  # a probability is never nearer to 0 or 1: its score would be infinite


class OutputKind(StrEnum):
    """What the numbers of one output are."""

    SCORES = "scores"  # (N, K >= 2), any real numbers: with labels, a softmax makes classes of them
    PROBABILITIES = "probabilities"  # (N, K >= 2), not negative, rows sum to 1
    VALUES = "values"  # everything else
    OTHER = "other"  # no floats: nothing to learn from


def kind_of(output: Tensor) -> OutputKind:
    """The kind of an output, judged by what the original model returned."""
    if not output.is_floating_point():
        return OutputKind.OTHER
    if output.dim() != 2 or output.shape[1] < 2:
        return OutputKind.VALUES
    return kind_along(output, 1)


def kind_along(output: Tensor, axis: int) -> OutputKind:
    """Whether the numbers along ``axis`` are probabilities or scores of classes."""
    sums_to_one = bool(((output.sum(dim=axis) - 1).abs() < _SUM_TOLERANCE).all())
    if sums_to_one and bool((output >= 0).all()):
        return OutputKind.PROBABILITIES
    return OutputKind.SCORES


def kind_of_each(output: Tensor) -> OutputKind:
    """Whether every number by itself is a probability: all lie in 0..1."""
    is_probability = bool(((output >= 0) & (output <= 1)).all())
    return OutputKind.PROBABILITIES if is_probability else OutputKind.SCORES


def is_classes(kind: OutputKind) -> bool:
    """Whether an output tells classes apart."""
    return kind in (OutputKind.SCORES, OutputKind.PROBABILITIES)


def scores(output: Tensor, kind: OutputKind) -> Tensor:
    """Scores (N, K) whose softmax is the class distribution."""
    return output.clamp_min(TINY).log() if kind is OutputKind.PROBABILITIES else output


def scores_of_each(output: Tensor, kind: OutputKind) -> Tensor:
    """Scores whose sigmoid is the probability of each label."""
    return output.logit(eps=_UNSURE) if kind is OutputKind.PROBABILITIES else output
