"""The web process puts the real parts together and serves on a socket it was given."""

import os
import socket
from pathlib import Path

import pytest
import uvicorn

from service import api_process
from service.http_protocol import DeadlineProtocol
from service.migrations import migrate
from service.settings import Settings


def test_the_server_is_built_from_the_settings(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    migrate(settings)
    config = api_process.build_server(settings).config
    assert config.http is DeadlineProtocol
    assert not config.proxy_headers
    assert not config.access_log


def test_it_serves_on_the_inherited_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[str, int]] = []

    def run(_server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        served.append(sockets[0].getsockname())

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(api_process, "die_with_parent", lambda *_: None)
    monkeypatch.setattr(api_process, "configure_logs", lambda **_: None)
    settings = Settings(data_dir=tmp_path)
    migrate(settings)
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
        inherited = os.dup(listener.fileno())
        assert api_process.main(["--socket", str(inherited), "--parent", "1"]) == 0
    assert served == [address]
