"""Problems: one catalogue of codes, the documents made from it, and the pages that explain them."""

from service.problems.document import (
    KINDS,
    MEDIA_TYPE,
    Problem,
    kind_of,
    one_line,
    problem,
    problem_of_error,
    problem_of_job,
)
from service.problems.handlers import code_of_status, install_handlers, request_id_of, response_of
from service.problems.kinds import ProblemKind
from service.problems.pages import page, render_index, render_kind

__all__ = [
    "KINDS",
    "MEDIA_TYPE",
    "Problem",
    "ProblemKind",
    "code_of_status",
    "install_handlers",
    "kind_of",
    "one_line",
    "page",
    "problem",
    "problem_of_error",
    "problem_of_job",
    "render_index",
    "render_kind",
    "request_id_of",
    "response_of",
]
