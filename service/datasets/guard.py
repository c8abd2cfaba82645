"""The guard on outgoing connections: it acts when they are made, so nothing gets around it.

A name is resolved once, all its addresses are judged, and the connection goes to exactly one of the
judged addresses. A host that answers differently the second time (rebinding), a redirect, and an
odd spelling therefore need no rules of their own. Every read also obeys the total deadline, which a
host that drips one byte at a time would otherwise outlive. Local sockets are not supported at all.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

import httpcore

from service.datasets.policy import NetworkPolicy
from service.datasets.uris import forbidden
from service.errors import DatasetError


class Deadline:
    """A point in time that everything has to be finished by.

    Args:
        seconds: From now.
        clock: Monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._end - self._clock()

    def bound(self, timeout: float | None) -> float:
        """The smaller of ``timeout`` and what is left.

        Raises:
            DatasetError: ``dataset-timeout``: nothing is left.
        """
        remaining = self.remaining
        if remaining <= 0:
            raise timed_out()
        return remaining if timeout is None else min(timeout, remaining)


def timed_out() -> DatasetError:
    """The error for a transfer that did not finish in time."""
    message = "the data set did not arrive in time; put it on a faster host"
    return DatasetError(message, code="dataset-timeout", param="dataset")


class _GuardedStream(httpcore.NetworkStream):
    """A connection whose every operation ends at the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.bound(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.bound(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.bound(timeout))
        return _GuardedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Makes the connections of an httpcore pool, to permitted addresses only.

    Args:
        network: Ports, addresses and the resolver.
        deadline: When everything has to be finished.
    """

    def __init__(self, network: NetworkPolicy, deadline: Deadline) -> None:
        self._network = network
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers, if all of them are permitted.

        Raises:
            DatasetError: ``dataset-uri-forbidden`` or ``dataset-timeout``.
            httpcore.ConnectError: Unknown name, or no address answers.
        """
        addresses = self._addresses(host, port)
        for index, address in enumerate(addresses):
            try:
                stream = self._inner.connect_tcp(
                    address, port, self._deadline.bound(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if index == len(addresses) - 1:
                    raise
            else:
                return _GuardedStream(stream, self._deadline)
        message = "the name has no address"
        raise httpcore.ConnectError(message)

    def _addresses(self, host: str, port: int) -> list[str]:
        if port not in self._network.ports:
            raise forbidden()
        try:
            found = list(self._network.resolve(host, port))
        except (OSError, UnicodeError) as error:
            message = "the name is unknown"
            raise httpcore.ConnectError(message) from error
        if not all(self._permits(address) for address in found):
            raise forbidden()
        return found

    def _permits(self, address: str) -> bool:
        try:
            return self._network.permits(ip_address(address))
        except ValueError:
            return False
