"""The variables: defaults, parsing, and all offenders at once."""

import os
from pathlib import Path

import pytest

from graph_analysis.errors import InputError
from service.settings import Settings, default_data_dir, default_worker_id


def test_defaults_follow_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path}/secateur.db"
    assert settings.store_url == (tmp_path / "store").as_uri()
    assert settings.jobs_dir == tmp_path / "jobs"
    assert settings.locks_dir == tmp_path / "locks"
    assert settings.dataset_roots == ()
    assert settings.host == "127.0.0.1"


def test_variables_are_read_and_written_back(tmp_path: Path) -> None:
    roots = os.pathsep.join(["/data/a", "/data/b"])
    settings = Settings.from_environment(
        {
            "SECATEUR_DATA_DIR": str(tmp_path),
            "SECATEUR_DATASET_ROOTS": roots,
            "SECATEUR_REQUIRE_SANDBOX": "yes",
            "SECATEUR_PORT": "0",
            "SECATEUR_LEASE": "0.5",
            "SECATEUR_WORKER_ID": "",
            "HOME": "/elsewhere",
        },
        host="::1",
        worker_id=None,
    )
    assert settings.dataset_roots == (Path("/data/a"), Path("/data/b"))
    assert settings.require_sandbox
    assert (settings.port, settings.lease, settings.host) == (0, 0.5, "::1")
    assert settings.worker_id == default_worker_id()
    assert Settings.from_environment(settings.to_environment()) == settings


def test_everything_that_cannot_be_read_is_named_at_once() -> None:
    environment = {"SECATEUR_PORT": "http", "SECATEUR_REQUIRE_SANDBOX": "perhaps"}
    with pytest.raises(
        InputError, match=r"SANDBOX.*; SECATEUR_PORT must be a whole number"
    ) as info:
        Settings.from_environment(environment)
    assert "'perhaps'" in str(info.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "postgresql://db/x"),
        ("database_url", "sqlite:///relative.db"),
        ("store_url", "s3://bucket"),
        ("worker_id", "../x"),
        ("inline_limit", 0),
        ("dataset_roots", (Path("relative"),)),
        ("port", 70000),
        ("runner", "ray"),
        ("compression", "os; rm"),
        ("max_attempts", 0),
        ("lease", 0.0),
        ("stall_timeout", float("nan")),
        ("max_runtime", float("inf")),
    ],
)
def test_illegal_values_are_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"SECATEUR_{name.upper()} must be") as info:
        Settings(data_dir=tmp_path, **{name: value})
    assert info.value.param == f"SECATEUR_{name.upper()}"


def test_illegal_values_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"SECATEUR_PORT.*; SECATEUR_LEASE"):
        Settings(data_dir=tmp_path, port=-1, lease=-1.0)


def test_the_data_folder_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert default_data_dir() == Path("/somewhere/secateur")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/a")
    assert default_data_dir() == Path("/home/a/.local/share/secateur")
