"""The client's commands against the real API."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from graph_analysis.errors import InputError, SecateurError
from service.commands.client_commands import parse_settings, register
from tests.unit.service.api import COMPRESSED, DATASET, MODEL, Api, running_api
from tests.unit.service.live_server import serving_live

Run = Callable[..., int]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api"), serve=serving_live) as api:
        yield api


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SECATEUR_URL", api.anonymous.url)
    monkeypatch.setenv("SECATEUR_KEY", api.key)
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    register(app)

    def call(*arguments: str) -> int:
        result = app(args=list(arguments), standalone_mode=False)
        return result if isinstance(result, int) else 0

    return call


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "net.onnx"
    path.write_bytes(MODEL)
    return str(path)


def test_submitting_passes_every_setting_on(
    run: Run, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--target-macs", "0.5", "--epochs=3", "--metadata", "team=vision", "--json"]
    assert run("submit", model, "--data", DATASET, *options) == 0
    job = json.loads(capsys.readouterr().out)
    assert (job["status"], job["target"]["macs"], job["recipe"]["epochs"]) == ("queued", 0.5, 3)
    assert job["metadata"] == {"team": "vision"}


def test_the_service_s_refusals_are_errors_of_the_command(run: Run, model: str) -> None:
    with pytest.raises(SecateurError, match="did you mean 'epochs'") as caught:
        run("submit", model, "--data", DATASET, "--target-macs", "0.5", "--epoch", "3")
    assert caught.value.exit_code == 2


def test_jobs_show_and_cancel(api: Api, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = api.submit()
    assert run("jobs", "--limit", "1", "--status", "queued") == 0
    output = capsys.readouterr().out
    assert job_id in output
    assert "macs 50%" in output
    assert run("jobs", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"][0]["id"] == job_id
    assert run("show", job_id) == 0
    assert "net.onnx" in capsys.readouterr().out
    assert run("cancel", job_id) == 0
    assert "cancelled" in capsys.readouterr().out


def test_long_lists_say_how_to_go_on(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = api.submit(), api.submit()
    run("jobs", "--limit", "1")
    output = capsys.readouterr().out
    assert f"more: secateur jobs --after {second}" in output
    run("jobs", "--limit", "1", "--after", second)
    assert first in capsys.readouterr().out


def test_watching_ends_with_the_job_s_exit_code(
    api: Api, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    succeeded, failed, unproved = api.submit(), api.submit(), api.submit()
    api.succeed(succeeded)
    api.fail(failed, "dataset-labels", "row 3")
    api.fail(unproved, "verification-failed", "differs")
    assert run("watch", succeeded) == 0
    captured = capsys.readouterr()
    assert "macs 40.0%, removed 3 channel" in captured.out
    assert "succeeded" in captured.err
    assert run("watch", failed, "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "dataset-labels"
    assert run("watch", unproved) == 4


def test_downloading(
    api: Api, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    job_id = api.submit()
    api.succeed(job_id, formats=["int8-weights"])
    monkeypatch.chdir(tmp_path)
    assert run("download", job_id, "-o", "small.onnx") == 0
    assert "10,000 bytes" in capsys.readouterr().out
    assert (tmp_path / "small.onnx").read_bytes() == COMPRESSED
    assert run("download", job_id, "--what", "report", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert Path(answer["path"]).read_text() == '{"name": "report"}'
    assert answer["path"] == f"{job_id}-report.json"
    assert run("download", job_id, "--what", "int8-weights", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == f"{job_id}.int8-weights.onnx"
    assert Path(answer["path"]).read_text() == '{"name": "int8-weights"}'
    assert run("download", job_id) == 0
    assert (tmp_path / f"{job_id}-model.onnx").read_bytes() == COMPRESSED


@pytest.mark.parametrize("arguments", [["0.5"], ["--target-macs"], ["-x", "1"]])
def test_settings_are_options_with_values(arguments: list[str]) -> None:
    with pytest.raises(InputError, match="--name value"):
        parse_settings(arguments)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--early-stop"], {"early_stop": "true"}),
        (["--early-stop", "--epochs", "3"], {"early_stop": "true", "epochs": "3"}),
        (["--early-stop", "false", "--lr=1"], {"early_stop": "false", "lr": "1"}),
        (["--early-stop=on"], {"early_stop": "on"}),
        (["--ignore-index", "-1"], {"ignore_index": "-1"}),
    ],
)
def test_a_flag_needs_no_value(arguments: list[str], settings: dict[str, str]) -> None:
    assert parse_settings(arguments) == settings


def test_metadata_has_names(run: Run, model: str) -> None:
    with pytest.raises(InputError, match="NAME=TEXT"):
        run("submit", model, "--data", DATASET, "--metadata", "vision")
