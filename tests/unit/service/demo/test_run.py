"""The demo as a whole, against a stand-in of the API: what it sends, keeps and says."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from service.demo import MODEL_PATH, run
from service.demo.local_service import LocalService, LocalServiceError
from service.demo.outcome import Figures, Outcome
from service.schemas import Event

SERVICE = LocalService(url="http://127.0.0.1:1", key="sct_key")
SMALL = b"a smaller model"


class FakeJobs:
    def __init__(self, status: str, sha256: str) -> None:
        self.status, self.sha256 = status, sha256
        self.created: dict[str, Any] = {}

    def create(self, model: Path, *, dataset: str, settings: Mapping[str, object]) -> Any:
        self.created = {"model": model.read_bytes(), "dataset": dataset, "settings": settings}
        return SimpleNamespace(id="job_1")

    def stream_events(self, job_id: str) -> Iterator[Event]:
        yield Event(seq=1, kind="event", at=datetime.now(UTC), data={"message": "searching"})

    def wait(self, job_id: str, *, timeout: float) -> Any:
        error = SimpleNamespace(detail="out of luck") if self.status == "failed" else None
        return SimpleNamespace(id=job_id, status=self.status, error=error)

    def download(self, job_id: str, target: Path, *, name: str = "model") -> str:
        report = json.dumps({"model": {"after": {"sha256": self.sha256}}}).encode()
        content = SMALL if name == "model" else report
        target.write_bytes(content)
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run.prepare(tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> FakeJobs:
    fake = FakeJobs("succeeded", hashlib.sha256(SMALL).hexdigest())

    @contextmanager
    def client(url: str, key: str) -> Iterator[Any]:
        assert (url, key) == (SERVICE.url, SERVICE.key)
        yield SimpleNamespace(jobs=fake)

    monkeypatch.setattr(run, "Client", client)
    return fake


@pytest.fixture
def console() -> Console:
    return Console(width=120, record=True)


def test_it_uploads_the_network_with_the_address_of_the_data(
    folder: Path, jobs: FakeJobs, console: Console
) -> None:
    report = run.compress(SERVICE, folder, console)
    assert jobs.created["model"] == MODEL_PATH.read_bytes()
    assert jobs.created["dataset"] == (folder / "digits.npz").resolve().as_uri()
    given = {"target_macs": 0.4, "multiple": 8, "seed": 0, "comparison": "relative"}
    assert jobs.created["settings"] == given
    assert (folder / "compressed.onnx").read_bytes() == SMALL
    assert json.loads((folder / "report.json").read_text()) == report
    text = console.export_text()
    assert "searching" in text
    assert hashlib.sha256(SMALL).hexdigest() in text.replace("\n", "")


def test_a_report_about_another_file_is_refused(
    folder: Path, jobs: FakeJobs, console: Console
) -> None:
    jobs.sha256 = "0" * 64
    with pytest.raises(run.JobDidNotSucceedError, match="the report is about a model 000000000000"):
        run.compress(SERVICE, folder, console)


@pytest.mark.parametrize(
    ("status", "message"),
    [("failed", "ended as failed: out of luck"), ("cancelled", "cancelled: no reason given")],
)
def test_a_job_that_did_not_succeed_is_reported(
    folder: Path, jobs: FakeJobs, console: Console, status: str, message: str
) -> None:
    jobs.status = status
    with pytest.raises(run.JobDidNotSucceedError, match=message):
        run.compress(SERVICE, folder, console)
    assert not (folder / "compressed.onnx").exists()


def test_files_of_an_earlier_run_are_not_mistaken_for_this_one(folder: Path) -> None:
    for name in ("compressed.onnx", "report.json", "report.html", "result.json"):
        (folder / name).write_text("old")
    run.prepare(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["digits.npz", "original.onnx"]


def outcome(*, operators: int) -> Outcome:
    before = Figures(accuracy=0.99, macs=1000, parameters=500, bytes=4000)
    after = Figures(accuracy=0.985, macs=390, parameters=200, bytes=1800)
    return Outcome(
        before=before,
        after=after,
        removed={"operator": operators, "channel": 40},
        proof_difference=1e-7,
        proof_passed=True,
        latency_ms={1: (0.2, 0.1)},
    )


@contextmanager
def fake_service(folder: Path) -> Iterator[LocalService]:
    yield SERVICE


def prepared_main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, operators: int) -> int:
    monkeypatch.setattr(run, "OUTPUT", tmp_path / "out")
    monkeypatch.setattr(run, "local_service", fake_service)
    monkeypatch.setattr(run, "assess", lambda *_: outcome(operators=operators))
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    return run.main()


def test_main_prints_the_table_and_leaves_it_as_json(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    jobs: FakeJobs,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert prepared_main(monkeypatch, tmp_path, operators=1) == 0
    assert "before and after" in capsys.readouterr().out
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        "original.onnx",
        "compressed.onnx",
        "digits.npz",
        "report.json",
        "report.html",
        "result.json",
    }
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result == outcome(operators=1).to_dict()


def test_main_fails_with_a_line_when_a_target_is_missed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    jobs: FakeJobs,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert prepared_main(monkeypatch, tmp_path, operators=0) == 1
    assert "target missed: no operator structure was removed" in capsys.readouterr().err


def failing(error: BaseException) -> Any:
    @contextmanager
    def service(folder: Path) -> Iterator[LocalService]:
        raise error
        yield SERVICE

    return service


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (LocalServiceError("secateur serve ended with 3"), 1, "demo: secateur serve ended with 3"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_main_says_in_a_line_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(run, "OUTPUT", tmp_path / "out")
    monkeypatch.setattr(run, "local_service", failing(error))
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    assert run.main() == code
    assert message in capsys.readouterr().err
