"""What happened to a job: as a list, or as a stream while it happens.

One path with two media types: the stream's router is included first and matches only requests that
accept ``text/event-stream``; the list's operation documents both.
"""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.routing import APIRoute
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from service.authentication import authenticate
from service.dependencies import AppParts, JobId, Reader
from service.errors import UnauthenticatedError
from service.job_documents import event_document, events_page
from service.routes.answers import JOB
from service.schemas import Event, EventQuery, Listing

STREAM = "text/event-stream"
_RECHECK_SECONDS = 15.0  # how long a revoked key may go on listening


class _StreamRoute(APIRoute):
    """Matches only what asks for an event stream."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the base class, but never without the media type."""
        if scope["type"] == "http" and STREAM not in Headers(scope=scope).get("accept", ""):
            return Match.NONE, {}
        return super().matches(scope)


stream_router = APIRouter(prefix="/v1/jobs", route_class=_StreamRoute)
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


async def _existing_job(parts: AppParts, principal: Reader, job_id: JobId) -> str:
    """Unknown jobs are refused here: inside the stream the status line has gone out."""
    await to_thread.run_sync(parts.store.get, principal.owner, job_id)
    return job_id


@stream_router.get("/{job_id}/events", response_class=EventSourceResponse, include_in_schema=False)
async def stream_events(
    request: Request,
    parts: AppParts,
    principal: Reader,
    job_id: Annotated[str, Depends(_existing_job)],
    query: Annotated[EventQuery, Query()],
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**53)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events after `Last-Event-ID`, until the job has finished or the key is no longer valid."""
    after = query.after if last_event_id is None else last_event_id
    authorization = request.headers.get("authorization")
    checked = time.monotonic()
    async for event in parts.feed.follow(principal.owner, job_id, after=after):
        if event is not None:
            data = event_document(event)
            yield ServerSentEvent(id=str(event.seq), event=event.kind, data=data)
        if time.monotonic() - checked > _RECHECK_SECONDS:
            checked = time.monotonic()
            try:
                await to_thread.run_sync(authenticate, parts.store, authorization)
            except UnauthenticatedError:
                return


@router.get(
    "/{job_id}/events",
    operation_id="list_events",
    summary="What happened to a job",
    responses={
        **JOB,
        200: {
            "description": "A page of events, or with `Accept: text/event-stream` all of them as "
            "they happen; `Last-Event-ID` continues a broken stream.",
            "content": {STREAM: {"schema": {"type": "string"}}},
        },
    },
)
def list_events(
    parts: AppParts, principal: Reader, job_id: JobId, query: Annotated[EventQuery, Query()]
) -> Listing[Event]:
    """Oldest first; `after=last_id` is the next page."""
    events = parts.store.events(principal.owner, job_id, after=query.after, limit=query.limit + 1)
    return events_page(events[: query.limit], has_more=len(events) > query.limit)
