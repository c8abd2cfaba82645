"""The web application. Nothing happens at import; ``create_app`` puts the parts together.

The process that runs it parses no model: no torch, no onnx, no onnxruntime is loaded.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from service.authentication import LOOPBACK_HOSTS, is_loopback
from service.body_limit import BodyLimit
from service.dependencies import Parts, Workers
from service.event_feed import EventFeed
from service.gate import Gate, SandboxedGate
from service.http_protocol import STOPPING
from service.job_store import JobStore
from service.problems import install_handlers
from service.request_context import RequestContext
from service.routes import artifacts as artifact_routes
from service.routes import documentation, events, health, jobs
from service.settings import Settings
from service.storage import ArtifactStore

_DESCRIPTION = (
    "Compress ONNX models: upload a model with the address of its data, follow the job, download a "
    "smaller model that has been trained, cut, and proved equal to the network that was trained."
)
_STALE_UPLOAD_SECONDS = 24 * 3600.0


def create_app(
    settings: Settings,
    store: JobStore,
    artifacts: ArtifactStore,
    workers: Workers,
    *,
    gate: Gate | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        settings: Limits and addresses.
        store: Where jobs and keys are.
        artifacts: Where files are.
        workers: Who knows which workers are alive.
        gate: What checks uploads; the sandboxed gate by default.
    """
    app = FastAPI(
        title="Secateur",
        version=health.product_version(),
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        separate_input_output_schemas=False,
    )
    app.state.parts = Parts(
        settings=settings,
        store=store,
        artifacts=artifacts,
        gate=gate or SandboxedGate(settings),
        workers=workers,
        feed=EventFeed(store),
    )
    install_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, exempt=[("POST", "/v1/jobs")])
    if is_loopback(settings.host):  # against pages that point a name of theirs at this machine
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*sorted(LOOPBACK_HOSTS), "[::1]"])
    app.add_middleware(RequestContext)
    for router in (
        health.router,
        documentation.router,
        events.stream_router,
        events.router,
        jobs.router,
        artifact_routes.router,
    ):
        app.include_router(router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Clean up after a crash; hand out the event that ends open streams on shutdown."""
    parts: Parts = app.state.parts
    parts.artifacts.sweep_temporaries(older_than=_STALE_UPLOAD_SECONDS)
    yield {STOPPING: parts.feed.stopping}
    parts.feed.stopping.set()
