"""A synchronous HTTP client of an ASGI application in this process, lifespan included.

Answers are collected whole; what has to be read while it is being sent needs a real server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette

BASE = "http://127.0.0.1"


class AppClient:
    """Requests to an application, with default headers; see :func:`serving`."""

    def __init__(
        self, portal: BlockingPortal, client: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        self._portal = portal
        self._client = client
        self._headers = headers

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {**self._headers, **(arguments.pop("headers", None) or {})}
        call = partial(self._client.request, method, path, headers=headers, **arguments)
        return self._portal.call(call)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)

    def delete(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("DELETE", path, **arguments)

    def with_key(self, key: str | None) -> "AppClient":
        """The same application as another tenant."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return AppClient(self._portal, self._client, headers)


@contextmanager
def serving(app: Starlette) -> Iterator[AppClient]:
    """Start the application, hand out a client, and stop it in the end."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        portal.wrap_async_context_manager(
            httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30)
        ) as client,
    ):
        yield AppClient(portal, client, {})
