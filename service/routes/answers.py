"""What the OpenAPI document says about answers besides the normal one, shared by all routes."""

from typing import Any

from service.problems import kind_of
from service.schemas import ProblemDocument

Responses = dict[int | str, dict[str, Any]]


def problems(*codes: str) -> Responses:
    """The error answers of a route, grouped by status; each names its codes."""
    answers: Responses = {}
    for code in codes:
        entry = kind_of(code)
        status = entry.status or 422
        answer = answers.setdefault(status, {"model": ProblemDocument, "description": ""})
        separator = "; " if answer["description"] else ""
        answer["description"] += f"{separator}`{code}`: {entry.title}"
    return answers


COMMON = problems(
    "bad-request", "unauthenticated", "forbidden", "invalid-request", "internal", "unavailable"
)
JOB = COMMON | problems("not-found")
