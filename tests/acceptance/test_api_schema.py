"""Random requests made from the API's own description: no 5xx, no answer outside of it."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.service.api import Api, running_api
from tests.unit.service.live_server import serving_live

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
POSITIVE = [
    "list_jobs", "get_job", "cancel_job", "list_events", "create_job", "download_model",
    "download_report", "download_page", "get_problem", "get_health", "get_readiness",
    "list_problems",
]  # fmt: skip
NEGATIVE = ["list_jobs", "get_job", "list_events", "create_job", "delete_job"]
EXAMPLES = 15


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api"), serve=serving_live) as api:
        yield api


@pytest.fixture(scope="module")
def job_id(api: Api) -> str:
    job_id = api.submit()
    api.succeed(job_id)
    return job_id


@pytest.mark.parametrize(
    "operation_id, mode",
    [(name, GenerationMode.POSITIVE) for name in POSITIVE]
    + [(name, GenerationMode.NEGATIVE) for name in NEGATIVE],
)
def test_answers_are_as_described(
    api: Api, job_id: str, operation_id: str, mode: GenerationMode
) -> None:
    document = f"{api.anonymous.url}/openapi.json"
    schema = schemathesis.openapi.from_url(document).include(operation_id=operation_id)
    operation = next(iter(schema.get_all_operations())).ok()
    seen: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        if "job_id" in case.path_parameters and len(seen) % 2 == 0:
            case.path_parameters["job_id"] = job_id
        if isinstance(case.query, dict) and "wait" in case.query:
            case.query["wait"] = 0
        answer = case.call(headers={"Authorization": f"Bearer {api.key}"})
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    check()
    assert seen
    if operation_id == "create_job" and mode is GenerationMode.POSITIVE:
        assert seen & {202, 422}
