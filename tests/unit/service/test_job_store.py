"""The API's side of the jobs."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.engine.memory_engine import MemoryEngine
from service.engine.port import EngineStatus
from service.errors import (
    ConflictError,
    IdempotencyKeyInProgressError,
    IdempotencyKeyReusedError,
    JobAlreadyFinishedError,
    JobNotFinishedError,
    NotFoundError,
    RequestError,
    UnavailableError,
)
from service.faults import InjectedFaultError, arm
from service.job_store import JobStore
from service.jobs import IdempotencyClaim, JobStatus, ModelReference, StoredArtifact
from service.run_store import Outcome, RunStore
from service.tables import idempotency, jobs
from service.testing import example_spec, finish_job, open_store, temporary_database

A, B = "own_a", "own_b"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = temporary_database(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
def store(database: sa.Engine, engine: MemoryEngine) -> JobStore:
    return open_store(database, engine)


def stored(name: str, key: str) -> StoredArtifact:
    return StoredArtifact(name=name, key=key, sha256="0" * 64, bytes=7, media_type="a/b")


def claim(key: str, body: str = "b" * 64) -> IdempotencyClaim:
    return IdempotencyClaim(key=key, body_sha256=body)


def test_a_job_is_accepted_with_its_event_and_its_place(
    store: JobStore, engine: MemoryEngine
) -> None:
    spec = example_spec(metadata={"team": "a"}, recipe={"epochs": 3})
    created = store.create(A, spec)
    assert not created.replayed
    job = store.get(A, created.job.id)
    assert job == created.job
    assert (job.status, job.attempt, job.spec) == (JobStatus.QUEUED, 0, spec)
    assert engine.status(job.id) is EngineStatus.QUEUED
    events = store.events(A, job.id)
    assert [(event.seq, event.kind, event.data) for event in events] == [
        (1, "status", {"status": "queued"})
    ]


def test_a_failure_before_the_commit_leaves_neither_job_nor_place(
    store: JobStore, engine: MemoryEngine
) -> None:
    arm("job.insert:raise@1")
    try:
        with pytest.raises(InjectedFaultError):
            store.create(A, example_spec(), idempotency=claim("k"))
    finally:
        arm("")
    assert store.list(A).items == ()
    assert not engine.held()
    assert not store.create(A, example_spec(), idempotency=claim("k")).replayed


def test_one_key_is_one_job(store: JobStore) -> None:
    first = store.create(A, example_spec(), idempotency=claim("k"))
    again = store.create(A, example_spec(), idempotency=claim("k"))
    other = store.create(B, example_spec(), idempotency=claim("k"))
    assert again.replayed
    assert again.job.id == first.job.id
    assert not other.replayed
    with pytest.raises(IdempotencyKeyReusedError):
        store.create(A, example_spec(), idempotency=claim("k", "c" * 64))
    assert len(store.list(A).items) == 1


def test_a_key_is_forgotten_after_a_day(store: JobStore, database: sa.Engine) -> None:
    store.create(A, example_spec(), idempotency=claim("k"))
    with database.begin() as connection:
        old = connection.execute(sa.select(idempotency.c.created_at)).scalar_one()
        connection.execute(sa.update(idempotency).values(created_at=old - timedelta(hours=25)))
    assert not store.create(A, example_spec(), idempotency=claim("k", "c" * 64)).replayed


def test_a_key_in_flight_is_refused_until_it_is_free(store: JobStore) -> None:
    with store.hold(A, "k"):
        with store.hold(B, "k"), store.hold(A, "l"):
            pass
        with pytest.raises(IdempotencyKeyInProgressError), store.hold(A, "k"):
            pass
    with store.hold(A, "k"):
        pass


def test_owners_take_turns(store: JobStore, database: sa.Engine) -> None:
    many = [store.create(A, example_spec()).job.id for _ in range(5)]
    runs = RunStore(database, max_attempts=3)
    runs.begin(many[0], "worker-a")
    one = store.create(B, example_spec()).job.id
    with database.connect() as connection:
        tag = {row.id: row.tag for row in connection.execute(sa.select(jobs.c.id, jobs.c.tag))}
    ahead = [name for name in many[1:] if (tag[name], name) < (tag[one], one)]
    assert len(ahead) <= 1


def test_pages_newest_first(store: JobStore) -> None:
    ids = [store.create(A, example_spec()).job.id for _ in range(5)]
    store.create(B, example_spec())
    first = store.list(A, limit=3)
    rest = store.list(A, limit=3, after=first.items[-1].id)
    assert [job.id for job in (*first.items, *rest.items)] == ids[::-1]
    assert (first.has_more, rest.has_more) == (True, False)
    store.request_cancel(A, ids[2])
    assert [job.id for job in store.list(A, status=JobStatus.CANCELLED).items] == [ids[2]]
    with pytest.raises(RequestError, match="after"):
        store.list(A, after="job_unknown")


def test_the_owner_alone_sees_a_job(store: JobStore) -> None:
    job = store.create(A, example_spec()).job
    for call in (store.get, store.events, store.request_cancel, store.artifacts, store.delete):
        for owner, job_id in ((B, job.id), (A, "job_unknown")):
            with pytest.raises(NotFoundError, match="there is no such job"):
                call(owner, job_id)
    with pytest.raises(RequestError):
        store.list(B, after=job.id)


def test_events_continue_after_a_number(store: JobStore, database: sa.Engine) -> None:
    job = store.create(A, example_spec()).job
    runs = RunStore(database, max_attempts=3)
    begun = runs.begin(job.id, "worker-a")
    assert begun is not None
    runs.record(job.id, begun.job.fence, [("event", {"n": n}) for n in range(5)])
    assert [event.seq for event in store.events(A, job.id, after=2, limit=3)] == [3, 4, 5]
    assert [event.seq for event in store.events(A, job.id, after=5)] == [6, 7]


def test_a_queued_job_is_cancelled_at_once(store: JobStore, engine: MemoryEngine) -> None:
    job = store.create(A, example_spec()).job
    cancelled, changed = store.request_cancel(A, job.id)
    assert changed
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.finished_at is not None
    assert engine.status(job.id) is EngineStatus.STOPPED
    assert store.request_cancel(A, job.id) == (cancelled, False)
    assert [event.data["status"] for event in store.events(A, job.id)] == ["queued", "cancelled"]


def test_a_running_job_is_told(store: JobStore, database: sa.Engine) -> None:
    job = store.create(A, example_spec()).job
    runs = RunStore(database, max_attempts=3)
    begun = runs.begin(job.id, "worker-a")
    assert begun is not None
    runs.set_stage(job.id, begun.job.fence, JobStatus.RUNNING)
    told, changed = store.request_cancel(A, job.id)
    assert (told.status, changed) == (JobStatus.CANCELLING, True)
    assert store.request_cancel(A, job.id)[1] is False


def test_a_cancel_is_recorded_even_if_the_engine_is_out_of_order(database: sa.Engine) -> None:
    class Broken(MemoryEngine):
        def cancel(self, job_id: str) -> None:
            raise OSError(job_id)

    store = JobStore(database, Broken())
    job = store.create(A, example_spec()).job
    assert store.request_cancel(A, job.id)[0].status is JobStatus.CANCELLED


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_it_is_too_late_to_cancel(store: JobStore, database: sa.Engine, status: JobStatus) -> None:
    job = store.create(A, example_spec()).job
    finish_job(database, job.id, Outcome(status=status))
    with pytest.raises(JobAlreadyFinishedError, match=status.value):
        store.request_cancel(A, job.id)


def test_files_only_of_a_job_that_succeeded(store: JobStore, database: sa.Engine) -> None:
    job = store.create(A, example_spec()).job
    with pytest.raises(JobNotFinishedError, match="queued"):
        store.artifact(A, job.id, "model")
    model, report = stored("model", "own_a/m"), stored("report", "own_a/r")
    outcome = Outcome(status=JobStatus.SUCCEEDED, result={"x": 1}, artifacts=[report, model])
    finish_job(database, job.id, outcome)
    assert store.artifact(A, job.id, "model") == model
    assert store.artifacts(A, job.id) == [model, report]
    assert store.get(A, job.id).result == {"x": 1}
    with pytest.raises(NotFoundError, match="'nothing'"):
        store.artifact(A, job.id, "nothing")
    failed = store.create(A, example_spec()).job
    finish_job(database, failed.id, Outcome(status=JobStatus.FAILED, error={"code": "internal"}))
    with pytest.raises(JobNotFinishedError, match="failed"):
        store.artifacts(A, failed.id)


def test_deleting_names_the_files_that_nobody_else_needs(
    store: JobStore, database: sa.Engine, engine: MemoryEngine
) -> None:
    model = ModelReference(name="n", key="own_a/shared", sha256="s", bytes=1)
    first = store.create(A, example_spec(model=model), idempotency=claim("k")).job
    second = store.create(A, example_spec(model=model)).job
    with pytest.raises(ConflictError, match="queued; cancel it first"):
        store.delete(A, first.id)
    outcome = Outcome(status=JobStatus.SUCCEEDED, artifacts=[stored("model", "own_a/m")])
    finish_job(database, first.id, outcome)
    assert store.delete(A, first.id) == ["own_a/m"]
    assert engine.status(first.id) is EngineStatus.UNKNOWN
    with pytest.raises(NotFoundError):
        store.events(A, first.id)
    assert not store.create(A, example_spec(), idempotency=claim("k")).replayed
    store.request_cancel(A, second.id)
    assert store.delete(A, second.id) == ["own_a/shared"]


def test_a_lost_database_is_unavailable(tmp_path: Path) -> None:
    from service.database import create_database

    database = create_database(f"sqlite:///{tmp_path / 'no' / 'folder.db'}")
    with pytest.raises(UnavailableError):
        open_store(database).ping()
    database.dispose()


def test_keys(store: JobStore) -> None:
    assert not store.has_keys()
    store.ping()
    token = store.create_key(A, {"read"}).token
    principal = store.authenticate(token)
    assert principal is not None
    assert principal.owner == A
    assert store.has_keys()
