"""The commands that run the service's processes; what they start is replaced here."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from graph_analysis.errors import InputError
from service import supervisor, worker
from service.commands import serve
from service.database import create_database
from service.errors import RequestError
from service.key_store import KeyStore
from service.settings import Settings

KEY = re.compile(r"sct_[a-z0-9]{8}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[typer.Typer]:
    for name in [name for name in os.environ if name.startswith("SECATEUR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SECATEUR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("service.logs.configure_logs", lambda **_: None)
    app = typer.Typer()
    serve.register(app)
    return app


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the children of every supervisor that was run."""
    started: list[list[str]] = []

    class FakeSupervisor:
        def __init__(self, children: list[supervisor.Child]) -> None:
            self.children = children

        def run(self) -> int:
            started.append([child.name for child in self.children])
            return 0

    monkeypatch.setattr(supervisor, "Supervisor", FakeSupervisor)
    return started


def test_the_first_start_prints_a_key_the_second_does_not(
    app: typer.Typer, started: list[list[str]], tmp_path: Path
) -> None:
    options = ["serve", "--port", "0", "--workers", "2"]
    first = CliRunner().invoke(app, options, catch_exceptions=False)
    second = CliRunner().invoke(app, options, catch_exceptions=False)
    key = KEY.search(first.stdout)
    assert key is not None
    assert KEY.search(second.stdout) is None
    assert re.search(r"listening on http://127\.0\.0\.1:\d+", second.stdout)
    assert [first.exit_code, second.exit_code] == [0, 0]
    names = started[0]
    assert (len(names), names[0]) == (3, "api")
    assert names[2] == f"{names[1]}-1"
    database = create_database(Settings(data_dir=tmp_path / "data").database_url)
    assert KeyStore(database).authenticate(key.group()) is not None
    database.dispose()


def test_the_api_alone(app: typer.Typer, started: list[list[str]], tmp_path: Path) -> None:
    other = tmp_path / "other"
    options = ["serve", "--port", "0", "--workers", "0", "--data-dir", str(other)]
    assert CliRunner().invoke(app, options, catch_exceptions=False).exit_code == 0
    assert started == [["api"]]
    assert (other / "secateur.db").exists()


def test_a_public_address_without_a_key_is_refused(
    app: typer.Typer, started: list[list[str]]
) -> None:
    with pytest.raises(RequestError, match="no key yet"):
        CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"], catch_exceptions=False)
    assert started == []


def test_bad_settings_are_named(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_LEASE", "soon")
    with pytest.raises(InputError, match="SECATEUR_LEASE"):
        CliRunner().invoke(app, ["migrate"], catch_exceptions=False)


def test_a_worker_migrates_and_works(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(worker, "run_worker", lambda settings, _environment: seen.append(settings))
    result = CliRunner().invoke(app, ["worker", "--id", "gpu-7"], catch_exceptions=False)
    assert result.exit_code == 0
    assert [settings.worker_id for settings in seen] == ["gpu-7"]
    assert (tmp_path / "data" / "secateur.db").exists()


def test_migrate_twice(app: typer.Typer) -> None:
    for _ in range(2):
        assert CliRunner().invoke(app, ["migrate"], catch_exceptions=False).exit_code == 0
