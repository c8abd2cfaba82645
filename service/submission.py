"""What accepting a job writes: its row, its place among the owners, its Idempotency-Key.

Everything here runs inside the transaction of :meth:`service.job_store.JobStore.create`.
"""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from service.errors import IdempotencyKeyReusedError
from service.job_rows import job_of, now, row_of, spec_to_json
from service.jobs import IdempotencyClaim, Job, JobSpec, JobStatus, Wanted
from service.tables import idempotency, jobs

IDEMPOTENCY_HOURS = 24


def new_row(
    connection: sa.Connection, job_id: str, owner: str, spec: JobSpec, tag: int
) -> dict[str, Any]:
    """The row of a job that nobody has started yet."""
    last = connection.execute(sa.select(sa.func.max(jobs.c.number))).scalar()
    return {
        "id": job_id,
        "number": (last or 0) + 1,
        "owner": owner,
        "status": JobStatus.QUEUED,
        "wanted": Wanted.RUN,
        "spec": spec_to_json(spec),
        "model_key": spec.model.key,
        "tag": tag,
        "fence": 0,
        "attempt": 0,
        "handed_back": False,
        "faults": [],
        "stages": {},
        "last_seq": 0,
        "created_at": now(),
    }


def next_tag(connection: sa.Connection, owner: str) -> int:
    """Start tag of a new job: owners take turns (start-time fair queueing).

    One more than the larger of the tag of the job that was started last and the owner's last tag:
    an owner with a hundred queued jobs does not delay another owner's first one.
    """
    started = sa.select(jobs.c.tag).where(jobs.c.started_at.is_not(None))
    current = connection.execute(started.order_by(jobs.c.started_at.desc()).limit(1)).scalar()
    own = connection.execute(
        sa.select(sa.func.max(jobs.c.tag)).where(jobs.c.owner == owner)
    ).scalar()
    return max(current or 0, own or 0) + 1


def replayed(connection: sa.Connection, owner: str, claimed: IdempotencyClaim) -> Job | None:
    """The job that the same request with the same key created before, if it did.

    Raises:
        IdempotencyKeyReusedError: The key came with another request.
    """
    oldest = now() - timedelta(hours=IDEMPOTENCY_HOURS)
    connection.execute(sa.delete(idempotency).where(idempotency.c.created_at < oldest))
    known = connection.execute(
        sa.select(idempotency).where(idempotency.c.owner == owner, idempotency.c.key == claimed.key)
    ).first()
    if known is None:
        return None
    if known.body_sha256 != claimed.body_sha256:
        message = "the Idempotency-Key was used for another request; use a new key"
        raise IdempotencyKeyReusedError(message)
    return job_of(row_of(connection, owner, known.job_id))


def claim(connection: sa.Connection, owner: str, claimed: IdempotencyClaim, job_id: str) -> None:
    """Remember which job the key stands for."""
    connection.execute(
        sa.insert(idempotency).values(
            owner=owner,
            key=claimed.key,
            body_sha256=claimed.body_sha256,
            job_id=job_id,
            created_at=now(),
        )
    )
