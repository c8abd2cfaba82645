"""Where a run stands, apart from weights and optimizer: history, the best so far, restarts."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from optimizer.trainer.evaluation import Evaluation


@dataclass
class Standing:
    """What a run knows besides weights and optimizer; JSON-compatible but for ``best_weights``."""

    restarts: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    latest: Evaluation | None = None
    best: Evaluation | None = None
    best_step: int = 0
    best_weights: dict[str, Tensor] | None = None
    halvings: int = 0  # of the part of a batch that is computed at once, for want of memory
    without_progress: int = 0  # evaluations since the best one
    ended: str | None = None  # why the run is over before its last step

    def offer(
        self, judged: Evaluation | None, step: int, weights: Callable[[], dict[str, Tensor]]
    ) -> bool:
        """Keep a network if it is the best so far.

        Args:
            judged: The network on the validation samples; None without any: then the last is best.
            step: Steps done.
            weights: Copies of its weights on the CPU, with all chosen units at 0.

        Returns:
            Whether it was kept.
        """
        if judged is not None and self.best is not None and not judged.is_better_than(self.best):
            return False
        self.best, self.best_step = judged, step
        self.best_weights = weights()
        return True

    def to_values(self) -> dict[str, Any]:
        """Everything but the weights, as JSON-compatible values."""
        values = asdict(replace(self, best_weights=None))
        del values["best_weights"]
        return values

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], best_weights: dict[str, Tensor] | None
    ) -> "Standing":
        """Put together again what ``to_values`` took apart."""
        judged = {
            name: None if values[name] is None else Evaluation(**values[name])
            for name in ("latest", "best")
        }
        return cls(**{**values, **judged, "best_weights": best_weights})
