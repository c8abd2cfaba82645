"""A service of the demo's own: ``secateur serve`` on a free loopback port, stopped at the end.

Only starting, waiting and stopping belong here; what is done with the service is for ``run``.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from graph_analysis.errors import SecateurError

READY_SECONDS, STOP_SECONDS = 60.0, 30.0
_KEY = re.compile(r"sct_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}")
_LOG_LINES = 20  # shown when something went wrong


class LocalServiceError(SecateurError):
    """The demo's service did not come up, or did not go down; the end of its log is in the text."""


@dataclass(frozen=True, kw_only=True)
class LocalService:
    """A running service: its address, and the API key it printed when it started."""

    url: str
    key: str


@contextmanager
def local_service(
    datasets: Path, *, command: Sequence[str] | None = None
) -> Iterator[LocalService]:
    """Run a service that may read data sets below ``datasets``, as long as the block lasts.

    Its data folder is temporary and goes with it.

    Args:
        datasets: Folder, handed on as ``SECATEUR_DATASET_ROOTS``.
        command: What to start; ``secateur serve`` of this environment by default.

    Raises:
        LocalServiceError: It is not ready in time, or does not end when it is asked to.
    """
    with tempfile.TemporaryDirectory(prefix="secateur-demo-") as folder:
        log = Path(folder) / "service.log"
        port = _free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command or [str(Path(sys.executable).with_name("secateur")), "serve"],
                env=_environment(Path(folder), datasets, port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the service
            )
        try:
            yield _wait_until_ready(process, f"http://127.0.0.1:{port}", log)
        finally:
            _stop(process, log)


def _environment(folder: Path, datasets: Path, port: int) -> Mapping[str, str]:
    """The caller's environment with the settings of a service that is alone in the world."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SECATEUR_")}
    return inherited | {
        "SECATEUR_DATA_DIR": str(folder / "data"),
        "SECATEUR_DATASET_ROOTS": str(datasets.resolve()),
        "SECATEUR_HOST": "127.0.0.1",
        "SECATEUR_PORT": str(port),
        "PYTHONUNBUFFERED": "1",  # the key is read from the log while the service runs
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> LocalService:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            message = f"secateur serve ended with {process.returncode}:\n{_tail(log)}"
            raise LocalServiceError(message)
        key = _KEY.search(log.read_text(errors="replace"))
        if key and _is_ready(url):
            return LocalService(url=url, key=key.group())
        time.sleep(0.2)
    message = f"secateur serve is not ready after {READY_SECONDS:g} s:\n{_tail(log)}"
    raise LocalServiceError(message)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """SIGTERM, and only if that does not help the hard way."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        message = f"secateur serve did not end {STOP_SECONDS:g} s after SIGTERM:\n{_tail(log)}"
        raise LocalServiceError(message) from error
    if code not in (0, -signal.SIGTERM):
        message = f"secateur serve ended with {code} after SIGTERM:\n{_tail(log)}"
        raise LocalServiceError(message)


def _tail(log: Path) -> str:
    text = _KEY.sub("sct_...", log.read_text(errors="replace"))
    return "\n".join(text.splitlines()[-_LOG_LINES:])
