"""Jobs as the API sees them: create, read, list, cancel, delete; every call is limited to an owner.

What the worker writes is in ``run_store``, keys are in ``key_store``.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.database import reading, writing
from service.engine.port import JobEngine
from service.errors import (
    ConflictError,
    IdempotencyKeyInProgressError,
    JobAlreadyFinishedError,
    JobNotFinishedError,
    NotFoundError,
    RequestError,
)
from service.faults import fault
from service.job_rows import append_events, job_of, now, row_of
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
    Wanted,
    new_id,
)
from service.key_store import KeyStore
from service.submission import claim, new_row, next_tag, replayed
from service.tables import artifacts, job_events, jobs

_log = logging.getLogger(__name__)


class JobStore:
    """The jobs of all owners, in the database that the job engine shares.

    Thread-safe. Every method raises UnavailableError if the database does not answer.
    """

    def __init__(self, engine: sa.Engine, job_engine: JobEngine) -> None:
        self._engine = engine
        self._job_engine = job_engine
        self._keys = KeyStore(engine)
        self._held: set[tuple[str, str]] = set()
        self._held_lock = threading.Lock()

    def create(
        self, owner: str, spec: JobSpec, *, idempotency: IdempotencyClaim | None = None
    ) -> Created:
        """Accept a job: its row, first event, place in the queue and claimed key, or none of them.

        Raises:
            IdempotencyKeyReusedError: The key came with another request before.
        """
        with writing(self._engine) as connection:
            known = None if idempotency is None else replayed(connection, owner, idempotency)
            if known is not None:
                return Created(job=known, replayed=True)
            job_id, tag = new_id("job"), next_tag(connection, owner)
            connection.execute(
                sa.insert(jobs).values(**new_row(connection, job_id, owner, spec, tag))
            )
            append_events(connection, job_id, [("status", {"status": JobStatus.QUEUED})])
            if idempotency is not None:
                claim(connection, owner, idempotency, job_id)
            self._job_engine.submit(connection, job_id, tag=tag)
            fault("job.insert")
            job = job_of(row_of(connection, owner, job_id))
        return Created(job=job, replayed=False)

    @contextmanager
    def hold(self, owner: str, key: str) -> Iterator[None]:
        """Hold an Idempotency-Key while its request is in flight in this process.

        Raises:
            IdempotencyKeyInProgressError: Somebody holds it.
        """
        with self._held_lock:
            if (owner, key) in self._held:
                message = "the first request with this Idempotency-Key is still running; try later"
                raise IdempotencyKeyInProgressError(message)
            self._held.add((owner, key))
        try:
            yield
        finally:
            with self._held_lock:
                self._held.discard((owner, key))

    def get(self, owner: str, job_id: str) -> Job:
        """A job.

        Raises:
            NotFoundError: There is none, or it is somebody else's.
        """
        with reading(self._engine) as connection:
            return job_of(row_of(connection, owner, job_id))

    def list(
        self,
        owner: str,
        *,
        status: JobStatus | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> Page[Job]:
        """The owner's jobs, newest first.

        Args:
            owner: Whose.
            status: Only those in this state.
            after: Id of the last job that was seen.
            limit: At most so many.

        Raises:
            RequestError: There is no job ``after``.
        """
        query = sa.select(jobs).where(jobs.c.owner == owner).order_by(jobs.c.number.desc())
        if status is not None:
            query = query.where(jobs.c.status == status)
        with reading(self._engine) as connection:
            if after is not None:
                query = query.where(jobs.c.number < _number(connection, owner, after))
            rows = connection.execute(query.limit(limit + 1)).all()
        return Page(items=tuple(map(job_of, rows[:limit])), has_more=len(rows) > limit)

    def events(
        self, owner: str, job_id: str, *, after: int = 0, limit: int = 100
    ) -> Sequence[JobEvent]:
        """Events with a number above ``after``, oldest first.

        Raises:
            NotFoundError: There is no such job.
        """
        with reading(self._engine) as connection:
            row_of(connection, owner, job_id)
            rows = connection.execute(
                sa.select(job_events)
                .where(job_events.c.job_id == job_id, job_events.c.seq > after)
                .order_by(job_events.c.seq)
                .limit(limit)
            ).all()
        return [JobEvent(seq=row.seq, kind=row.kind, at=row.at, data=row.data) for row in rows]

    def request_cancel(self, owner: str, job_id: str) -> tuple[Job, bool]:
        """Ask for the job to be cancelled; the job as it then is, and whether that changed it.

        A queued job is cancelled at once, a running one within seconds.

        Raises:
            NotFoundError: There is no such job.
            JobAlreadyFinishedError: It has succeeded or failed.
        """
        with writing(self._engine) as connection:
            job = job_of(row_of(connection, owner, job_id))
            if job.status in (JobStatus.CANCELLED, JobStatus.CANCELLING):
                return job, False
            if job.is_terminal:
                message = f"the job has already {job.status.value}, it cannot be cancelled"
                raise JobAlreadyFinishedError(message)
            changes = _cancelled(job)
            connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**changes))
            append_events(connection, job_id, [("status", {"status": changes["status"]})])
            job = job_of(row_of(connection, owner, job_id))
        try:
            self._job_engine.cancel(job_id)
        except Exception:  # noqa: BLE001 - the wish is recorded; the workers' sweep repeats the call
            _log.warning("the engine was not told of a cancel", extra={"job_id": job_id})
        return job, True

    def artifact(self, owner: str, job_id: str, name: str) -> StoredArtifact:
        """One file of a job that has succeeded.

        Raises:
            NotFoundError: There is no such job, or no such file.
            JobNotFinishedError: The job has no result, yet or for good.
        """
        for artifact in self.artifacts(owner, job_id):
            if artifact.name == name:
                return artifact
        message = f"the job has no file called {name!r}"
        raise NotFoundError(message)

    def artifacts(self, owner: str, job_id: str) -> Sequence[StoredArtifact]:
        """All files of a job that has succeeded.

        Raises:
            NotFoundError: There is no such job.
            JobNotFinishedError: The job has no result, yet or for good.
        """
        with reading(self._engine) as connection:
            job = job_of(row_of(connection, owner, job_id))
            if job.status is not JobStatus.SUCCEEDED:
                message = f"the job is {job.status.value}, it has no files to download"
                raise JobNotFinishedError(message)
            query = sa.select(artifacts).where(artifacts.c.job_id == job_id)
            rows = connection.execute(query.order_by(artifacts.c.name)).mappings().all()
        return [
            StoredArtifact(**{key: value for key, value in row.items() if key != "job_id"})
            for row in rows
        ]

    def delete(self, owner: str, job_id: str) -> Sequence[str]:
        """Forget a job that has ended; the keys of files that no other job needs.

        Raises:
            NotFoundError: There is no such job.
            ConflictError: The job has not ended.
        """
        with writing(self._engine) as connection:
            job = job_of(row_of(connection, owner, job_id))
            if not job.is_terminal:
                message = f"the job is {job.status.value}; cancel it first"
                raise ConflictError(message)
            mine = sa.select(artifacts.c.key).where(artifacts.c.job_id == job_id)
            keys = {job.spec.model.key, *connection.execute(mine).scalars()}
            connection.execute(sa.delete(jobs).where(jobs.c.id == job_id))
            unused = [key for key in sorted(keys) if not _is_used(connection, key)]
        self._job_engine.forget(job_id)
        return unused

    def ping(self) -> None:
        """Read from the database.

        Raises:
            UnavailableError: It does not answer.
        """
        with reading(self._engine) as connection:
            connection.execute(sa.select(jobs.c.id).limit(1)).first()

    def create_key(
        self, owner: str, scopes: Iterable[str], *, expires_at: datetime | None = None
    ) -> NewKey:
        """See :meth:`service.key_store.KeyStore.create`."""
        return self._keys.create(owner, scopes, expires_at=expires_at)

    def has_keys(self) -> bool:
        """Whether there is at least one key."""
        return not self._keys.is_empty()

    def authenticate(self, token: str) -> Principal | None:
        """See :meth:`service.key_store.KeyStore.authenticate`."""
        return self._keys.authenticate(token)


def _number(connection: sa.Connection, owner: str, job_id: str) -> int:
    try:
        return int(row_of(connection, owner, job_id).number)
    except NotFoundError as error:
        message = "there is no job with the id given as 'after'; start from the first page"
        raise RequestError(message, param="after") from error


def _cancelled(job: Job) -> dict[str, Any]:
    if job.status is JobStatus.QUEUED:
        return {"wanted": Wanted.CANCEL, "status": JobStatus.CANCELLED, "finished_at": now()}
    return {"wanted": Wanted.CANCEL, "status": JobStatus.CANCELLING}


def _is_used(connection: sa.Connection, key: str) -> bool:
    in_models = sa.select(jobs.c.id).where(jobs.c.model_key == key)
    in_artifacts = sa.select(artifacts.c.job_id).where(artifacts.c.key == key)
    return connection.execute(in_models.union_all(in_artifacts).limit(1)).first() is not None
