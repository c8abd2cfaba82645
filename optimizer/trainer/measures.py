"""What says how good outputs are, apart from the loss: accuracies, and errors called errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure that is a quotient of two sums over samples.

    Attributes:
        name: As in reports.
        is_accuracy: Whether it is a share of right choices (0..1).
        rises: Whether more is better.
        is_root: Whether the figure is the root of the quotient.
    """

    name: str
    is_accuracy: bool = False
    rises: bool = True
    is_root: bool = False

    def value(self, counted: float, of: float) -> float | None:
        """The figure from both sums; None where there was nothing to count."""
        if not of:
            return None
        return sqrt(counted / of) if self.is_root else counted / of


ACCURACY = Measure(name="accuracy", is_accuracy=True)
TOKEN_ACCURACY = Measure(name="token-accuracy", is_accuracy=True)
F1 = Measure(name="f1")  # of all labels of all samples together (micro)
RMSE = Measure(name="rmse", rises=False, is_root=True)
MAE = Measure(name="mae", rises=False)
MEASURES: Mapping[str, Measure] = {
    measure.name: measure for measure in (ACCURACY, TOKEN_ACCURACY, F1, RMSE, MAE)
}
