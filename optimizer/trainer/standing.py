"""Where a run stands, apart from weights and optimizer: history, the best so far, restarts."""

from collections.abc import Mapping
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
