"""The application behind a real server on a loopback port, for what needs sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from service.http_protocol import DeadlineProtocol


class LiveClient:
    """Requests to a server, with default headers; the interface of ``AppClient``."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url = url
        self._headers = headers

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {**self._headers, **(arguments.pop("headers", None) or {})}
        url = self.url + path
        return httpx.request(method, url, headers=headers, timeout=30, trust_env=False, **arguments)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)

    def delete(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("DELETE", path, **arguments)

    def with_key(self, key: str | None) -> "LiveClient":
        """The same server as another tenant."""
        return LiveClient(self.url, {} if key is None else {"Authorization": f"Bearer {key}"})


@contextmanager
def serving_live(
    app: FastAPI, protocol: type[DeadlineProtocol] = DeadlineProtocol
) -> Iterator[LiveClient]:
    """Serve ``app`` in a thread, and stop the server in the end."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=protocol, loop="asyncio", ws="none", log_config=None, lifespan="on",
            timeout_graceful_shutdown=10,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            end = time.monotonic() + 20
            while not server.started and time.monotonic() < end:
                time.sleep(0.01)
            assert server.started
            yield LiveClient(f"http://127.0.0.1:{listener.getsockname()[1]}", {})
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive()
