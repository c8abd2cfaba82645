"""The client's connection: requests that are repeated when that is safe, and its errors.

::

    SecateurError
    +-- ServiceError              the service answered with a problem
    |   +-- RequestRefusedError   ... because of what was sent (exit 2)
    +-- ServiceUnreachableError   no answer, or not of this service
    +-- DownloadError             the bytes are not those that were published
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import httpx
from pydantic import ValidationError

from graph_analysis.errors import SecateurError
from service.schemas import ProblemDocument

_RETRY_STATUSES = frozenset({408, 429, 502, 503, 504})
_MAX_DELAY_SECONDS = 8.0


class ServiceError(SecateurError):
    """The service answered with a problem.

    Attributes:
        problem: The problem document.
        status: HTTP status.
    """

    def __init__(self, problem: ProblemDocument, status: int) -> None:
        super().__init__(problem.detail, code=problem.code, param=problem.param)
        self.problem = problem
        self.status = status


class RequestRefusedError(ServiceError):
    """The service refused what was sent (a status from 400 to 499)."""

    exit_code: ClassVar[int] = 2


class ServiceUnreachableError(SecateurError):
    """No answer, or one that is not of this service."""

    default_code: ClassVar[str] = "service-unreachable"


class DownloadError(SecateurError):
    """The downloaded bytes do not have the published SHA-256."""

    default_code: ClassVar[str] = "checksum-mismatch"


class Connection:
    """HTTP to one service.

    Args:
        url: Base address.
        key: API key, or None.
        timeout: Seconds without a byte before a request is given up.
        attempts: How often a request is tried when the service is busy or not reachable.
        transport: Replaces the network, for tests.
        sleep: Replaces ``time.sleep``, for tests.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout: float,
        attempts: int,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            self._http = httpx.Client(
                base_url=url, headers=headers, timeout=timeout, transport=transport, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:
            message = f"'{url}' is not an address; use something like http://127.0.0.1:8080"
            raise ServiceUnreachableError(message) from error
        self._attempts = attempts
        self._sleep = sleep

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> httpx.Response:
        """Send a request, again if that may help; every request of this API may be repeated.

        Args:
            method: HTTP method.
            path: Path below the base address.
            headers: Further headers.
            arguments: Further arguments of httpx; bytes rather than open files.

        Raises:
            ServiceError: The service answered with a problem.
            ServiceUnreachableError: It did not answer.
        """
        failures = 0
        while True:
            try:
                response = self._http.request(method, path, headers=headers, **arguments)
            except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
                failures += 1
                self.give_up_or_pause(failures, error)
                continue
            failures += 1
            if response.status_code not in _RETRY_STATUSES or failures >= self._attempts:
                _raise_for_problem(response)
                return response
            self._sleep(_delay(failures, response.headers.get("retry-after")))

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """One attempt at a streamed GET; the caller knows how to continue a broken one.

        Raises:
            ServiceError: The service answered with a problem.
            httpx.TransportError: The connection broke.
        """
        with self._http.stream("GET", path, headers=headers) as response:
            if response.status_code >= 400:
                response.read()
                _raise_for_problem(response)
            yield response

    def give_up_or_pause(self, failures: int, error: httpx.TransportError) -> None:
        """Wait before the next attempt.

        Raises:
            ServiceUnreachableError: There have been enough.
        """
        if failures >= self._attempts:
            message = (
                f"{self._http.base_url} does not answer ({type(error).__name__}); "
                "is the service running? Set --url or SECATEUR_URL"
            )
            raise ServiceUnreachableError(message) from error
        self._sleep(_delay(failures, None))


def _raise_for_problem(response: httpx.Response) -> None:
    if response.status_code < 300:
        return
    try:
        problem = ProblemDocument.model_validate_json(response.content)
    except ValidationError as error:
        message = f"{response.url} answered with status {response.status_code}; is it Secateur?"
        raise ServiceUnreachableError(message) from error
    refused = response.status_code < 500
    raise (RequestRefusedError if refused else ServiceError)(problem, response.status_code)


def _delay(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait: what the service says, else doubling from 0.5 with jitter."""
    if retry_after is not None and retry_after.isdecimal():
        return min(float(retry_after), _MAX_DELAY_SECONDS)
    backoff: float = 0.5 * 2 ** (attempt - 1)
    return min(backoff, _MAX_DELAY_SECONDS) * random.uniform(0.5, 1.0)  # jitter
