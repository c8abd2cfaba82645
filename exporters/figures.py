"""The figures of a proof: what was compared, how it came out, and their JSON form."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from exporters.sessions import LEVELS


@dataclass(frozen=True, kw_only=True)
class GateFigure:
    """One comparison: which gate, on what, and how it came out."""

    gate: str
    level: str
    batch: int
    source: str
    output: str
    max_difference: float
    scale: float
    limit: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """The first tensor, in order of computation, that is not as it must be.

    Attributes:
        tensor: Its name.
        operator: What makes it; empty for a weight.
        node: Name of the node that makes it; may be empty.
        problem: What is wrong with it, in words.
        max_difference: Largest absolute difference of an element; None where they have no figures.
        scale: Largest absolute value of the reference; None likewise.
        differing: Elements that differ by more than rounding.
        elements: Elements that there are.
    """

    tensor: str
    operator: str
    node: str
    problem: str
    max_difference: float | None = None
    scale: float | None = None
    differing: int = 0
    elements: int = 0

    def __str__(self) -> str:
        """The tensor, what makes it, and what is wrong."""
        made = " ".join(filter(None, (self.operator, self.node and repr(self.node))))
        return " ".join(filter(None, (repr(self.tensor), made and f"({made})", self.problem)))


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was compared and how it came out.

    Attributes:
        passed: Whether every gate holds.
        figures: One entry per gate, level and input.
        samples: Samples compared with optimisations off, random ones included.
        real_samples: Those among them that were given.
        batch_sizes: Lengths of the batch axis that were run, ascending.
        levels: Optimisation levels that were run.
        inner_tensors: Tensors inside the network that were compared as well.
        branches: Branches of If nodes in the cut model that an input could reach.
        branches_run: Those among them that were compared, each made to be taken.
        mismatch: Where a proof that failed first went wrong, if that could be found.
        top1_agreement: Share of rows in which both choose alike (0..1); None without such rows.
        notes: What a reader should know: disagreements of the original with itself and the like.
    """

    passed: bool
    figures: tuple[GateFigure, ...] = ()
    samples: int = 0
    real_samples: int = 0
    batch_sizes: tuple[int, ...] = ()
    levels: tuple[str, ...] = LEVELS
    inner_tensors: int = 0
    branches: int = 0
    branches_run: int = 0
    mismatch: Mismatch | None = None
    top1_agreement: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def max_difference(self) -> float:
        """Largest difference of any output element with optimisations off (gate G3)."""
        return max((f.max_difference for f in self.figures if f.gate == "G3"), default=0.0)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Proof":
        """The proof that :meth:`to_dict` wrote down."""
        values: dict[str, Any] = {name: data[name] for name in cls.__dataclass_fields__}
        values["figures"] = tuple(
            GateFigure(**_with_infinities(figure)) for figure in data["figures"]
        )
        for name in ("batch_sizes", "levels", "notes"):
            values[name] = tuple(values[name])
        if values["mismatch"] is not None:
            values["mismatch"] = Mismatch(**values["mismatch"])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The proof as JSON-compatible values; an infinite difference becomes null."""
        data = asdict(self) | {"max_difference": self.max_difference}
        return {key: _without_infinities(value) for key, value in data.items()}


def _with_infinities(figure: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.inf if value is None else value for name, value in figure.items()}


def _without_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinities(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
