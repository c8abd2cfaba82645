"""Exception handlers: everything that can leave a route becomes ``application/problem+json``.

Kept out: what the codes mean (the catalogue) and the errors of the layers below the routes, which
arrive here with their codes already chosen.
"""

import errno
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from graph_analysis.errors import SecateurError
from service.problems.document import (
    MEDIA_TYPE,
    Problem,
    kind_of,
    one_line,
    problem,
    problem_of_error,
)

_log = logging.getLogger(__name__)
_CODE_OF_STATUS = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "upload-timeout",
    409: "resource-in-use",
    410: "gone",
    413: "body-too-large",
    414: "bad-request",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
    422: "invalid-request",
    429: "rate-limited",
    503: "unavailable",
    507: "insufficient-storage",
}
_RETRY_SECONDS = 1
_WAITING_CODES = {
    "idempotency-key-in-progress",
    "job-not-finished",
    "rate-limited",
    "quota-exceeded",
    "unavailable",
    "storage-unavailable",
}
_MAX_ERRORS = 20


def install_handlers(app: FastAPI) -> None:
    """Register every handler of this module."""
    app.add_exception_handler(SecateurError, on_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(OperationalError, on_database_error)
    app.add_exception_handler(OSError, on_os_error)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_anything)


def request_id_of(request: Request) -> str | None:
    """The id that the outer wrapper gave to this request."""
    request_id: str | None = getattr(request.state, "request_id", None)
    return request_id


def code_of_status(status: int) -> str:
    """The code for an error of the framework, known by its status alone."""
    return _CODE_OF_STATUS.get(status, "bad-request" if status < 500 else "internal")


def response_of(
    document: Problem, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The HTTP answer for a problem document, with the headers its code requires."""
    code = document["code"]
    document = document if status is None else {**document, "status": status}
    extra = {"Cache-Control": "no-store"}
    if code == "unauthenticated":
        extra["WWW-Authenticate"] = "Bearer"
    if code in _WAITING_CODES:
        extra["Retry-After"] = str(_RETRY_SECONDS)
    if document.get("request_id"):
        extra["X-Request-Id"] = document["request_id"]
    return JSONResponse(
        document, document["status"], headers={**extra, **(headers or {})}, media_type=MEDIA_TYPE
    )


async def on_error(request: Request, error: Exception) -> Response:
    """An error that Secateur raised on purpose."""
    assert isinstance(error, SecateurError)
    document = problem_of_error(error, request_id=request_id_of(request))
    if document["status"] >= 500:
        _log.error(
            "request failed", exc_info=error, extra={"action": "request-failed", **_who(request)}
        )
    retry_after = getattr(error, "retry_after", None)
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return response_of(document, headers=headers)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """An error of the framework: unknown path, wrong method, body over the limit."""
    assert isinstance(error, HTTPException)
    code = code_of_status(error.status_code)
    detail = _detail_of_status(request, error.status_code)
    document = problem(code, detail, request_id=request_id_of(request))
    return response_of(document, status=error.status_code, headers=error.headers)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """A query, header or JSON value that does not fit its model; never echoes what was sent."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    first = found[0] if found else {"type": "", "msg": "The request is not valid.", "loc": ()}
    code = "invalid-json" if first["type"] == "json_invalid" else "invalid-request"
    errors = [{"param": _pointer(item["loc"]), "detail": one_line(item["msg"])} for item in found]
    document = problem(
        code,
        f"{_pointer(first['loc'])}: {first['msg']}",
        request_id=request_id_of(request),
        param=_pointer(first["loc"]) if code == "invalid-request" else None,
        errors=errors[:_MAX_ERRORS] if len(errors) > 1 else None,
        **_bounds(first),
    )
    return response_of(document)


async def on_database_error(request: Request, error: Exception) -> Response:
    """The database is locked, full or unreachable."""
    _log.warning(
        "database unavailable",
        extra={"action": "database-unavailable", "reason": type(error).__name__, **_who(request)},
    )
    return response_of(problem("unavailable", request_id=request_id_of(request)))


async def on_os_error(request: Request, error: Exception) -> Response:
    """A full disk is the operator's trouble; any other system error is ours."""
    assert isinstance(error, OSError)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = "insufficient-storage" if full else "internal"
    _log.error("system error", exc_info=error, extra={"action": code, **_who(request)})
    return response_of(problem(code, request_id=request_id_of(request)))


async def on_disconnect(request: Request, _: Exception) -> Response:
    """The client left during the upload: one line in the log, and nobody reads the answer."""
    _log.info("client left", extra={"action": "client-left", **_who(request)})
    return response_of(problem("body-incomplete", request_id=request_id_of(request)))


async def on_anything(request: Request, error: Exception) -> Response:
    """A bug; the server logs the traceback when the error is raised again behind this answer."""
    _log.error(
        "unexpected error", extra={"action": "bug", "reason": type(error).__name__, **_who(request)}
    )
    return response_of(problem("internal", request_id=request_id_of(request)))


def _who(request: Request) -> dict[str, str | None]:
    return {"request_id": request_id_of(request), "path": request.url.path}


def _detail_of_status(request: Request, status: int) -> str | None:
    if status == 405:
        return f"{request.method} is not allowed here."
    return kind_of(code_of_status(status)).meaning


def _pointer(location: Sequence[int | str]) -> str:
    """JSON pointer of an error's location, without the part of the request it was found in."""
    inside = [str(part) for part in location[1:]] or [str(part) for part in location]
    return one_line("/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in inside))


def _bounds(item: Mapping[str, Any]) -> dict[str, object]:
    """The limit that a number or text violated, as far as pydantic names one."""
    context = item.get("ctx") or {}
    names = ("le", "lt", "ge", "gt", "max_length", "min_length")
    limit = next((context[name] for name in names if name in context), None)
    return {"limit": limit}
