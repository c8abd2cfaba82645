"""Names of the saliencies, and the text that mixes several; needs no torch.

What the names measure stands in ``optimizer.h2spg.saliency``.
"""

from collections.abc import Mapping
from math import isfinite

MIXABLE = ("magnitude", "taylor", "taylor-second", "fisher", "fisher-diagonal", "cosine")
WHOLE = ("paper", "hesso")  # normalised over all units by themselves: only alone
SALIENCIES = MIXABLE + WHOLE
LEGAL = f"{', '.join(SALIENCIES)}, or a mix such as magnitude+taylor or 0.7*magnitude+0.3*taylor"


def parse_saliency(given: str | Mapping[str, float]) -> dict[str, float]:
    """Read names and weights.

    Args:
        given: A name; names with ``+`` between them, each with a weight and ``*`` before it or
            without (then it is 1); or a mapping of names to weights.

    Returns:
        Name -> share, above 0, together 1; in the order given.

    Raises:
        ValueError: An unknown name, one twice, a weight that is no number above 0, or a mix with
            one of ``WHOLE``.

    Example:
        >>> parse_saliency("3*magnitude+taylor")
        {'magnitude': 0.75, 'taylor': 0.25}
    """
    terms = _terms(given) if isinstance(given, str) else list(given.items())
    names = [name for name, _ in terms]
    unknown = [name for name in names if name not in SALIENCIES]
    if unknown or not names:
        message = f"unknown saliency {unknown[0] if unknown else ''!r}; legal: {LEGAL}"
        raise ValueError(message)
    if len(set(names)) < len(names):
        message = f"a saliency is named twice in {given!r}"
        raise ValueError(message)
    if not all(_is_weight(weight) for _, weight in terms):
        message = f"weights of saliencies must be numbers above 0, got {given!r}"
        raise ValueError(message)
    alone = [name for name in names if name in WHOLE]
    if alone and len(names) > 1:
        message = f"saliency {alone[0]!r} is normalised over all units and cannot be mixed"
        raise ValueError(message)
    total = sum(weight for _, weight in terms)
    return {name: weight / total for name, weight in terms}


def is_saliency(given: object) -> bool:
    """Whether ``parse_saliency`` takes it."""
    if not isinstance(given, str):
        return False
    try:
        parse_saliency(given)
    except ValueError:
        return False
    return True


def _terms(text: str) -> list[tuple[str, float]]:
    terms = []
    for term in text.split("+"):
        weight, star, name = term.rpartition("*")
        try:
            terms.append((name.strip(), float(weight) if star else 1.0))
        except ValueError:
            message = f"weight {weight.strip()!r} of saliency {name.strip()!r} is no number"
            raise ValueError(message) from None
    return terms


def _is_weight(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value < 1e9 and isfinite(value)  # type: ignore[operator,arg-type]
