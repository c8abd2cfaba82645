"""From a problem's code to the document that the client reads (RFC 9457).

What a detail may contain is decided here: one line, the user's own names, at most 300 characters,
no control characters. Paths, library texts and traces never get this far on purpose.
"""

from typing import Any

from graph_analysis.errors import InputError, SecateurError
from service.problems.dataset_kinds import DATASET_KINDS
from service.problems.kinds import ProblemKind
from service.problems.model_kinds import MODEL_KINDS
from service.problems.request_kinds import REQUEST_KINDS

MEDIA_TYPE = "application/problem+json"
KINDS: dict[str, ProblemKind] = {
    entry.code: entry for entry in (*REQUEST_KINDS, *MODEL_KINDS, *DATASET_KINDS)
}
_DETAIL_LIMIT = 300
_JOB_KIND_STATUS = 422  # a finding of jobs that turns up while the request is still being read
_INTERNAL_DETAIL = "The service made a mistake; its log has the details under this request id."

Problem = dict[str, Any]


def kind_of(code: str) -> ProblemKind:
    """The catalogue entry of ``code``; ``internal`` if there is none."""
    return KINDS.get(code, KINDS["internal"])


def one_line(text: str, limit: int = _DETAIL_LIMIT) -> str:
    """Escape control characters and shorten to ``limit`` characters."""
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 3] + "..."


def problem(
    code: str,
    detail: str | None = None,
    *,
    request_id: str | None = None,
    **members: object,
) -> Problem:
    """Build the document; members that are None are left out.

    Args:
        code: A code of the catalogue.
        detail: One sentence about this occurrence; the meaning of the code if None.
        request_id: The request's id, for the operator's log.
        members: ``param``, ``limit``, ``actual``, ``errors`` and the like.
    """
    entry = kind_of(code)
    document: Problem = {
        "type": f"/problems/{entry.code}",
        "title": entry.title,
        "status": entry.status or _JOB_KIND_STATUS,
        "detail": one_line(detail or entry.meaning),
        "code": entry.code,
        "retryable": entry.retryable,
    }
    document |= {name: value for name, value in members.items() if value is not None}
    if request_id is not None:
        document["request_id"] = request_id
    return document


def problem_of_error(error: SecateurError, *, request_id: str | None = None) -> Problem:
    """Describe an error that Secateur raised on purpose.

    An error whose code is not in the catalogue is ``invalid-request`` if the input is at fault;
    anything else is ``internal``, whose detail never repeats what the exception says.
    """
    code = error.code
    if code not in KINDS:
        code = "invalid-request" if isinstance(error, InputError) else "internal"
    if code == "internal":
        return problem(code, _INTERNAL_DETAIL, request_id=request_id)
    return problem(
        code,
        str(error),
        request_id=request_id,
        param=None if error.param is None else one_line(error.param),
        limit=getattr(error, "limit", None),
        actual=getattr(error, "actual", None),
    )


def problem_of_job(code: str, detail: str | None, *, param: str | None = None) -> Problem:
    """Describe why a job failed: the same document without an HTTP status.

    What is said of a code that is not in the catalogue is for nobody's eyes.
    """
    if code not in KINDS:
        code, detail, param = "internal", _INTERNAL_DETAIL, None
    document = problem(code, detail or None, param=param)
    del document["status"]
    return document
