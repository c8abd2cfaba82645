"""Python client of the REST API: synchronous, typed, safe to retry.

    with Client(url, key) as client:
        job = client.jobs.create(Path("m.onnx"), dataset=uri, settings={"target_macs": 0.4})
        job = client.jobs.wait(job.id)
        client.jobs.download(job.id, Path("small.onnx"))

A request that creates a job carries an Idempotency-Key of its own, so it is repeated after a broken
connection without making two jobs. Downloads continue where they broke off and are checked against
the published SHA-256.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from service.client_connection import (
    Connection,
    DownloadError,
    RequestRefusedError,
    ServiceError,
    ServiceUnreachableError,
)
from service.schemas import Event, Job, Listing

__all__ = [
    "DEFAULT_URL",
    "Client",
    "DownloadError",
    "RequestRefusedError",
    "ServiceError",
    "ServiceUnreachableError",
]

DEFAULT_URL = "http://127.0.0.1:8080"
T = TypeVar("T")
_POLL_SECONDS = 30.0
_JOB: TypeAdapter[Job] = TypeAdapter(Job)
_JOBS: TypeAdapter[Listing[Job]] = TypeAdapter(Listing[Job])
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_EVENTS: TypeAdapter[Listing[Event]] = TypeAdapter(Listing[Event])


class Client:
    """A client of one service; the arguments are those of :class:`Connection`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        attempts: int = 4,
        **testing: Any,
    ) -> None:
        self._connection = Connection(url, key, timeout=timeout, attempts=attempts, **testing)
        self.jobs = Jobs(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._connection.close()


class Jobs:
    """The jobs of the key's owner."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        model: Path,
        *,
        dataset: str,
        settings: Mapping[str, object],
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Upload a model and start a job.

        Args:
            model: The ONNX file.
            dataset: Address of the data set.
            settings: ``target_macs`` and the like, named as on the command line.
            metadata: Pairs of text that come back with the job.
            idempotency_key: Two calls with the same key are one job; a fresh key by default.

        Raises:
            RequestRefusedError: The model, the data set's address or a setting is not valid.
            OSError: The file cannot be read.
        """
        fields = {name: _text(value) for name, value in settings.items() if value is not None}
        fields["dataset"] = dataset
        if metadata:
            fields["metadata"] = json.dumps(dict(metadata))
        response = self._connection.request(
            "POST",
            "/v1/jobs",
            headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
            data=fields,
            files={"model": (model.name, model.read_bytes())},
        )
        return _parsed(_JOB, response)

    def get(self, job_id: str, *, wait: float = 0) -> Job:
        """One job; with ``wait``, when its status has changed or that many seconds have passed."""
        params = {"wait": wait} if wait else {}
        return _parsed(_JOB, self._connection.request("GET", f"/v1/jobs/{job_id}", params=params))

    def list(
        self, *, status: str | None = None, after: str | None = None, limit: int = 20
    ) -> Listing[Job]:
        """One page of jobs, newest first."""
        params = {"limit": limit, "status": status, "after": after}
        given = {name: value for name, value in params.items() if value is not None}
        return _parsed(_JOBS, self._connection.request("GET", "/v1/jobs", params=given))

    def wait(self, job_id: str, *, timeout: float | None = None) -> Job:
        """Wait until a job has finished.

        Raises:
            TimeoutError: It has not after ``timeout`` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _POLL_SECONDS if end is None else end - time.monotonic()
            job = self.get(job_id, wait=round(max(0.0, min(_POLL_SECONDS, left)), 1))
            if job.is_finished:
                return job
            if left <= 0:
                message = f"{job_id} has not finished after {timeout:g} s; it is {job.status}"
                raise TimeoutError(message)

    def events(self, job_id: str, *, after: int = 0, limit: int = 100) -> Listing[Event]:
        """One page of events, oldest first."""
        response = self._connection.request(
            "GET", f"/v1/jobs/{job_id}/events", params={"after": after, "limit": limit}
        )
        return _parsed(_EVENTS, response)

    def stream_events(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """Events as they happen, until the job has finished; connects again by itself.

        Raises:
            ServiceUnreachableError: The connection broke and could not be made again.
        """
        failures = 0
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            try:
                with self._connection.stream(f"/v1/jobs/{job_id}/events", headers) as response:
                    for event in _events_of(response.iter_lines()):
                        after, failures = event.seq, 0
                        yield event
            except httpx.TransportError as error:
                failures += 1
                self._connection.give_up_or_pause(failures, error)
                continue
            if self.get(job_id).is_finished:
                yield from self._rest(job_id, after)
                return

    def _rest(self, job_id: str, after: int) -> Iterator[Event]:
        """What happened between the end of the stream and the look at the job."""
        has_more = True
        while has_more:
            page = self.events(job_id, after=after)
            yield from page.data
            has_more = page.has_more
            after = page.data[-1].seq if page.data else after

    def cancel(self, job_id: str) -> Job:
        """Ask for a job to be stopped.

        Raises:
            RequestRefusedError: ``job-already-finished``.
        """
        return _parsed(_JOB, self._connection.request("POST", f"/v1/jobs/{job_id}/cancel"))

    def delete(self, job_id: str) -> None:
        """Remove a finished job and its files."""
        self._connection.request("DELETE", f"/v1/jobs/{job_id}")

    def read(self, job_id: str, name: str) -> Any:
        """A JSON file of a job (``report``, ``solution``, ``space``), parsed."""
        return self._connection.request("GET", f"/v1/jobs/{job_id}/{name}").json()

    def download(self, job_id: str, target: Path, *, name: str = "model") -> str:
        """Write a file of a finished job to ``target``; its SHA-256 in hexadecimal.

        The file appears under its name only when it is whole and checked.

        Raises:
            DownloadError: The bytes do not match the published digest.
            RequestRefusedError: ``job-not-finished``, or there is no such job.
            OSError: The file cannot be written.
        """
        partial = target.with_name(target.name + ".part")
        try:
            with partial.open("w+b") as file:
                expected = self._fetch(f"/v1/jobs/{job_id}/{name}", file)
                file.seek(0)
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                message = f"{target.name}: got sha256 {found}, but {expected} was published"
                raise DownloadError(message)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return found

    def _fetch(self, path: str, file: BinaryIO) -> str:
        """Get all bytes, continuing after broken connections; the published digest."""
        etag = ""
        failures = 0
        while True:
            headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
            if etag and file.tell():
                headers |= {"Range": f"bytes={file.tell()}-", "If-Range": etag}
            try:
                with self._connection.stream(path, headers) as response:
                    if response.status_code != 206:  # the whole file, also if it has changed
                        file.seek(0)
                        file.truncate()
                    etag = response.headers.get("etag", "")
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                return str(etag).strip('"').removeprefix("sha256-")
            except httpx.TransportError as error:
                failures += 1
                self._connection.give_up_or_pause(failures, error)


def _parsed(adapter: TypeAdapter[T], response: httpx.Response) -> T:
    try:
        return adapter.validate_json(response.content)
    except ValidationError as error:
        message = f"{response.url} answered with something else than expected; is it Secateur?"
        raise ServiceUnreachableError(message) from error


def _text(value: object) -> str:
    """A setting as a form field: lists with commas, truth as true or false."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return str(value)


def _events_of(lines: Iterable[str]) -> Iterator[Event]:
    """Events of a text/event-stream; comments and unfinished events are skipped."""
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        if not line and data:
            yield _EVENT.validate_json("\n".join(data))
            data = []
        elif name == "data":
            data.append(value.removeprefix(" "))
