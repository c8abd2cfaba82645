"""Real jobs over HTTP: searched, trained, cut and proved by the service as its user starts it."""

import hashlib
import io
import os
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.acceptance.test_serve import MODEL, Served, serving
from tests.acceptance.test_worker_faults import stages_of
from tests.acceptance.worker_host import wait
from tests.unit.service.compression.runs import some_digits

CANCEL_SECONDS = 10  # killing the stage and recording the end included
SETTINGS = {"target_macs": "0.25", "epochs": "40", "batch_size": "32"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, compression="service.compression", checkpoint_interval=0.2) as served:
        yield served


def submit(served: Served, model: bytes, arrays: dict[str, np.ndarray], **fields: str) -> str:
    path = served.folder / "sets" / "digits.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    answer = served.client.post(
        "/v1/jobs",
        files={"model": ("net.onnx", model)},
        data={"dataset": path.as_uri(), **SETTINGS, **fields},
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(served: Served, job_id: str) -> dict[str, Any]:
    wait(lambda: served.job(job_id)["status"] in ("succeeded", "failed", "cancelled"))
    return served.job(job_id)


def run_folders(served: Served) -> list[Path]:
    jobs = served.folder / "data" / "jobs"
    return sorted(jobs.iterdir()) if jobs.exists() else []


def test_a_worker_killed_in_training_changes_nothing(served: Served) -> None:
    reference = submit(served, MODEL.read_bytes(), some_digits())
    assert ended(served, reference)["status"] == "succeeded"
    job_id = submit(served, MODEL.read_bytes(), some_digits())
    wait(lambda: served.step(job_id) >= 20 and served.job(job_id)["status"] == "running")
    os.kill(served.child("service.worker_process"), signal.SIGKILL)
    job = ended(served, job_id)
    assert job["status"] == "succeeded", job["error"]
    assert job["attempt"] == 2
    assert job["resumed_from_step"] > 0
    files = [served.client.get(f"/v1/jobs/{each}/model") for each in (reference, job_id)]
    assert files[0].content == files[1].content
    report = served.client.get(f"/v1/jobs/{job_id}/report").json()
    page = served.client.get(job["links"]["page"])
    assert page.headers["content-type"].startswith("text/html")
    assert report["hashes"]["compressed model"] in page.text
    assert report["model"]["after"]["sha256"] == hashlib.sha256(files[1].content).hexdigest()
    assert report["ratios"]["macs"] <= 0.25
    assert job["result"]["ratios"]["macs"] == report["ratios"]["macs"]
    assert report["proof"]["passed"]
    session = onnxruntime.InferenceSession(files[1].content)
    (scores,) = session.run(None, {"image": some_digits()["x_test"]})
    right = float(np.mean(scores.argmax(axis=1) == some_digits()["y_test"]))
    assert right == report["model"]["after"]["accuracy"] > 0.9
    wait(lambda: run_folders(served) == [])


def test_further_formats_are_downloaded_beside_the_model(served: Served) -> None:
    fields = {"epochs": "4", "target_macs": "0.4", "exports": "int8,bundle"}
    job_id = submit(served, MODEL.read_bytes(), some_digits(), **fields)
    job = ended(served, job_id)
    assert job["status"] == "succeeded", job["error"]
    assert job["recipe"]["exports"] == ["int8", "bundle"]
    paths = ("model", "report", "exports/int8", "exports/bundle")
    model, report, small, bundle = (served.client.get(f"/v1/jobs/{job_id}/{p}") for p in paths)
    (entry,) = report.json()["exports"]
    assert entry["bytes"] == {"before": len(model.content), "after": len(small.content)}
    session = onnxruntime.InferenceSession(small.content)
    (scores,) = session.run(None, {"image": some_digits()["x_test"]})
    right = float(np.mean(scores.argmax(axis=1) == some_digits()["y_test"]))
    assert right == pytest.approx(entry["quality"]["after"])
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        assert archive.read("compressed/1/model.onnx") == model.content
    assert served.client.get(f"/v1/jobs/{job_id}/exports/ort").status_code == 404


@pytest.mark.parametrize(
    ("fields", "arrays", "code"),
    [
        ({}, {"x_train": np.zeros((320, 1, 9, 9), np.float32)}, "dataset-shape-mismatch"),
        ({}, {"y_train": np.full(320, 10)}, "dataset-labels"),
        ({"target_macs": "0.001"}, {}, "target-unreachable"),
        ({"epochs": "1", "lr": "1", "max_accuracy_drop": "0.0001"}, {}, "quality-gate-failed"),
    ],
)
def test_what_the_job_finds_out_ends_it_with_a_code(
    served: Served, fields: dict[str, str], arrays: dict[str, np.ndarray], code: str
) -> None:
    job_id = submit(served, MODEL.read_bytes(), {**some_digits(), **arrays}, **fields)
    job = ended(served, job_id)
    assert job["status"] == "failed"
    assert job["error"]["code"] == code
    assert job["error"]["detail"]
    assert job["attempt"] == 1
    answer = served.client.get(f"/v1/jobs/{job_id}/model")
    assert answer.status_code == 409
    wait(lambda: run_folders(served) == [])


def unknown_operator() -> bytes:
    model = onnx.load(MODEL)
    model.graph.node[3].op_type = "FancyConv"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (MODEL.read_bytes()[:400_000], "model-truncated"),
        (b"this is no model, whatever its name says\n" * 9, "model-not-onnx"),
        (unknown_operator(), "model-unsupported-op"),
        (b"", "model-empty"),
    ],
)
def test_a_bad_model_is_refused_at_once(served: Served, model: bytes, code: str) -> None:
    before = len(served.client.get("/v1/jobs").json()["data"])
    answer = served.client.post(
        "/v1/jobs",
        files={"model": ("net.onnx", model)},
        data={"dataset": (served.folder / "sets" / "set.npz").as_uri(), "target_macs": "0.5"},
    )
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert len(served.client.get("/v1/jobs").json()["data"]) == before


def test_a_real_training_is_cancelled(served: Served) -> None:
    job_id = submit(served, MODEL.read_bytes(), some_digits(), epochs="5000")
    wait(lambda: served.step(job_id) >= 10)
    began = time.monotonic()
    assert served.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    assert ended(served, job_id)["status"] == "cancelled"
    assert time.monotonic() - began < CANCEL_SECONDS
    assert stages_of(job_id) == []
    wait(lambda: run_folders(served) == [])
