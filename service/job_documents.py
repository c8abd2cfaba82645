"""From the domain's values to the JSON of the API: jobs, events, pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from service import schemas
from service.jobs import Job, JobEvent, Page
from service.problems import problem_of_job

FILES = ("model", "report", "page", "solution", "space")


def job_document(job: Job) -> schemas.Job:
    """A job as its owner sees it."""
    spec = job.spec
    return schemas.Job(
        id=job.id,
        status=job.status.value,
        model=schemas.ModelReference(
            name=spec.model.name, sha256=spec.model.sha256, bytes=spec.model.bytes
        ),
        dataset=schemas.DatasetReference(uri=spec.dataset_uri),
        target=schemas.Target.model_validate(dict(spec.target)),
        recipe=_json(spec.recipe),
        metadata=dict(spec.metadata),
        attempt=job.attempt,
        resumed_from_step=job.resumed_from_step,
        progress=_progress(job.progress),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        result=None if job.result is None else _json(job.result),
        error=_error(job.error),
        links=_links(job.id),
    )


def event_document(event: JobEvent) -> schemas.Event:
    """An event as the owner of its job sees it."""
    return schemas.Event(seq=event.seq, kind=event.kind, at=event.at, data=dict(event.data))


def jobs_page(page: Page[Job]) -> schemas.Listing[schemas.Job]:
    """One page of jobs."""
    ids = [job.id for job in page.items]
    return schemas.Listing[schemas.Job](
        data=[job_document(job) for job in page.items],
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=page.has_more,
    )


def events_page(events: Sequence[JobEvent], *, has_more: bool) -> schemas.Listing[schemas.Event]:
    """One page of events; their ids are sequence numbers."""
    return schemas.Listing[schemas.Event](
        data=[event_document(event) for event in events],
        first_id=str(events[0].seq) if events else None,
        last_id=str(events[-1].seq) if events else None,
        has_more=has_more,
    )


def _links(job_id: str) -> schemas.Links:
    path = f"/v1/jobs/{job_id}"
    return schemas.Links(
        self=path,
        events=f"{path}/events",
        cancel=f"{path}/cancel",
        **{name: f"{path}/{name}" for name in FILES},
    )


def _progress(progress: Mapping[str, object] | None) -> schemas.Progress | None:
    if progress is None:
        return None
    known = {name: progress[name] for name in schemas.Progress.model_fields if name in progress}
    return schemas.Progress.model_validate(known)


def _error(error: Mapping[str, Any] | None) -> schemas.ProblemDocument | None:
    if error is None:
        return None
    document = problem_of_job(error["code"], error.get("detail"), param=error.get("param"))
    return schemas.ProblemDocument.model_validate(document)


def _json(value: Mapping[str, object]) -> dict[str, Any]:
    """A JSON object of the store; it was JSON already when it was written."""
    return dict(value)
