"""Starting and stopping the demo's service, with a stand-in that behaves well or badly."""

import sys
from pathlib import Path

import httpx
import pytest

from service.demo import local_service as module
from service.demo.local_service import LocalServiceError, local_service

KEY = "sct_abcdefgh_" + "k" * 43
SERVER = f"""
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(repr(sorted(k for k in os.environ if k.startswith("SECATEUR_"))).encode())
    def log_message(self, *a): pass
address = (os.environ["SECATEUR_HOST"], int(os.environ["SECATEUR_PORT"]))
server = http.server.HTTPServer(address, Handler)
signal.signal(signal.SIGTERM, SIGTERM_ACTION)
print("your key: {KEY}")
server.serve_forever()
"""


def stand_in(on_sigterm: str) -> list[str]:
    return [sys.executable, "-c", SERVER.replace("SIGTERM_ACTION", on_sigterm)]


def test_service_is_ready_has_a_key_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_STORE_URL", "the user's own, not for the demo")
    with local_service(tmp_path, command=stand_in("lambda *a: os._exit(0)")) as service:
        assert service.key == KEY
        settings = httpx.get(f"{service.url}/").text
    assert "SECATEUR_DATASET_ROOTS" in settings
    assert "SECATEUR_STORE_URL" not in settings
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/")


def test_its_folder_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    with local_service(tmp_path, command=stand_in("lambda *a: os._exit(0)")):
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_it_is_stopped_when_the_block_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        local_service(tmp_path, command=stand_in("lambda *a: os._exit(0)")) as service,
    ):
        raise ZeroDivisionError
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/")


def test_a_service_that_dies_is_reported_with_its_words(tmp_path: Path) -> None:
    dying = [sys.executable, "-c", f"import sys; print('no room', '{KEY}'); sys.exit(3)"]
    with (
        pytest.raises(LocalServiceError, match=r"ended with 3:\nno room sct_\.\.\.") as raised,
        local_service(tmp_path, command=dying),
    ):
        pass
    assert KEY not in str(raised.value)


def test_a_service_that_is_never_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READY_SECONDS", 0.3)
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        pytest.raises(LocalServiceError, match=r"not ready after 0\.3 s"),
        local_service(tmp_path, command=sleeping),
    ):
        pass


def test_a_service_that_does_not_stop_is_killed_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.3)
    with (
        pytest.raises(LocalServiceError, match=r"did not end 0\.3 s after SIGTERM"),
        local_service(tmp_path, command=stand_in("signal.SIG_IGN")) as service,
    ):
        pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/")


def test_a_service_that_ends_badly_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(LocalServiceError, match="ended with 5 after SIGTERM"),
        local_service(tmp_path, command=stand_in("lambda *a: os._exit(5)")),
    ):
        pass
