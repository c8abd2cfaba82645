"""Two sets of outputs side by side: how far apart they are, and how far they may be.

Element-wise and absolute against the scale of the reference. Sums, means and relative tolerances
near 1 are not used: they accept anything. So does a reference that is zero throughout, which
``is_zero`` finds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Outputs = Mapping[str, npt.NDArray[Any]]


_LARGEST_SHARE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """``difference <= relative * max|reference| + absolute``.

    The absolute part never exceeds a thousandth of the scale (or the relative part, if that is
    larger): beside a reference of 1e-7 a fixed 1e-6 would accept anything.
    """

    relative: float
    absolute: float = 1e-6

    def limit(self, scale: float) -> float:
        """The largest difference accepted beside a reference of this scale."""
        share = max(self.relative, _LARGEST_SHARE)
        return self.relative * scale + min(self.absolute, share * scale)


EXACT = Tolerance(relative=1e-5)  # 50 times the rounding measured between masked and cut
ACROSS_LEVELS = Tolerance(relative=1e-4)
INSIDE = Tolerance(relative=1e-3, absolute=0.0)  # a wrong position is off by far more
HALF = Tolerance(relative=3e-2)  # 50 roundings of float16


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The worst output of one comparison.

    Attributes:
        output: Its name.
        max_difference: Largest absolute difference of any element; infinite if shapes differ.
        scale: Largest absolute value of the reference.
        limit: The largest difference that is accepted.
    """

    output: str
    max_difference: float
    scale: float
    limit: float

    @property
    def is_accepted(self) -> bool:
        """Whether the difference stays within the limit; not-a-number never does."""
        return self.max_difference <= self.limit


def compare(reference: Outputs, candidate: Outputs, tolerance: Tolerance) -> Difference:
    """The output whose difference is largest compared with its limit.

    Integers, booleans and strings must be equal: their difference is the number of elements that
    are not, their limit 0.
    """
    worst = Difference(output="", max_difference=0.0, scale=0.0, limit=0.0)
    if set(reference) != set(candidate):
        names = sorted(set(reference) ^ set(candidate))
        return Difference(output=names[0], max_difference=np.inf, scale=0.0, limit=0.0)
    for name, expected in reference.items():
        found = _difference(name, expected, candidate[name], tolerance)
        if not worst.output or _badness(found) > _badness(worst):
            worst = found
    return worst


def _badness(difference: Difference) -> float:
    if not np.isfinite(difference.max_difference):
        return np.inf
    return difference.max_difference / max(difference.limit, 1e-30)


def _difference(
    name: str, expected: npt.NDArray[Any], found: npt.NDArray[Any], tolerance: Tolerance
) -> Difference:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return Difference(output=name, max_difference=np.inf, scale=0.0, limit=0.0)
    if not is_float(expected):
        count = float(np.sum(expected != found))
        return Difference(output=name, max_difference=count, scale=0.0, limit=0.0)
    a, b = expected.astype(np.float64), found.astype(np.float64)
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        return Difference(output=name, max_difference=np.inf, scale=0.0, limit=0.0)
    scale = float(np.max(np.abs(a), initial=0.0))
    worst = float(np.max(np.abs(a - b), initial=0.0))
    return Difference(output=name, max_difference=worst, scale=scale, limit=tolerance.limit(scale))


def is_float(values: npt.NDArray[Any]) -> bool:
    """Whether ``values`` are real numbers, the types of ml_dtypes (kind V) among them."""
    return values.dtype.kind in "fV"


def is_finite(outputs: Outputs) -> bool:
    """Whether no output holds an infinity or a not-a-number."""
    return all(
        bool(np.all(np.isfinite(values.astype(np.float64))))
        for values in outputs.values()
        if is_float(values)
    )


def zero_outputs(outputs: Outputs) -> frozenset[str]:
    """Names of the float outputs that are 0 throughout: comparing them shows nothing."""
    return frozenset(
        name for name, values in outputs.items() if is_float(values) and not np.any(values)
    )


def all_zero(outputs: Outputs) -> bool:
    """Whether every output is a float output that is 0 throughout."""
    return bool(outputs) and len(zero_outputs(outputs)) == len(outputs)


def top1(reference: Outputs, candidate: Outputs, tolerance: Tolerance) -> tuple[int, int]:
    """How many rows agree on their largest entry, and how many rows there are.

    Looks at the first float output with two entries or more along its last axis; a row counts as
    agreeing when the candidate's choice is within twice the tolerance of the reference's best.
    """
    for name, expected in reference.items():
        if not is_float(expected) or expected.ndim not in (2, 3) or expected.shape[-1] < 2:
            continue
        rows = expected.reshape(-1, expected.shape[-1]).astype(np.float64)
        chosen = candidate[name].reshape(rows.shape).argmax(axis=1)
        limit = 2 * tolerance.limit(float(np.max(np.abs(rows), initial=0.0)))
        best = rows.max(axis=1)
        return int(np.sum(rows[np.arange(len(rows)), chosen] >= best - limit)), len(rows)
    return 0, 0
