"""Fetches a data set over http(s) into a file: bounded in bytes, time, redirects and retries.

1. 5xx, 429, a connection that fails, and an answer that ends early are tried again, with back-off.
2. Any other status than 200 is final, as are all limits and forbidden addresses.
3. Redirects are checked like the first address; more than the limit count as forbidden.
4. The body is taken as it is: no decompression, its length compared with the announced one. A body
   that only the end of the connection delimits must bear its own end mark.
"""

import hashlib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urljoin

import httpcore

from service.datasets.guard import Deadline, GuardedBackend, timed_out
from service.datasets.policy import DatasetPolicy
from service.datasets.uris import DatasetUri, check_uri, forbidden
from service.errors import DatasetError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRIED = frozenset({408, 425, 429})
_LONGEST_WAIT_SECONDS = 60.0
_HEADERS: dict[str | bytes, str | bytes] = {
    "User-Agent": "secateur",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What was written: size in bytes and SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


class _AgainError(Exception):
    """This try failed in a way that another one may not.

    Args:
        final: What to raise if there is no other try.
        wait: Seconds that the host asked for.
    """

    def __init__(self, final: DatasetError, wait: float = 0.0) -> None:
        super().__init__(str(final))
        self.final = final
        self.wait = wait


def nothing() -> None:
    """What is called after every piece where nobody listens."""


def fetch(
    uri: DatasetUri,
    target: Path,
    policy: DatasetPolicy,
    *,
    is_complete: Callable[[Path], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    alive: Callable[[], None] = nothing,
) -> Fetched:
    """Download ``uri`` to ``target``.

    Args:
        uri: A checked http or https address.
        target: File to write; replaced if it exists, removed if fetching fails.
        policy: Network rules and limits.
        is_complete: Whether a file bears its end mark; asked where no length was announced.
        clock: Monotonic seconds.
        sleep: Waits between tries.
        alive: Called before every try and after every piece.

    Raises:
        DatasetError: ``dataset-unavailable``, ``-http-status``, ``-timeout``, ``-truncated``,
            ``-too-large``, ``-format``, ``-uri-forbidden``, ``-uri-credentials`` or ``-scheme``.
    """
    deadline = Deadline(policy.limits.total_seconds, clock)
    with removed_on_failure(target):
        for attempt in count():
            alive()
            try:
                return _attempt(uri, target, policy, deadline, is_complete, alive)
            except _AgainError as error:
                asked = min(error.wait, _LONGEST_WAIT_SECONDS)
                wait = max(asked, policy.limits.backoff_seconds * 2**attempt)
                if attempt + 1 >= policy.limits.attempts or wait >= deadline.remaining:
                    raise error.final from error
                sleep(wait)
    raise AssertionError  # the loop above never ends by itself


def _attempt(
    uri: DatasetUri,
    target: Path,
    policy: DatasetPolicy,
    deadline: Deadline,
    is_complete: Callable[[Path], bool],
    alive: Callable[[], None],
) -> Fetched:
    """One try, redirects included."""
    for _ in range(policy.limits.redirects + 1):
        with _response(uri, policy, deadline) as response:
            headers = _headers(response)
            if response.status not in _REDIRECTS:
                _check_answer(response.status, headers, policy)
                fetched = _receive(response, target, policy, deadline, alive)
                is_open_ended = not headers.keys() & {"content-length", "transfer-encoding"}
                if is_open_ended and not is_complete(target):
                    raise _AgainError(_truncated())
                return fetched
            uri = _redirected(uri, headers, policy)
    raise forbidden()


@contextmanager
def _response(
    uri: DatasetUri, policy: DatasetPolicy, deadline: Deadline
) -> Iterator[httpcore.Response]:
    """Send the request; failures up to the end of the headers become tries or errors."""
    stall = policy.limits.stall_seconds
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), stall)
    pool = httpcore.ConnectionPool(
        ssl_context=ssl.create_default_context(),
        network_backend=GuardedBackend(policy.network, deadline),
        retries=0,
        max_connections=1,
        http2=False,
    )
    is_reading = False
    try:
        with pool, pool.stream(
            "GET", uri.text, headers=_HEADERS, extensions={"timeout": timeouts}
        ) as response:  # fmt: skip
            is_reading = True
            yield response
    except httpcore.TimeoutException as error:
        if deadline.remaining <= 0:
            raise timed_out() from error
        raise _AgainError(timed_out()) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise _AgainError(_truncated() if is_reading else _unavailable()) from error


def _headers(response: httpcore.Response) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
    }


def _redirected(uri: DatasetUri, headers: Mapping[str, str], policy: DatasetPolicy) -> DatasetUri:
    """Case 3; from https only to https, and never to a file."""
    target = check_uri(urljoin(uri.text, headers.get("location", "")), network=policy.network)
    if uri.scheme == "https" and target.scheme != "https":
        raise forbidden()
    return target


def _check_answer(status: int, headers: Mapping[str, str], policy: DatasetPolicy) -> None:
    """Cases 1 and 2, and what the headers tell before the body is read."""
    if status >= 500 or status in _RETRIED:
        wait = headers.get("retry-after", "")
        seconds = float(wait) if wait.isdecimal() and len(wait) < 6 else 0.0
        raise _AgainError(_unavailable(status), seconds)
    if status != 200:
        message = f"the data set's host answered with status {status}; check the address"
        details = {"status": status}
        raise DatasetError(message, code="dataset-http-status", param="dataset", details=details)
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        message = (
            "the data set's host compressed its answer, although it was asked not to; "
            "serve the file as it is"
        )
        raise DatasetError(message, code="dataset-format", param="dataset")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > policy.limits.file_bytes:
        raise too_large(policy.limits.file_bytes, int(length))


def _receive(
    response: httpcore.Response,
    target: Path,
    policy: DatasetPolicy,
    deadline: Deadline,
    alive: Callable[[], None],
) -> Fetched:
    """Case 4: write the body as it comes, counting and hashing."""
    digest, size, limit = hashlib.sha256(), 0, policy.limits.file_bytes
    with target.open("wb") as file:
        for chunk in response.iter_stream():
            size += len(chunk)
            if size > limit:
                raise too_large(limit, None)
            if deadline.remaining <= 0:
                raise timed_out()
            digest.update(chunk)
            file.write(chunk)
            alive()
    return Fetched(bytes=size, sha256=digest.hexdigest())


@contextmanager
def removed_on_failure(target: Path) -> Iterator[None]:
    """Leave no half-written file behind."""
    try:
        yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def too_large(limit: int, actual: int | None) -> DatasetError:
    """The error for a file over the limit, in bytes."""
    message = f"the data set is larger than the limit of {limit} bytes; use fewer samples"
    return DatasetError(
        message, code="dataset-too-large", param="dataset", limit=limit, actual=actual
    )


def _truncated() -> DatasetError:
    message = "the data set ended early: fewer bytes arrived than belong to it; try again"
    return DatasetError(message, code="dataset-truncated", param="dataset")


def _unavailable(status: int | None = None) -> DatasetError:
    reason = "could not be reached" if status is None else f"keeps answering with status {status}"
    message = f"the data set's host {reason}; check the address and try again"
    return DatasetError(message, code="dataset-unavailable", param="dataset")
