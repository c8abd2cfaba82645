"""A whole API in this process: real store on SQLite, real files, a gate that only looks.

The worker is played by the test through the worker's own store, so no process is started.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import httpx
from fastapi import FastAPI
from sqlalchemy import Connection, event

from service.app import create_app
from service.authentication import SCOPES
from service.database import create_database
from service.engine.port import EngineStatus
from service.errors import AdmissionError, DatasetError
from service.job_store import JobStore
from service.jobs import JobStatus, StoredArtifact
from service.run_store import Outcome, RunStore
from service.settings import Settings
from service.storage import ArtifactStore, content_key
from service.tables import metadata
from tests.unit.service.app_client import AppClient, serving

MODEL = b"\x08\x08\x12\x07fake" + bytes(range(256)) * 40
DATASET = "https://example.com/digits.npz"
COMPRESSED = b"compressed" * 1000


class QuietEngine:
    """A job engine that takes everything and never starts anything."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.cancelled: list[str] = []

    def submit(self, connection: Connection, job_id: str, *, tag: int) -> None:
        self.submitted.append(job_id)

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def resume(self, job_ids: Sequence[str]) -> None:
        raise NotImplementedError

    def status(self, job_id: str) -> EngineStatus:
        return EngineStatus.QUEUED

    def held(self) -> Mapping[str, Sequence[str]]:
        return {}

    def forget(self, job_id: str) -> None:
        return None

    def run_worker(self, *arguments: Any) -> NoReturn:
        raise NotImplementedError


class LookingGate:
    """Refuses by a mark in the bytes or the address, and counts what it was asked."""

    def __init__(self) -> None:
        self.admitted: list[int] = []

    def check_magic(self, first_bytes: bytes, size: int) -> None:
        if size == 0:
            message = "the file is empty"
            raise AdmissionError(message, code="model-empty")
        if first_bytes.startswith(b"PK"):
            message = "the file is a zip archive"
            raise AdmissionError(message, code="model-not-onnx")

    def check_uri(self, uri: str) -> None:
        if uri.startswith("ftp:"):
            message = "ftp cannot be read"
            raise DatasetError(message, code="dataset-scheme", param="dataset")

    def admit(self, path: Path) -> None:
        content = path.read_bytes()
        self.admitted.append(len(content))
        if b"unknown operator" in content:
            message = "operator 'Foo' is not supported"
            raise AdmissionError(message, code="model-unsupported-op", param="n1")


class FixedWorkers:
    """As many workers as a test wants."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def live(self) -> tuple[str, ...]:
        return self.names


@dataclass(frozen=True, kw_only=True)
class Api:
    """The parts of the application under test."""

    client: AppClient
    store: JobStore
    runs: RunStore
    artifacts: ArtifactStore
    settings: Settings
    key: str
    engine: QuietEngine = field(default_factory=QuietEngine)
    gate: LookingGate = field(default_factory=LookingGate)
    workers: FixedWorkers = field(default_factory=FixedWorkers)
    anonymous: AppClient

    def tenant(self, owner: str, *scopes: str) -> AppClient:
        token = self.store.create_key(owner, frozenset(scopes or SCOPES)).token
        return self.client.with_key(token)

    def post(
        self,
        *,
        client: AppClient | None = None,
        model: bytes | None = MODEL,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> httpx.Response:
        """Submit a model; an empty field is left out."""
        texts = {"dataset": DATASET, "target_macs": "0.5", **fields}
        texts = {name: value for name, value in texts.items() if value}
        files = None if model is None else {"model": ("net.onnx", model)}
        files = files or {name: (None, value) for name, value in texts.items()}
        return (client or self.client).post("/v1/jobs", data=texts, files=files, headers=headers)

    def submit(self, **arguments: Any) -> str:
        response = self.post(**arguments)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def begin(self, job_id: str) -> int:
        begun = self.runs.begin(job_id, "worker-1")
        assert begun is not None
        return begun.job.fence

    def put(self, owner: str, name: str, content: bytes, folder: Path) -> StoredArtifact:
        path = folder / name
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        stored = self.artifacts.put_file(path, content_key(owner, sha256))
        media_types = {"model": "application/octet-stream", "page": "text/html"}
        media_type = media_types.get(name, "application/json")
        return StoredArtifact(
            name=name, key=stored.key, sha256=sha256, bytes=len(content), media_type=media_type
        )

    def succeed(
        self,
        job_id: str,
        *,
        owner: str = "own_a",
        content: bytes = COMPRESSED,
        formats: Sequence[str] = (),
    ) -> None:
        """Play the worker until the job has succeeded."""
        fence = self.begin(job_id)
        folder = self.settings.data_dir
        files = [self.put(owner, "model", content, folder)]
        files += [
            self.put(owner, name, b'{"name": "%s"}' % name.encode(), folder)
            for name in ("report", "page", "solution", "space", *formats)
        ]
        outcome = Outcome(
            status=JobStatus.SUCCEEDED,
            result={"ratios": {"macs": 0.4}, "removed": {"channel": 3, "head": 0}},
            artifacts=tuple(files),
        )
        self.runs.finish(job_id, fence, outcome)

    def fail(self, job_id: str, code: str, detail: str) -> None:
        """Play the worker until the job has failed."""
        fence = self.begin(job_id)
        error = {"code": code, "detail": detail, "param": None, "retryable": False}
        self.runs.finish(job_id, fence, Outcome(status=JobStatus.FAILED, error=error))

    def leftovers(self) -> list[str]:
        """Names of files in the store that are unfinished."""
        return [path.name for path in (self.settings.data_dir / "store/incoming").iterdir()]

    def objects(self) -> int:
        """How many files the store holds."""
        folder = self.settings.data_dir / "store/objects"
        return sum(path.is_file() for path in folder.rglob("*"))


def _hurry(connection: Any, _: object) -> None:
    """Tests survive a power failure without their data."""
    connection.execute("PRAGMA synchronous=OFF")


@contextmanager
def running_api(
    folder: Path,
    *,
    serve: Callable[[FastAPI], AbstractContextManager[Any]] = serving,
    **settings: Any,
) -> Iterator[Api]:
    """The API with a database and files below ``folder``, and a key of owner ``own_a``.

    ``serve`` turns the application into a client; in this process, or behind a real server.
    """
    configured = Settings(data_dir=folder, inline_limit=200_000, **settings)
    database = create_database(configured.database_url)
    event.listen(database, "connect", _hurry)
    metadata.create_all(database)
    engine, gate, workers = QuietEngine(), LookingGate(), FixedWorkers("worker-1")
    store = JobStore(database, engine)
    artifacts = ArtifactStore(configured.store_url)
    key = store.create_key("own_a", SCOPES).token
    app = create_app(configured, store, artifacts, workers, gate=gate)
    with serve(app) as client:
        yield Api(
            client=client.with_key(key),
            anonymous=client,
            store=store,
            runs=RunStore(database, max_attempts=3),
            artifacts=artifacts,
            settings=configured,
            key=key,
            engine=engine,
            gate=gate,
            workers=workers,
        )
    database.dispose()
