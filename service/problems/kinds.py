"""One kind of problem: the stable code, the status it is answered with, and the text of its page.

The catalogue itself is in the three neighbouring modules (models, datasets, requests); here is only
the shape of an entry. Codes never change meaning: clients branch on them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProblemKind:
    """An entry of the catalogue.

    Attributes:
        code: Kebab-case slug; the last part of the problem's ``type``.
        status: HTTP status, or None if the problem is only ever found inside a job.
        title: The same for every occurrence, without a full stop (RFC 9457).
        meaning: What happened, for the page of the code.
        advice: What the reader can do about it.
        retryable: Whether the same request may succeed later, unchanged.
    """

    code: str
    status: int | None
    title: str
    meaning: str
    advice: str
    retryable: bool = False


def kind(
    code: str, status: int | None, title: str, meaning: str, advice: str, *, retryable: bool = False
) -> ProblemKind:
    """Write one catalogue entry on few lines."""
    return ProblemKind(
        code=code,
        status=status,
        title=title,
        meaning=meaning,
        advice=advice,
        retryable=retryable,
    )
