"""``secateur bench``: what is compared, never how fast this machine is."""

import json
from pathlib import Path

import pytest

from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.testing import HARD_CASES
from service.cli import main


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    paths = []
    for name in ("residual_add", "concat"):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(HARD_CASES[name]().SerializeToString())
        paths.append(str(path))
    return paths


QUICK = ["--rounds", "2", "--warm-up", "0"]


def test_every_model_gets_a_row(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *models, *QUICK, "--batch", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["file"] for row in rows] == models
    summary = analyze(load_model(Path(models[0]))).space.model
    assert (rows[0]["macs"], rows[0]["parameters"]) == (summary.macs, summary.parameters)
    assert rows[0]["bytes"] == Path(models[0]).stat().st_size
    assert all(row["p50_ms"] > 0 and row["batch"] == 2 for row in rows)


def test_people_get_a_table_with_shares(
    models: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["bench", *models, *QUICK]) == 0
    text = capsys.readouterr().out
    assert "residual_add.onnx" in text
    assert "p95 ms" in text
    assert text.count("(") >= 5


def test_one_file_twice_is_refused(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", models[0], models[0], *QUICK]) == 2
    assert "named twice" in capsys.readouterr().err


def test_what_the_runtime_cannot_run_is_one_line(
    models: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        message = "no\nkernel"
        raise RuntimeError(message)

    monkeypatch.setattr("exporters.measure.latencies", fail)
    assert main(["bench", *models, *QUICK]) == 2
    assert capsys.readouterr().err == "error: ONNX Runtime does not run these models: no kernel\n"
