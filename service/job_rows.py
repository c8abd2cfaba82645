"""Rows of the table ``jobs`` to values and back, and how an event gets its number."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from service.errors import NotFoundError
from service.jobs import Job, JobSpec, JobStatus, ModelReference, Wanted
from service.tables import job_events, jobs


def now() -> datetime:
    """The current time in UTC; for people only, nothing is decided by it."""
    return datetime.now(UTC)


def spec_to_json(spec: JobSpec) -> dict[str, Any]:
    """What the column ``spec`` holds."""
    return asdict(spec)


def spec_from_json(data: Mapping[str, Any]) -> JobSpec:
    """The inverse of :func:`spec_to_json`."""
    return JobSpec(**{**data, "model": ModelReference(**data["model"])})


def job_of(row: sa.Row[Any]) -> Job:
    """A job from a row with all columns of the table."""
    return Job(
        id=row.id,
        owner=row.owner,
        status=JobStatus(row.status),
        spec=spec_from_json(row.spec),
        wanted=Wanted(row.wanted),
        attempt=row.attempt,
        fence=row.fence,
        resumed_from_step=row.resumed_from_step,
        progress=row.progress,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        result=row.result,
        error=row.error,
    )


def row_of(connection: sa.Connection, owner: str, job_id: str) -> sa.Row[Any]:
    """The row of an owner's job.

    Raises:
        NotFoundError: There is none, or it is somebody else's.
    """
    row = connection.execute(
        sa.select(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner)
    ).first()
    if row is None:
        message = "there is no such job"
        raise NotFoundError(message)
    return row


def append_events(
    connection: sa.Connection, job_id: str, lines: Iterable[tuple[str, Mapping[str, Any]]]
) -> None:
    """Number and store events, pairs of kind and data.

    The numbers come from a counter in the job's row, so they have no gaps: a sequence of the
    database would lose those of a transaction that is rolled back.
    """
    batch = list(lines)
    if not batch:
        return
    last = connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_id)
        .values(last_seq=jobs.c.last_seq + len(batch))
        .returning(jobs.c.last_seq)
    ).scalar_one()
    first = last - len(batch) + 1
    moment = now()
    rows = [
        {"job_id": job_id, "seq": first + index, "kind": kind, "at": moment, "data": dict(data)}
        for index, (kind, data) in enumerate(batch)
    ]
    connection.execute(sa.insert(job_events), rows)
