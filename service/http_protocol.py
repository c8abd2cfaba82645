"""Deadlines against slow clients, as a subclass of uvicorn's h11 protocol.

uvicorn has no time limit for reading a request, so a client that sends half a header, or one byte
of a body per minute, would keep its connection for ever. Here a timer runs whenever the server
waits for the client, and a lowest rate holds for bodies that go on for long.
"""

import asyncio
import json
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from service.problems import MEDIA_TYPE, problem

HEADER_SECONDS = 10.0  # from the connection, or the end of the last answer, to a whole header
STALL_SECONDS = 20.0  # longest silence inside a body
GRACE_SECONDS = 30.0  # a body may be slow for so long
LOWEST_RATE = 50_000  # bytes per second of a body, on average, after the grace
STOPPING = "stopping"  # name of the asyncio.Event in the lifespan's state


class DeadlineProtocol(H11Protocol):
    """H11Protocol that hangs up on clients which are too slow.

    1. A header must be complete ``HEADER_SECONDS`` after the connection was made or the last
       answer ended; an idle connection is closed by uvicorn's shorter keep-alive timer anyway.
    2. A body may pause for ``STALL_SECONDS`` at most.
    3. After ``GRACE_SECONDS`` a body must have come at ``LOWEST_RATE`` on average.
    4. No timer runs while the service itself works, nor while it applies back pressure.

    On shutdown it also tells open event streams to end, through the lifespan's state.
    """

    header_seconds = HEADER_SECONDS
    stall_seconds = STALL_SECONDS
    grace_seconds = GRACE_SECONDS
    lowest_rate = LOWEST_RATE

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._body_began: float | None = None
        self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first header."""
        super().connection_made(transport)
        self._arm(self.header_seconds)

    def data_received(self, data: bytes) -> None:
        """Move the deadline by what has come."""
        super().data_received(data)
        if self.transport.is_closing():
            self._disarm()
        elif self.conn.their_state is h11.SEND_BODY:
            self._on_body(len(data))
        elif self.conn.their_state is not h11.IDLE:  # the request is complete
            self._disarm()
            self._body_began = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._disarm()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start the clock of the next header."""
        self._body_began = None
        if not self.transport.is_closing():
            self._arm(self.header_seconds)
        super().on_response_complete()
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._disarm()  # a pipelined request, complete already, is being answered

    def shutdown(self) -> None:
        """Let open event streams end, then do as uvicorn does."""
        stopping = self.app_state.get(STOPPING)
        if stopping is not None:
            stopping.set()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem document, as every other error."""
        del msg  # h11's words; the same document for all causes
        body = json.dumps(problem("bad-request")).encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _on_body(self, count: int) -> None:
        now = self.loop.time()
        if self._body_began is None:
            self._body_began, self._body_bytes = now, 0
        self._body_bytes += count
        elapsed = now - self._body_began
        if elapsed > self.grace_seconds and self._body_bytes < elapsed * self.lowest_rate:
            self._hang_up()
        else:
            self._arm(self.stall_seconds)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._expired)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        if self.flow.read_paused:  # rule 4: it is the service that does not read
            self._arm(self.stall_seconds)
            return
        self._hang_up()

    def _hang_up(self) -> None:
        self._disarm()
        self.transport.abort()
