"""What a worker writes about the job it runs; every write carries the fence.

The fence is a number that grows at every start of a job. A worker that was declared dead and comes
back has an old one: its writes change nothing and raise :class:`FencedError`, and it leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from graph_analysis.errors import SecateurError
from service.database import reading, writing
from service.faults import fault
from service.job_rows import append_events, job_of, now
from service.jobs import TERMINAL, Job, JobStatus, StoredArtifact, Wanted
from service.tables import artifacts, jobs

_IS_ACTIVE = jobs.c.status.not_in([status.value for status in TERMINAL])


class FencedError(SecateurError):
    """Another worker has taken the job over; this process must leave."""


class Verdict(StrEnum):
    """What the worker that begins a job has to do."""

    RUN = "run"
    CANCEL = "cancel"  # the owner has asked for it
    GIVE_UP = "give-up"  # all attempts are used up


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A start of a job.

    Attributes:
        job: The job, with the new fence and attempt.
        verdict: What to do with it.
        stages: Finished stage -> the files it left, name -> SHA-256.
        faults: Codes of the earlier attempts that failed.
    """

    job: Job
    verdict: Verdict
    stages: Mapping[str, Mapping[str, str]]
    faults: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ends.

    Attributes:
        status: One of the three terminal ones.
        result: Figures of the report, of a job that succeeded.
        artifacts: Its files.
        error: ``code, detail, param, retryable`` of a job that failed.
    """

    status: JobStatus
    result: Mapping[str, Any] | None = None
    artifacts: Sequence[StoredArtifact] = ()
    error: Mapping[str, Any] | None = field(default=None)


class RunStore:
    """The worker's side of the jobs; see the module. Thread-safe."""

    def __init__(self, engine: sa.Engine, *, max_attempts: int) -> None:
        self._engine = engine
        self._max_attempts = max_attempts

    def begin(self, job_id: str, executor: str) -> Begun | None:
        """Start, or restart, a job; None if it has ended or is gone.

        A start after a drain is free, every other one is charged as an attempt.
        """
        with writing(self._engine) as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id, _IS_ACTIVE)).first()
            if row is None:
                return None
            if row.status == JobStatus.QUEUED:
                append_events(connection, job_id, [("status", {"status": JobStatus.PREPARING})])
            changes = {"handed_back": False, "executor": executor}
            return self._start(connection, row, charge=not row.handed_back, changes=changes)

    def retry(self, job_id: str, fence: int, code: str) -> Begun:
        """Start the next attempt in the same worker, after one that failed with ``code``.

        Raises:
            FencedError: Another worker has taken over.
        """
        with writing(self._engine) as connection:
            row = self._locked(connection, job_id, fence)
            data = {"message": "the attempt failed", "data": {"code": code}}
            append_events(connection, job_id, [("event", data)])
            return self._start(
                connection, row, charge=True, changes={"faults": [*row.faults, code]}
            )

    def _start(
        self, connection: sa.Connection, row: sa.Row[Any], *, charge: bool, changes: dict[str, Any]
    ) -> Begun:
        """Give the job a new fence, and charge an attempt unless there is none left."""
        is_over = charge and row.attempt >= self._max_attempts
        row = connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == row.id)
            .values(
                fence=row.fence + 1,
                attempt=row.attempt + int(charge and not is_over),
                started_at=row.started_at or now(),
                # From here on a cancel goes through the worker.
                status=JobStatus.PREPARING if row.status == JobStatus.QUEUED else row.status,
                **changes,
            )
            .returning(jobs)
        ).one()
        verdict = Verdict.GIVE_UP if is_over else Verdict.RUN
        if row.wanted == Wanted.CANCEL:
            verdict = Verdict.CANCEL
        return Begun(job=job_of(row), verdict=verdict, stages=row.stages, faults=row.faults)

    def set_stage(self, job_id: str, fence: int, status: JobStatus) -> None:
        """Publish a new status, unless the job is being cancelled.

        Raises:
            FencedError: Another worker has taken over.
        """
        with writing(self._engine) as connection:
            row = self._locked(connection, job_id, fence)
            if row.wanted == Wanted.CANCEL or row.status == status:
                return
            connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(status=status))
            append_events(connection, job_id, [("status", {"status": status})])

    def record(
        self, job_id: str, fence: int, lines: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Store what a stage has reported: pairs of kind and data.

        Raises:
            FencedError: Another worker has taken over.
        """
        progress = [data for kind, data in lines if kind == "progress"]
        resumed = [data["step"] for kind, data in lines if kind == "resumed"]
        changes: dict[str, Any] = {}
        if progress:
            changes["progress"] = dict(progress[-1])
        if resumed:
            changes["resumed_from_step"] = resumed[-1]
        with writing(self._engine) as connection:
            self._locked(connection, job_id, fence)
            if changes:
                connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**changes))
            append_events(connection, job_id, lines)

    def finish_stage(
        self, job_id: str, fence: int, stages: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Replace what is known of the finished stages and their files.

        Raises:
            FencedError: Another worker has taken over.
        """
        with writing(self._engine) as connection:
            self._locked(connection, job_id, fence)
            plain = {stage: dict(files) for stage, files in stages.items()}
            connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(stages=plain))

    def hand_back(self, job_id: str, fence: int) -> None:
        """Give the job up for the next worker, free of charge: this one was asked to leave.

        Raises:
            FencedError: Another worker has taken over.
        """
        with writing(self._engine) as connection:
            row = self._locked(connection, job_id, fence)
            changes: dict[str, Any] = {"handed_back": True}
            if row.wanted == Wanted.RUN:
                changes["status"] = JobStatus.QUEUED
                append_events(connection, job_id, [("status", {"status": JobStatus.QUEUED})])
            connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**changes))

    def finish(self, job_id: str, fence: int, outcome: Outcome) -> JobStatus:
        """End the job; status, result, files and last event in one transaction.

        A cancel that was answered before wins over the success that races with it.

        Raises:
            FencedError: Another worker has taken over.
        """
        with writing(self._engine) as connection:
            row = self._locked(connection, job_id, fence)
            if row.wanted == Wanted.CANCEL and outcome.status is JobStatus.SUCCEEDED:
                outcome = Outcome(status=JobStatus.CANCELLED)
            _finish(connection, job_id, outcome)
            fault("finish.tx")
        return outcome.status

    def cancel_abandoned(self, job_id: str, executor: str | None) -> bool:
        """End a job that is to be cancelled and that no live worker holds; whether it did.

        Args:
            job_id: The job.
            executor: Who held it last; nothing happens if somebody else has begun it since.
        """
        with writing(self._engine) as connection:
            row = connection.execute(
                sa.update(jobs)
                .where(
                    jobs.c.id == job_id,
                    jobs.c.wanted == Wanted.CANCEL,
                    jobs.c.executor.is_not_distinct_from(executor),
                    _IS_ACTIVE,
                )
                .values(fence=jobs.c.fence + 1)
                .returning(jobs.c.id)
            ).first()
            if row is None:
                return False
            _finish(connection, job_id, Outcome(status=JobStatus.CANCELLED))
            return True

    def to_cancel(self) -> Sequence[tuple[str, str | None]]:
        """Jobs that are to be cancelled and have not ended, each with who held it last."""
        query = sa.select(jobs.c.id, jobs.c.executor).where(
            jobs.c.wanted == Wanted.CANCEL, _IS_ACTIVE
        )
        with reading(self._engine) as connection:
            return [(row.id, row.executor) for row in connection.execute(query)]

    def to_resume(self, job_ids: Sequence[str]) -> frozenset[str]:
        """Those of the jobs that may be started again: all but those that are being cancelled."""
        is_cancelling = sa.and_(jobs.c.wanted == Wanted.CANCEL, _IS_ACTIVE)
        query = sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids), sa.not_(is_cancelling))
        with reading(self._engine) as connection:
            return frozenset(connection.execute(query).scalars())

    def active_among(self, job_ids: Sequence[str]) -> frozenset[str]:
        """Those of the jobs that exist and have not ended."""
        query = sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids), _IS_ACTIVE)
        with reading(self._engine) as connection:
            return frozenset(connection.execute(query).scalars())

    def wanted(self, job_id: str) -> Wanted:
        """What the owner asked for last; ``cancel`` for a job that is gone."""
        query = sa.select(jobs.c.wanted).where(jobs.c.id == job_id)
        with reading(self._engine) as connection:
            value = connection.execute(query).scalar()
        return Wanted.CANCEL if value is None else Wanted(value)

    @staticmethod
    def _locked(connection: sa.Connection, job_id: str, fence: int) -> sa.Row[Any]:
        row = connection.execute(
            sa.select(jobs).where(jobs.c.id == job_id, jobs.c.fence == fence, _IS_ACTIVE)
        ).first()
        if row is None:
            message = "another worker has taken the job over"
            raise FencedError(message)
        return row


def _finish(connection: sa.Connection, job_id: str, outcome: Outcome) -> None:
    connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            status=outcome.status,
            result=outcome.result,
            error=outcome.error,
            finished_at=now(),
        )
    )
    rows = [{"job_id": job_id, **vars(artifact)} for artifact in outcome.artifacts]
    if rows:
        connection.execute(sa.insert(artifacts), rows)
    data: dict[str, Any] = {"status": outcome.status}
    if outcome.error is not None:
        data["error"] = dict(outcome.error)
    append_events(connection, job_id, [("status", data)])
