"""Outside of /v1: health, readiness, the pages of the problem codes. None needs a key."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from graph_analysis.errors import SecateurError
from service.dependencies import AppParts, Parts
from service.errors import NotFoundError
from service.problems import KINDS, render_index, render_kind
from service.routes.answers import problems
from service.schemas import Health, Readiness

router = APIRouter(tags=["health"])


def product_version() -> str:
    """The version of the installed package; ``0`` when it runs from plain folders."""
    try:
        return version("secateur")
    except PackageNotFoundError:
        return "0"


@router.get("/healthz", operation_id="get_health", summary="Does the process answer?")
def get_health() -> Health:
    """Always ``ok``: for process supervisors."""
    return Health(version=product_version())


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Will jobs be accepted and worked on?",
    responses={503: {"model": Readiness, "description": "Not ready; the checks say why."}},
)
def get_readiness(parts: AppParts, response: Response) -> Readiness:
    """Looks at the database, the artifact store, and for a live worker."""
    checks = {
        "database": _check_database(parts),
        "store": _check_store(parts),
        "worker": _check_worker(parts),
    }
    ready = all(text == "ok" for text in checks.values())
    response.status_code = 200 if ready else 503
    response.headers["Cache-Control"] = "no-store"
    return Readiness(status="ready" if ready else "not-ready", checks=checks)


@router.get(
    "/problems",
    operation_id="list_problems",
    summary="All problem codes",
    response_class=HTMLResponse,
)
def list_problems() -> str:
    """A page that lists every code that an error can have."""
    return render_index()


@router.get(
    "/problems/{code}",
    operation_id="get_problem",
    summary="What a problem code means",
    response_class=HTMLResponse,
    responses=problems("not-found", "invalid-request"),
)
def get_problem(code: str) -> str:
    """The page behind the ``type`` of a problem document."""
    if code not in KINDS:
        raise NotFoundError
    return render_kind(KINDS[code])


def _check_database(parts: Parts) -> str:
    try:
        parts.store.ping()
    except SecateurError:
        return "the database cannot be read"
    return "ok"


def _check_store(parts: Parts) -> str:
    try:
        parts.artifacts.ping()
    except (SecateurError, OSError):
        return "the artifact store cannot be written"
    return "ok"


def _check_worker(parts: Parts) -> str:
    try:
        workers = parts.workers.live()
    except SecateurError:
        return "the workers cannot be counted"
    return "ok" if workers else "no worker is running; start one with `secateur worker`"
