"""Problem documents: what they contain and, above all, what they never contain."""

import pytest

from graph_analysis.errors import InputError, ModelError, SecateurError, TargetUnreachableError
from service.errors import AdmissionError
from service.problems import (
    KINDS,
    kind_of,
    one_line,
    problem,
    problem_of_error,
    problem_of_job,
)
from service.problems.document import DATASET_KINDS, MODEL_KINDS, REQUEST_KINDS


def test_codes_are_unique_kebab_case_and_their_texts_are_sentences() -> None:
    entries = (*REQUEST_KINDS, *MODEL_KINDS, *DATASET_KINDS)
    assert len(KINDS) == len(entries)
    for entry in entries:
        assert entry.code.replace("-", "").isalnum()
        assert entry.code == entry.code.lower()
        assert not entry.title.endswith(".")
        assert entry.meaning.endswith(".")
        assert entry.advice.endswith(".")
        assert entry.status is None or 400 <= entry.status < 600


def test_what_can_be_tried_again_is_marked() -> None:
    retryable = {code for code, entry in KINDS.items() if entry.retryable}
    assert {"unavailable", "rate-limited", "dataset-unavailable", "worker-lost"} <= retryable
    assert not {"not-found", "invalid-request", "model-not-onnx"} & retryable


def test_a_document_has_all_members_of_the_standard_and_no_empty_ones() -> None:
    document = problem("model-too-large", "too big", request_id="req_1", limit=5, param=None)
    assert document == {
        "type": "/problems/model-too-large",
        "title": "The model is larger than the limit",
        "status": 413,
        "detail": "too big",
        "code": "model-too-large",
        "retryable": False,
        "limit": 5,
        "request_id": "req_1",
    }


def test_details_are_one_short_line() -> None:
    assert one_line("a\nb\x1b[31mc\u2028d") == "a\\nb\\x1b[31mc\\u2028d"
    assert len(problem("bad-request", "x" * 1000)["detail"]) == 300


@pytest.mark.parametrize(
    "error, code, status",
    [
        (ModelError("no", code="model-truncated"), "model-truncated", 422),
        (InputError("no", code="nobody-knows"), "invalid-request", 422),
        (InputError("no", code="dataset-format"), "dataset-format", 422),
        (TargetUnreachableError("no", reachable_ratio=0.3), "target-unreachable", 422),
        (SecateurError("secret", code="nobody-knows"), "internal", 500),
    ],
)
def test_errors_keep_their_code_if_it_is_known(
    error: SecateurError, code: str, status: int
) -> None:
    document = problem_of_error(error)
    assert (document["code"], document["status"]) == (code, status)
    assert "secret" not in document["detail"]


def test_facts_of_an_error_are_handed_on() -> None:
    error = AdmissionError("deep", code="model-too-deep", param="n\n1", limit=40, actual=50)
    document = problem_of_error(error, request_id="req_1")
    assert (document["limit"], document["actual"]) == (40, 50)
    assert document["param"] == "n\\n1"


def test_a_job_s_problem_has_no_http_status() -> None:
    document = problem_of_job("worker-lost", None, param="train")
    assert "status" not in document
    assert document["detail"] == kind_of("worker-lost").meaning
    assert document["param"] == "train"


def test_an_unknown_code_is_internal() -> None:
    assert kind_of("nobody-knows").code == "internal"
