"""API keys."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.job_rows import now
from service.key_store import KeyStore
from service.tables import api_keys
from service.testing import temporary_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = temporary_database(tmp_path)
    yield engine
    engine.dispose()


def test_a_key_is_recognised_and_not_stored(database: sa.Engine) -> None:
    keys = KeyStore(database)
    assert keys.is_empty()
    key = keys.create("own_a", {"read", "write"})
    assert not keys.is_empty()
    assert len(key.token) == len("sct_") + 8 + 1 + 43
    principal = keys.authenticate(key.token)
    assert principal is not None
    assert (principal.owner, principal.key_id) == ("own_a", key.id)
    assert principal.scopes == {"read", "write"}
    with database.connect() as connection:
        row = connection.execute(sa.select(api_keys)).one()
    assert key.token.split("_", 2)[2] not in str(tuple(row))


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("a" if token[-1] != "a" else "b"),
        lambda token: token[:12],
        lambda token: token[:13],
        lambda token: token + "\n",
        lambda token: "sct_00000000_" + token[13:],
        lambda token: token.removeprefix("sct_"),
        lambda _token: "",
        lambda _token: "sct_\udce4bcdefgh_x",
    ],
)
def test_anything_else_is_not(database: sa.Engine, change: object) -> None:
    keys = KeyStore(database)
    token = keys.create("own_a", {"read"}).token
    assert keys.authenticate(change(token)) is None  # type: ignore[operator]


def test_an_expired_key_is_not_valid(database: sa.Engine) -> None:
    keys = KeyStore(database)
    old = keys.create("own_a", {"read"}, expires_at=now() - timedelta(seconds=1))
    new = keys.create("own_a", {"read"}, expires_at=now() + timedelta(hours=1))
    assert keys.authenticate(old.token) is None
    assert keys.authenticate(new.token) is not None
