"""A limit on every request body, declared or not, except where a route counts for itself."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT_BYTES = 1_000_000


class BodyLimit:
    """ASGI wrapper that ends a request with status 413 once its body is too large.

    Starlette's own limiter answers in plain text when the length is declared; this one raises into
    the application, whose handlers make a problem document of it.

    Args:
        app: The application.
        limit: Most bytes of a body.
        exempt: (method, path) pairs of the routes that apply a limit of their own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: int = BODY_LIMIT_BYTES,
        exempt: Collection[tuple[str, str]] = (),
    ) -> None:
        self._app = app
        self._limit = limit
        self._exempt = frozenset(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is not HTTP, or exempt; count the rest."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) in self._exempt:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        too_long = declared.isdecimal() and int(declared) > self._limit
        received = 0

        async def counted() -> Message:
            nonlocal received
            if too_long:
                raise HTTPException(413)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)
