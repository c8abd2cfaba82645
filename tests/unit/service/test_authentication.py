"""Keys, scopes, and the first key of an installation."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.authentication import (
    ADMIN,
    FIRST_OWNER,
    READ,
    WRITE,
    authenticate,
    ensure_first_key,
    is_loopback,
    refuse_open_door,
    require_scope,
)
from service.database import create_database
from service.errors import ForbiddenError, RequestError, UnauthenticatedError
from service.job_store import JobStore
from service.jobs import Principal
from service.tables import metadata
from tests.unit.service.api import QuietEngine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    database = create_database(f"sqlite:///{tmp_path}/test.db")
    metadata.create_all(database)
    yield JobStore(database, QuietEngine())
    database.dispose()


def test_the_first_key_is_made_once_and_opens_everything(store: JobStore) -> None:
    token = ensure_first_key(store)
    assert token is not None
    assert ensure_first_key(store) is None
    principal = authenticate(store, f"bearer  {token}")
    assert principal.owner == FIRST_OWNER
    for scope in (READ, WRITE, ADMIN):
        require_scope(principal, scope)


def test_the_secret_is_not_at_rest(store: JobStore, tmp_path: Path) -> None:
    token = ensure_first_key(store)
    assert token is not None
    secret = token.rsplit("_", 1)[-1].encode()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret[-20:] not in content


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic abc", "sct_1_2"])
def test_other_headers_are_refused_alike(store: JobStore, header: str | None) -> None:
    with pytest.raises(UnauthenticatedError, match="send a valid key"):
        authenticate(store, header)


def test_scopes() -> None:
    reader = Principal(owner="own_a", key_id="k", scopes=frozenset({READ}))
    require_scope(reader, READ)
    with pytest.raises(ForbiddenError, match="'write'"):
        require_scope(reader, WRITE)


@pytest.mark.parametrize(
    "host, loopback",
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("::1", True), ("0.0.0.0", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_public_address_needs_a_key_first(store: JobStore) -> None:
    refuse_open_door("127.0.0.1", store)
    with pytest.raises(RequestError, match="no key yet"):
        refuse_open_door("0.0.0.0", store)
    ensure_first_key(store)
    refuse_open_door("0.0.0.0", store)
