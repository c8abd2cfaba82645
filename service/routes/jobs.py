"""Jobs: create in one call, list, look at, wait for, cancel, delete."""

from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from service.dependencies import AppParts, IdempotencyKey, JobId, Reader, Writer
from service.etags import matches
from service.job_documents import job_document, jobs_page
from service.job_intake import delete_job, submit_job
from service.job_requests import TEXT_FIELDS
from service.jobs import Job
from service.routes.answers import COMMON, JOB, Responses, problems
from service.routes.forms import JOB_FORM
from service.schemas import Job as JobDocument
from service.schemas import JobListQuery, JobQuery, Listing
from service.uploads import received_form

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_RETRY_SECONDS = "2"
_CREATED: Responses = {
    200: {"model": JobDocument, "description": "The key was used before; this is its job."},
    202: {"description": "Accepted; `Location` is the job."},
}
_REFUSED = problems(
    "bad-request",
    "unauthenticated",
    "forbidden",
    "unavailable",
    "internal",
    "body-incomplete",
    "idempotency-key-invalid",
    "upload-timeout",
    "idempotency-key-in-progress",
    "model-too-large",
    "body-too-large",
    "unsupported-media-type",
    "invalid-request",
    "idempotency-key-reused",
    "model-not-onnx",
    "dataset-uri-forbidden",
    "quota-exceeded",
    "insufficient-storage",
)


@router.post(
    "",
    operation_id="create_job",
    summary="Submit a model",
    status_code=202,
    responses={**_CREATED, **_REFUSED},
    openapi_extra={"requestBody": JOB_FORM},
)
async def create_job(
    request: Request, response: Response, parts: AppParts, principal: Writer, key: IdempotencyKey
) -> JobDocument:
    """Upload an ONNX model with the address of its data and what is to remain.

    Settings are form fields named as on the command line, or all together as JSON in `job`.
    """
    owner = principal.owner
    parts.artifacts.require_space(2 * parts.settings.inline_limit)  # the upload, and its result
    held = nullcontext() if key is None else parts.store.hold(owner, key)
    with held:
        async with received_form(
            request,
            parts.artifacts.new_temporary(),
            limit=parts.settings.inline_limit,
            text_fields=TEXT_FIELDS,
        ) as form:
            created = await to_thread.run_sync(
                partial(
                    submit_job,
                    form,
                    owner=owner,
                    key=key,
                    store=parts.store,
                    artifacts=parts.artifacts,
                    gate=parts.gate,
                )
            )
    document = job_document(created.job)
    response.headers["Location"] = document.links.self
    response.headers["Retry-After"] = _RETRY_SECONDS
    if created.replayed:
        response.status_code = 200
        response.headers["Idempotent-Replayed"] = "true"
    return document


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs",
    responses=COMMON,
)
def list_jobs(
    parts: AppParts, principal: Reader, query: Annotated[JobListQuery, Query()]
) -> Listing[JobDocument]:
    """Newest first; `after=last_id` is the next page."""
    page = parts.store.list(
        principal.owner, status=query.status, after=query.after, limit=query.limit
    )
    return jobs_page(page)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Look at a job",
    response_model=JobDocument,
    responses={
        **JOB,
        304: {"description": "The job is as `If-None-Match` says."},
    },
)
async def get_job(
    request: Request,
    parts: AppParts,
    principal: Reader,
    job_id: JobId,
    query: Annotated[JobQuery, Query()],
) -> Response:
    """One job; with `wait=30` the answer comes when its status changes, or after 30 seconds."""
    job = await to_thread.run_sync(parts.store.get, principal.owner, job_id)
    if query.wait > 0:
        job = await parts.feed.until_changed(job, seconds=query.wait)
    return _job_response(request, job)


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    status_code=202,
    responses={
        **JOB,
        **problems("job-already-finished"),
        200: {"model": JobDocument, "description": "It was cancelled before, or never started."},
    },
)
def cancel_job(
    response: Response, parts: AppParts, principal: Writer, job_id: JobId
) -> JobDocument:
    """Ask for the job to be stopped; a running one is `cancelling` until its worker has obeyed."""
    job, changed = parts.store.request_cancel(principal.owner, job_id)
    if job.is_terminal or not changed:
        response.status_code = 200
    return job_document(job)


@router.delete(
    "/{job_id}",
    operation_id="delete_job",
    summary="Delete a finished job",
    status_code=204,
    responses={**JOB, **problems("resource-in-use")},
)
def remove_job(parts: AppParts, principal: Writer, job_id: JobId) -> None:
    """Remove a job and all of its files."""
    delete_job(principal.owner, job_id, store=parts.store, artifacts=parts.artifacts)


def _job_response(request: Request, job: Job) -> Response:
    """The job with an ETag, or 304 if the client has it already."""
    body = job_document(job).model_dump_json().encode()
    headers = {"ETag": f'"{sha256(body).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if not job.is_terminal:
        headers["Retry-After"] = _RETRY_SECONDS
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
