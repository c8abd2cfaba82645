"""The OpenAPI document, and a page made from it that needs nothing from elsewhere."""

from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse

from service.dependencies import require_loopback_or_key
from service.problems import MEDIA_TYPE, page
from service.routes.forms import form_schemas

router = APIRouter(include_in_schema=False)
_Allowed = Annotated[None, Depends(require_loopback_or_key)]


@router.get("/openapi.json")
def get_openapi(request: Request, _: _Allowed) -> JSONResponse:
    """The machine-readable description of every route."""
    return JSONResponse(describe(request.app))


@router.get("/docs")
def get_docs(request: Request, _: _Allowed) -> HTMLResponse:
    """The same for people."""
    return HTMLResponse(render_docs(describe(request.app)))


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with errors in their own media type and without the framework's."""
    document = app.openapi()
    answers = [
        answer
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if status >= "400"
    ]
    for answer in answers:
        kinds = answer.get("content", {})
        for kind in [*kinds]:
            if kinds[kind].get("schema", {}).get("$ref", "").endswith("/ProblemDocument"):
                kinds[MEDIA_TYPE] = kinds.pop(kind)
    schemas = document["components"]["schemas"]
    schemas |= form_schemas()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def render_docs(document: dict[str, Any]) -> str:
    """A page with every operation: what it does, its parameters, its answers."""
    sections = "".join(
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    intro = (
        f"<p>{escape(document['info']['description'])}</p>"
        '<p><a href="/openapi.json">openapi.json</a> · <a href="/problems">problem codes</a></p>'
    )
    return page(f"{document['info']['title']} {document['info']['version']}", intro + sections)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(item['name'])}</code> ({item['in']}): "
        f"{escape(item.get('description') or item['schema'].get('description') or '')}</li>"
        for item in operation.get("parameters", [])
    )
    answers = "".join(
        f"<li><code>{status}</code> {escape(answer['description']).replace('`', '')}</li>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{escape(operation.get('description', operation['summary']))}</p>"
        + (f"<p>Parameters</p><ul>{parameters}</ul>" if parameters else "")
        + f"<p>Answers</p><ul>{answers}</ul>"
    )
