"""Images changed on the device, so that few samples teach more.

Tensor operations over the whole batch: no loop over samples, nothing read back from the device.
What a step sees is a function of (seed, step, stream), so a run that was resumed sees the same.

Values may be normalised in any way: what colour operations call black and white are the lowest and
the highest value of each channel in the batch, and what moves into a picture is its own reflection.
"""

from optimizer.trainer.augmentation.pipeline import Augmentation, augmentation_for

__all__ = ["Augmentation", "augmentation_for"]
