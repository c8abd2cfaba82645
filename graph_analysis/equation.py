"""Einsum equations: which index every axis of every operand carries.

Knows letters and ranks only; what an index ties is the business of ``rules.einsum``, what it costs
that of ``costs``. The axes that an ellipsis stands for are indices called ``...1`` (the last one),
``...2`` and so on, so that operands of different rank meet as in broadcasting.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Indices = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Equation:
    """One parsed equation: the index of every axis of the operands and of the output."""

    operands: tuple[Indices, ...]
    output: Indices

    @property
    def indices(self) -> Indices:
        """Every index once, in order of first appearance."""
        return tuple(dict.fromkeys(index for operand in self.operands for index in operand))

    @property
    def has_diagonal(self) -> bool:
        """Whether one operand carries an index twice."""
        return any(len(set(operand)) < len(operand) for operand in self.operands)


def parse(text: str, ranks: Sequence[int]) -> Equation | None:
    """Parse an equation for operands of the given ranks; None if the two do not fit.

    Example:
        >>> parse("bij, jk", (3, 2)).output
        ('b', 'i', 'k')
    """
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        return None
    operands = [_expanded(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    if any(operand is None for operand in operands):
        return None
    found = tuple(operand for operand in operands if operand is not None)
    spread = max((_spread(operand) for operand in found), default=0)
    dots = tuple(f"...{place}" for place in range(spread, 0, -1))
    if arrow:
        before, ellipsis, after = right.partition("...")
        output = (*before, *(dots if ellipsis else ()), *after)
    else:
        counts = Counter(index for operand in found for index in operand)
        once = (name for name, count in counts.items() if count == 1 and len(name) == 1)
        output = (*dots, *sorted(once))
    known = {index for operand in found for index in operand}
    fits = set(output) <= known and len(set(output)) == len(output)
    return Equation(operands=found, output=tuple(output)) if fits else None


def _expanded(term: str, rank: int) -> Indices | None:
    before, ellipsis, after = term.partition("...")
    missing = rank - len(before) - len(after)
    if missing < 0 or (missing and not ellipsis):
        return None
    return (*before, *(f"...{place}" for place in range(missing, 0, -1)), *after)


def _spread(operand: Indices) -> int:
    return sum(1 for index in operand if len(index) > 1)
