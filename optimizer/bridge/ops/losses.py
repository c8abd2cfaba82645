"""Losses that a training graph brings along."""

import torch
from torch.nn import functional

from optimizer.bridge.call import Call
from optimizer.bridge.registry import operator
from optimizer.bridge.values import Value

_NOTHING = -100  # torch's own default: a label that no data set has


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood(call: Call) -> Value:
    """Loss of log-probabilities ``(N, C, ...)`` against labels ``(N, ...)``."""
    scores, labels, weight = call.tensor(0), call.tensor(1), call.optional(2)
    ignored = call.attribute("ignore_index", _NOTHING)
    reduction = call.attribute("reduction", "mean")
    return call.write.emit(likelihood_loss, scores, labels, weight, ignored, reduction)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(call: Call) -> Value | list[Value]:
    """The same from scores; the log-probabilities are a second output."""
    labels, weight = call.tensor(1), call.optional(2)
    ignored = call.attribute("ignore_index", _NOTHING)
    reduction = call.attribute("reduction", "mean")
    scores = call.write.emit(torch.log_softmax, call.tensor(0), 1)
    loss = call.write.emit(likelihood_loss, scores, labels, weight, ignored, reduction)
    return [loss, scores][: call.num_outputs]


def likelihood_loss(
    scores: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor | None,
    ignored: int,
    reduction: str,
) -> torch.Tensor:
    """Negative log-likelihood; samples labelled ``ignored`` do not count."""
    return functional.nll_loss(
        scores, labels.to(torch.int64), weight, ignore_index=ignored, reduction=reduction
    )
