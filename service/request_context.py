"""The outermost layer of every request: its id, safe headers, and no answer in plain text.

Some parts of the framework answer errors with ``text/plain`` (a bad Range, a bad Host); here such
an answer becomes a problem document, so that clients meet one kind of error only.
"""

import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import MEDIA_TYPE, code_of_status, problem, response_of

_URI_LIMIT = 8192  # bytes of path and query
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'",
}


def new_request_id() -> str:
    """128 random bits; never taken from the client, whose ids would end up in our logs."""
    return f"req_{secrets.token_hex(16)}"


class RequestContext:
    """ASGI wrapper; see the module."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(Request(scope, receive), send, request_id)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _URI_LIMIT:
            await answer.replace(414)
            return
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            # Two lengths: a proxy in front may believe the other one. Nothing after it is read.
            await answer.replace(400, MutableHeaders({"connection": "close"}))
            return
        await self._app(scope, receive, answer.send)


class _Answer:
    """What goes back to the client, message by message."""

    def __init__(self, request: Request, send: Send, request_id: str) -> None:
        self._request = request
        self._send = send
        self._request_id = request_id
        self._replaced = False

    async def send(self, message: Message) -> None:
        if self._replaced:
            return  # the body of an answer that was replaced
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            plain = headers.get("content-type", "").startswith("text/plain")
            if message["status"] >= 400 and plain:
                await self.replace(message["status"], headers)
                return
            self._complete(headers)
        await self._send(message)

    async def replace(self, status: int, headers: MutableHeaders | None = None) -> None:
        """Send a problem document instead."""
        self._replaced = True
        kept = (
            {}
            if headers is None
            else {
                name: headers[name]
                for name in ("content-range", "allow", "connection")
                if name in headers
            }
        )
        document = problem(code_of_status(status), request_id=self._request_id)
        response = response_of(document, status=status, headers=kept)
        self._complete(response.headers)
        assert response.media_type == MEDIA_TYPE
        await response(self._request.scope, self._request.receive, self._send)

    def _complete(self, headers: MutableHeaders) -> None:
        headers["X-Request-Id"] = self._request_id
        for name, value in _SAFE_HEADERS.items():
            headers.setdefault(name, value)
