"""How far the module in training is from the original model: distances that need no labels.

Shape letters: N samples, K classes, L numbers that are labels of their own.
"""

from torch import Tensor
from torch.nn import functional

from optimizer.trainer.outputs import TINY


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student), both softened by T; mean over samples (Hinton et al., 2015).

    Args:
        student: Scores (N, K).
        teacher: Scores (N, K).
        temperature: T.
    """
    return temperature**2 * functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def distillation_of_each(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The same where every number is a yes or no of its own: mean over all of them.

    Args:
        student: Scores (N, L), or of any other shape.
        teacher: Scores of the same shape.
        temperature: T.
    """
    wanted = (teacher / temperature).sigmoid()
    cross = functional.binary_cross_entropy_with_logits(student / temperature, wanted)
    own = functional.binary_cross_entropy_with_logits(teacher / temperature, wanted)
    return temperature**2 * (cross - own)


def mean_square(teacher: Tensor) -> Tensor:
    """What ``relative_error`` divides by."""
    return teacher.square().mean().clamp_min(TINY)


def relative_error(student: Tensor, teacher: Tensor, scale: Tensor | None = None) -> Tensor:
    """Mean square error divided by the teacher's mean square, so that the scale does not matter.

    Args:
        student: Any values.
        teacher: Of the same shape.
        scale: The mean square of a batch that this is a part of; None takes the teacher's here.
    """
    divisor = mean_square(teacher) if scale is None else scale
    return functional.mse_loss(student, teacher) / divisor
