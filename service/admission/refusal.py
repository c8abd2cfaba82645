"""How the gate says no: one line, with names from the file shown safely."""

from typing import NoReturn

from service.errors import AdmissionError

_SHOWN_CHARACTERS = 80


def shown(name: str) -> str:
    """A name from a hostile file in quotes: control characters escaped, shortened."""
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in name[: _SHOWN_CHARACTERS + 1]
    )
    return f"'{escaped if len(name) <= _SHOWN_CHARACTERS else escaped[:_SHOWN_CHARACTERS] + '...'}'"


def refuse(
    code: str,
    message: str,
    *,
    param: str | None = None,
    limit: int | None = None,
    actual: int | None = None,
) -> NoReturn:
    """Refuse the model.

    Args:
        code: Slug of the problem catalogue.
        message: What, where, what to do; names already passed through :func:`shown`.
        param: Name of the offending node, tensor or operator.
        limit: Limit that was exceeded.
        actual: What was found.

    Raises:
        AdmissionError: Always.
    """
    safe = None if param is None else shown(param)[1:-1]
    raise AdmissionError(message, code=code, param=safe, limit=limit, actual=actual)
