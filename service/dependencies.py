"""What routes ask for: the application's parts, the sender of the request, checked headers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, cast

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.authentication import READ, WRITE, authenticate, is_loopback, require_scope
from service.errors import NotFoundError, RequestError
from service.event_feed import EventFeed
from service.gate import Gate
from service.job_store import JobStore
from service.jobs import Principal
from service.settings import Settings
from service.storage import ArtifactStore

_KEY_PATTERN = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
_bearer = HTTPBearer(
    scheme_name="key",
    bearerFormat="sct_<8 characters>_<43 characters>",
    description="The key that the service printed at its first start.",
    auto_error=False,
)


class Workers(Protocol):
    """Who knows the workers; the registry, or a fake."""

    def live(self) -> Sequence[str]:
        """The workers that are alive."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything a request may need; made once by ``create_app``."""

    settings: Settings
    store: JobStore
    artifacts: ArtifactStore
    gate: Gate
    workers: Workers
    feed: EventFeed


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves ``request``."""
    return cast(Parts, request.app.state.parts)


def _reader(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    principal = authenticate(parts_of(request).store, request.headers.get("authorization"))
    require_scope(principal, READ)
    return principal


def _writer(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    principal = authenticate(parts_of(request).store, request.headers.get("authorization"))
    require_scope(principal, WRITE)
    return principal


def require_loopback_or_key(request: Request) -> None:
    """Let the documentation be read without a key only where nobody else can reach it.

    Raises:
        UnauthenticatedError: The service is reachable from outside and the key is not valid.
    """
    parts = parts_of(request)
    if not is_loopback(parts.settings.host):
        authenticate(parts.store, request.headers.get("authorization"))


def _job_id(job_id: Annotated[str, Path(description="Id of the job (`job_...`).")]) -> str:
    """A malformed id is as unknown as any other; nothing odd gets near the database."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", job_id):
        raise NotFoundError
    return job_id


def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(description="Makes repeating the request safe: one key, one job, for 24 hours."),
    ] = None,
) -> str | None:
    if idempotency_key is not None and not _KEY_PATTERN.fullmatch(idempotency_key):
        message = "the Idempotency-Key must have 1 to 255 printable ASCII characters"
        raise RequestError(message, code="idempotency-key-invalid", param="Idempotency-Key")
    return idempotency_key


AppParts = Annotated[Parts, Depends(parts_of)]
Reader = Annotated[Principal, Depends(_reader)]
Writer = Annotated[Principal, Depends(_writer)]
JobId = Annotated[str, Depends(_job_id)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
