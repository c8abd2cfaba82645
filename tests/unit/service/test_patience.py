"""Repeating calls while something is out of order."""

import asyncio
from collections.abc import Callable

import pytest

from graph_analysis.errors import InputError, SecateurError
from service import patience
from service.errors import UnavailableError
from service.patience import patiently, with_tries


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.0)


def failing(times: int, error: SecateurError) -> Callable[[int], int]:
    calls: list[int] = []

    def call(value: int) -> int:
        calls.append(value)
        if len(calls) <= times:
            raise error
        return value + len(calls)

    return call


def test_an_outage_is_waited_for() -> None:
    call = failing(20, UnavailableError("locked"))
    assert asyncio.run(patiently(call, 100)) == 121


def test_other_errors_are_not() -> None:
    with pytest.raises(InputError):
        asyncio.run(patiently(failing(1, InputError("bad")), 100))


def test_tries_are_limited() -> None:
    call = failing(3, SecateurError("away", code="storage-unavailable"))
    with pytest.raises(SecateurError, match="away"):
        asyncio.run(with_tries(lambda: call(0), code="storage-unavailable", tries=3))
    assert asyncio.run(with_tries(lambda: call(0), code="storage-unavailable", tries=3)) == 4
