"""What is said and done when the kernel offers less than full isolation."""

import logging
from collections.abc import Iterator

import pytest

from service.errors import SandboxUnavailableError
from service.sandbox import landlock, seccomp
from service.sandbox import sandbox_support as find_support
from service.sandbox.support import require_support


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    find_support.cache_clear()
    yield
    find_support.cache_clear()


def test_a_shortage_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not find_support().landlock
    assert [record.getMessage() for record in caplog.records] == [
        "the sandbox works without Landlock, which this kernel does not offer"
        if find_support().seccomp
        else "the sandbox works without Landlock, seccomp, which this kernel does not offer"
    ]


def test_required_isolation_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    monkeypatch.setattr(seccomp, "is_available", lambda: False)
    with pytest.raises(SandboxUnavailableError, match="Landlock, seccomp") as caught:
        require_support()
    assert caught.value.code == "sandbox-unavailable"


def test_required_isolation_that_is_there_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.sandbox.support.machine", lambda: "x86_64")
    monkeypatch.setattr(landlock, "abi_version", lambda: 1)
    monkeypatch.setattr(seccomp, "is_available", lambda: True)
    require_support()
