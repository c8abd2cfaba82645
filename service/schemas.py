"""What goes over the wire: the JSON of requests and answers, separate from the domain's values.

Requests are strict: unknown fields, numbers as text, NaN and infinity are refused. Answers ignore
what they do not know when the Python client reads them, so that a newer server does not break an
older client.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from service.jobs import JobStatus

MAX_WAIT_SECONDS = 60
MAX_PAGE = 100
MAX_EVENTS = 1000
_METADATA_PAIRS = 16

T = TypeVar("T")
Ratio = Annotated[float, Field(gt=0, lt=1, description="Share of the original that remains.")]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=_METADATA_PAIRS)]
Status = Annotated[
    str,
    Field(
        description="Treat a status you do not know as one of an active job.",
        json_schema_extra={"enum": [status.value for status in JobStatus]},
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class _Query(BaseModel):
    """Query parameters are text, so numbers are parsed; everything else is as strict."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


class TargetRequest(_Request):
    """What is to remain; exactly one of the four."""

    macs: Ratio | None = None
    params: Ratio | None = None
    bytes: Ratio | None = None
    latency: Ratio | None = None


class JobRequest(_Request):
    """The form's field ``job``: the whole request as JSON, instead of one field per setting."""

    dataset: str | None = Field(None, description="Address of the data set.", max_length=8192)
    target: TargetRequest
    recipe: dict[str, JsonValue] = Field(
        default_factory=dict, description="Training settings, named as on the command line."
    )
    metadata: Metadata = Field(default_factory=dict)


class JobListQuery(_Query):
    """Which jobs, from where on, how many."""

    status: JobStatus | None = None
    after: str | None = Field(None, max_length=80, description="Id of the last job already seen.")
    limit: int = Field(20, ge=1, le=MAX_PAGE)


class JobQuery(_Query):
    """Long poll."""

    wait: float = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Answer when the status changes, or after so many seconds.",
    )


class EventQuery(_Query):
    """Which events, and how many."""

    after: int = Field(0, ge=0, lt=2**53, description="Sequence number of the last event seen.")
    limit: int = Field(100, ge=1, le=MAX_EVENTS)


class ProblemDocument(_Answer):
    """An error (RFC 9457); ``type`` is the address of a page about the code."""

    type: str
    title: str
    status: int | None = None
    detail: str
    code: str
    retryable: bool
    param: str | None = None
    limit: JsonValue = None
    actual: JsonValue = None
    errors: list[dict[str, str]] | None = None
    request_id: str | None = None


class ModelReference(_Answer):
    """The uploaded model."""

    name: str
    sha256: str
    bytes: int


class DatasetReference(_Answer):
    """Where the data comes from."""

    uri: str


class Target(_Answer):
    """What is to remain, as a share of the original."""

    macs: float | None = None
    params: float | None = None
    bytes: float | None = None
    latency: float | None = None


class Progress(_Answer):
    """How far a job is."""

    fraction: float = Field(ge=0, le=1)
    stage: str | None = None
    phase: str | None = None
    step: int | None = None
    total: int | None = None
    eta_seconds: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class Links(_Answer):
    """Paths of everything that belongs to a job; files are there once it has succeeded."""

    self: str
    events: str
    cancel: str
    model: str
    report: str
    page: str
    solution: str
    space: str


class Job(_Answer):
    """A job."""

    id: str
    object: Literal["job"] = "job"
    status: Status
    model: ModelReference
    dataset: DatasetReference
    target: Target
    recipe: dict[str, JsonValue]
    metadata: dict[str, str]
    attempt: int = Field(description="How often a worker has started the job.")
    resumed_from_step: int | None = None
    progress: Progress | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: dict[str, JsonValue] | None = None
    error: ProblemDocument | None = None
    links: Links

    @property
    def is_finished(self) -> bool:
        """Whether the job will never change again."""
        return self.status in _FINISHED


_FINISHED = frozenset({"succeeded", "failed", "cancelled"})


class Event(_Answer):
    """Something that happened to a job; ``seq`` rises without gaps."""

    object: Literal["event"] = "event"
    seq: int
    kind: str
    at: datetime
    data: dict[str, Any]


class Listing(_Answer, Generic[T]):
    """One page; ask with ``after=last_id`` for the next."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool


class Health(_Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(_Answer):
    """Whether jobs can be accepted and will be worked on; each check is ``ok`` or a sentence."""

    status: Literal["ready", "not-ready"]
    checks: dict[str, str]
