"""Downloads: the compressed model, its further formats, the report (data and page), and the rest.

Only files whose bytes have the published SHA-256 leave the service. The framework answers ranges of
files on a local disk; the strong ETag is the content's digest.
"""

import base64
from typing import Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from service.dependencies import AppParts, JobId, Parts, Reader
from service.etags import matches
from service.export_names import SUFFIXES
from service.jobs import StoredArtifact
from service.routes.answers import JOB, Responses, problems

router = APIRouter(prefix="/v1/jobs", tags=["files"])
_JSON = {"application/json": {"schema": {"type": "object"}}}
_HTML = {"text/html": {"schema": {"type": "string"}}}
_ONNX = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_ANY = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("application/octet-stream", "application/zip")
}
ExportFormat = Literal["float16", "int8", "int8-weights", "ort", "bundle"]  # as FORMATS has them


def _answers(content: dict[str, Any]) -> Responses:
    headers = {
        "ETag": {"schema": {"type": "string"}, "description": '"sha256-<hexadecimal digest>"'},
        "Repr-Digest": {"schema": {"type": "string"}, "description": "RFC 9530"},
    }
    whole = {"description": "The file.", "content": content, "headers": headers}
    part = {"description": "The range that was asked for.", "content": content, "headers": headers}
    return {
        **JOB,
        **problems("job-not-finished", "gone", "range-not-satisfiable"),
        **problems("internal", "artifact-corrupt", "unavailable", "storage-unavailable"),
        200: whole,
        206: part,
        304: {"description": "The file is the one that `If-None-Match` names."},
    }


@router.get(
    "/{job_id}/model",
    operation_id="download_model",
    summary="Download the compressed model",
    response_class=Response,
    responses=_answers(_ONNX),
)
async def download_model(
    request: Request, parts: AppParts, principal: Reader, job_id: JobId
) -> Response:
    """The ONNX file; it has passed its proof."""
    return await _download(request, parts, principal.owner, job_id, "model")


@router.get(
    "/{job_id}/report",
    operation_id="download_report",
    summary="Download the report",
    response_class=Response,
    responses=_answers(_JSON),
)
async def download_report(
    request: Request, parts: AppParts, principal: Reader, job_id: JobId
) -> Response:
    """Before and after: size, MACs, accuracy, latency, what was removed and what was proved."""
    return await _download(request, parts, principal.owner, job_id, "report")


@router.get(
    "/{job_id}/page",
    operation_id="download_page",
    summary="Download the report as a page",
    response_class=Response,
    responses=_answers(_HTML),
)
async def download_page(
    request: Request, parts: AppParts, principal: Reader, job_id: JobId
) -> Response:
    """The report to read: one HTML file that opens from disk, without scripts or a network."""
    return await _download(request, parts, principal.owner, job_id, "page")


@router.get(
    "/{job_id}/solution",
    operation_id="download_solution",
    summary="Download the solution",
    response_class=Response,
    responses=_answers(_JSON),
)
async def download_solution(
    request: Request, parts: AppParts, principal: Reader, job_id: JobId
) -> Response:
    """Which groups were removed (`secateur/solution/1`)."""
    return await _download(request, parts, principal.owner, job_id, "solution")


@router.get(
    "/{job_id}/space",
    operation_id="download_space",
    summary="Download the search space",
    response_class=Response,
    responses=_answers(_JSON),
)
async def download_space(
    request: Request, parts: AppParts, principal: Reader, job_id: JobId
) -> Response:
    """What could have been removed (`secateur/search-space/1`)."""
    return await _download(request, parts, principal.owner, job_id, "space")


@router.get(
    "/{job_id}/exports/{form}",
    operation_id="download_export",
    summary="Download a further format",
    response_class=Response,
    responses=_answers(_ANY),
)
async def download_export(
    request: Request, parts: AppParts, principal: Reader, job_id: JobId, form: ExportFormat
) -> Response:
    """A format that the setting `exports` asked for; 404 where it was refused."""
    return await _download(request, parts, principal.owner, job_id, form)


async def _download(request: Request, parts: Parts, owner: str, job_id: str, name: str) -> Response:
    def find() -> StoredArtifact:
        found = parts.store.artifact(owner, job_id, name)
        if not matches(request.headers.get("if-none-match"), _etag(found)):
            parts.artifacts.verify(found.key, found.sha256)
        return found

    artifact = await to_thread.run_sync(find)
    headers = {
        "ETag": _etag(artifact),
        "Repr-Digest": _digest(artifact.sha256),
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{_file_name(artifact, job_id)}"',
    }
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    path = parts.artifacts.local_path(artifact.key)
    if path is not None:
        return FileResponse(path, headers=headers, media_type=artifact.media_type)
    headers["Content-Length"] = str(artifact.bytes)
    chunks = iterate_in_threadpool(parts.artifacts.open_stream(artifact.key))
    return StreamingResponse(chunks, headers=headers, media_type=artifact.media_type)


def _etag(artifact: StoredArtifact) -> str:
    return f'"sha256-{artifact.sha256}"'


def _digest(sha256: str) -> str:
    """The digest as RFC 9530 writes it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode('ascii')}:"


def _file_name(artifact: StoredArtifact, job_id: str) -> str:
    if artifact.name in SUFFIXES:
        return f"{job_id}{SUFFIXES[artifact.name]}"
    suffix = {"model": ".onnx", "page": ".html"}.get(artifact.name, ".json")
    return f"{job_id}-{artifact.name}{suffix}"
