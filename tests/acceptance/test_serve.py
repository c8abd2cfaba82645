"""The whole service as its user starts it, with a fast fake instead of the training."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.worker_host import wait
from tests.unit.service.worker_parts import quick_settings, write_dataset

MODEL = Path(__file__).parents[2] / "service" / "demo" / "digits_net.onnx"
COMMAND = "import sys; from service.cli import main; sys.exit(main())"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running service."""

    process: "subprocess.Popen[str]"
    client: httpx.Client
    folder: Path

    def is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def submit(self, **fields: str) -> str:
        """Send the demo's model with the tiny data set; the job's id."""
        data = {"dataset": (self.folder / "sets" / "set.npz").as_uri(), "target_macs": "0.5"}
        files = {"model": ("net.onnx", MODEL.read_bytes())}
        answer = self.client.post("/v1/jobs", files=files, data={**data, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/jobs/{job_id}").json())

    def step(self, job_id: str) -> int:
        progress = self.job(job_id)["progress"]
        return int(progress["step"]) if progress else 0

    def child(self, module: str) -> int:
        """Process id of the service's child that runs ``module``."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in path.read_text().split():
            if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        message = f"no child runs {module}"
        raise AssertionError(message)


@contextmanager
def serving(folder: Path, **changes: object) -> Iterator[Served]:
    """Start ``secateur serve`` on a free port; SIGTERM in the end, which must give exit code 0."""
    write_dataset(folder)
    environment = {**os.environ, **quick_settings(folder, **changes).to_environment()}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "serve", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        key = re.search(r"sct_\S+", process.stdout.readline())
        url = re.search(r"http://\S+", process.stdout.readline())
        assert key is not None
        assert url is not None
        headers = {"Authorization": f"Bearer {key.group()}"}
        with httpx.Client(
            base_url=url.group(), headers=headers, trust_env=False, timeout=60
        ) as client:
            served = Served(process=process, client=client, folder=folder)
            wait(served.is_ready)
            yield served
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as served:
        yield served


def test_a_job_survives_its_worker_and_the_api(served: Served) -> None:
    job_id = served.submit(epochs="60")
    wait(lambda: served.step(job_id) >= 5)
    os.kill(served.child("service.worker_process"), signal.SIGKILL)
    os.kill(served.child("service.api_process"), signal.SIGKILL)
    wait(served.is_ready)
    wait(lambda: served.job(job_id)["status"] in ("succeeded", "failed"))
    job = served.job(job_id)
    assert job["status"] == "succeeded", job["error"]
    assert job["attempt"] == 2
    assert job["resumed_from_step"] >= 4
    model = served.client.get(f"/v1/jobs/{job_id}/model")
    assert model.status_code == 200
    events = served.client.get(f"/v1/jobs/{job_id}/events?limit=1000").json()["data"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_a_job_is_cancelled_over_http(served: Served) -> None:
    job_id = served.submit(epochs="10000")
    wait(lambda: served.step(job_id) >= 2)
    assert served.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    wait(lambda: served.job(job_id)["status"] == "cancelled")
    again = served.client.post(f"/v1/jobs/{job_id}/cancel")
    assert again.status_code == 200
