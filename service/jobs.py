"""What a job is: its states, what was asked for, what happened, and what came out.

Plain frozen values, stdlib only: every process of the service and the tests share them. How they
are stored is the business of ``job_store`` and ``run_store``, what goes over the wire that of
``schemas``.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: ids are read aloud
_ID_LENGTH = 26  # 130 random bits

T = TypeVar("T")


class JobStatus(StrEnum):
    """Where a job is; only the three of :data:`TERMINAL` never change again."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"  # the train stage
    EXPORTING = "exporting"
    VERIFYING = "verifying"  # the proof, and publishing the artifacts
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    PAUSED = "paused"

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this state will never change again."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Wanted(StrEnum):
    """What the owner last asked for; the worker obeys."""

    RUN = "run"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """A file in the artifact store that belongs to a job.

    Attributes:
        name: ``model``, ``report``, ``solution``, ``space`` or ``proof``.
        key: Key in the artifact store; never shown to users.
        sha256: Digest in hexadecimal.
        bytes: Size in bytes.
        media_type: For the Content-Type header.
    """

    name: str
    key: str
    sha256: str
    bytes: int
    media_type: str


@dataclass(frozen=True, kw_only=True)
class ModelReference:
    """The uploaded model: the user's file name, and where its bytes are."""

    name: str
    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What was asked for; never changes after the job was accepted.

    Attributes:
        model: The model to compress.
        dataset_uri: Where the data comes from.
        target: What is to remain: ``macs``, ``params``, ``bytes``, ``latency`` -> ratio in (0, 1).
        recipe: Training settings named as on the command line, JSON values.
        metadata: The user's own pairs.
    """

    model: ModelReference
    dataset_uri: str
    target: Mapping[str, float]
    recipe: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it is stored.

    Attributes:
        wanted: What the owner last asked for.
        attempt: How many starts were charged to the job; 0 before the first.
        fence: Grows with every start; a worker with an older one may not write any more.
        resumed_from_step: The training step of the checkpoint that the running attempt started at.
        progress: The last progress line: ``fraction, stage, phase, step, total, metrics``; plus
            ``eta_seconds`` if it can be estimated.
        result: Figures of the report, once succeeded.
        error: ``code, detail, param, retryable``, once failed.
    """

    id: str
    owner: str
    status: JobStatus
    spec: JobSpec
    wanted: Wanted = Wanted.RUN
    attempt: int = 0
    fence: int = 0
    resumed_from_step: int | None = None
    progress: Mapping[str, object] | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Mapping[str, object] | None = None
    error: Mapping[str, object] | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never change again."""
        return self.status.is_terminal


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        seq: 1, 2, 3, ... per job, without gaps.
        kind: ``status``, ``progress``, ``metric``, ``event``, ``checkpoint``.
        at: UTC.
        data: JSON object; ``status`` events carry ``status``.
    """

    seq: int
    kind: str
    at: datetime
    data: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class IdempotencyClaim:
    """An Idempotency-Key and the digest of the request that came with it."""

    key: str
    body_sha256: str


@dataclass(frozen=True, kw_only=True)
class Created:
    """The answer to a submission; ``replayed`` if the same key had created the job before."""

    job: Job
    replayed: bool


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    has_more: bool


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who sent a request: the owner of the key, and what the key allows."""

    owner: str
    key_id: str
    scopes: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key that was just made; ``token`` (``sct_<id>_<secret>``) is shown once and not stored."""

    id: str
    token: str


def new_id(prefix: str) -> str:
    """A fresh id such as ``job_4k...``: the prefix and 130 random bits.

    Example:
        >>> new_id("job").startswith("job_"), len(new_id("job"))
        (True, 30)
    """
    return f"{prefix}_{''.join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))}"
