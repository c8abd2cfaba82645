"""What the OpenAPI document says about answers besides the normal one, shared by all routes."""

from typing import Any

from service.problems import MEDIA_TYPE, kind_of
from service.schemas import ProblemDocument

Responses = dict[int | str, dict[str, Any]]


def problems(*codes: str) -> Responses:
    """The error answers of a route, grouped by status; each names its codes."""
    answers: Responses = {}
    for code in codes:
        entry = kind_of(code)
        answer = answers.setdefault(
            entry.status or 422,
            {
                "model": ProblemDocument,
                "description": "",
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
                },
            },
        )
        separator = "; " if answer["description"] else ""
        answer["description"] += f"{separator}`{code}`: {entry.title}"
    return answers


COMMON = problems("unauthenticated", "forbidden", "unavailable", "internal", "bad-request")
JOB = COMMON | problems("not-found")
