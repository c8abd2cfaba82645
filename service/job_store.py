"""Jobs as the API sees them: create, read, list, cancel, delete; every call is limited to an owner.

What the worker writes is in ``run_store``, keys are in ``key_store``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa

from service.engine.port import JobEngine
from service.jobs import (
    Created,
    IdempotencyClaim,
    Job,
    JobEvent,
    JobSpec,
    JobStatus,
    NewKey,
    Page,
    Principal,
    StoredArtifact,
)


class JobStore:
    """Signatures first; the implementation follows within the hour."""

    def __init__(self, engine: sa.Engine, job_engine: JobEngine) -> None: ...

    def create(
        self, owner: str, spec: JobSpec, *, idempotency: IdempotencyClaim | None = None
    ) -> Created:
        """Raises IdempotencyKeyReusedError."""

    @contextmanager
    def hold(self, owner: str, key: str) -> Iterator[None]:
        """Hold an Idempotency-Key while its request (the upload!) is in flight in this process.

        Raises IdempotencyKeyInProgressError.
        """

    def get(self, owner: str, job_id: str) -> Job:
        """Raises NotFoundError."""

    def list(
        self,
        owner: str,
        *,
        status: JobStatus | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> Page[Job]:
        """Newest first; `after` = id of the last job seen. Unknown `after`: RequestError(param="after")."""

    def events(
        self, owner: str, job_id: str, *, after: int = 0, limit: int = 100
    ) -> list[JobEvent]:
        """Raises NotFoundError."""

    def request_cancel(self, owner: str, job_id: str) -> tuple[Job, bool]:
        """(job, changed). Raises JobAlreadyFinishedError, NotFoundError. Cancelled before: unchanged."""

    def artifact(self, owner: str, job_id: str, name: str) -> StoredArtifact:
        """names: model report solution space proof. Raises JobNotFinishedError / NotFoundError."""

    def artifacts(self, owner: str, job_id: str) -> list[StoredArtifact]:
        """All artifacts of a succeeded job. Raises as `artifact`."""

    def delete(self, owner: str, job_id: str) -> list[str]:
        """Terminal jobs only (else ConflictError). Returns artifact keys no other job uses: delete them from the store."""

    def ping(self) -> None:
        """Raises UnavailableError if the database cannot be read."""

    def live_workers(self) -> int:
        """Workers whose executor lock is held right now."""

    def create_key(
        self, owner: str, scopes: frozenset[str], *, expires_at: datetime | None = None
    ) -> NewKey: ...

    def has_keys(self) -> bool: ...

    def authenticate(self, token: str) -> Principal | None: ...
