"""Seeded mutants: the gate only ever rejects or accepts, whatever the bytes."""

from pathlib import Path

import pytest

from service.sandbox import Outcome, SandboxLimits, run_task

_TASK = "tests.unit.service.admission.mutants"
_CODE = Path(__file__).parents[3]


def _judge(seed: int, count: int, seconds: float) -> None:
    limits = SandboxLimits(wall_seconds=seconds, cpu_seconds=int(seconds))
    result = run_task(_TASK, {"seed": seed, "count": count}, read=[_CODE], limits=limits)
    assert result.outcome is Outcome.ANSWERED, result.stderr
    verdicts = result.answer["result"]["verdicts"]
    assert result.answer["result"]["faults"] == []
    assert sum(verdicts.values()) == count
    assert verdicts["admitted"] > count * 0.02  # mutants reach the native part
    assert len(verdicts) >= 10


def test_a_thousand_mutants() -> None:
    _judge(seed=46, count=1000, seconds=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_many_more_mutants(seed: int) -> None:
    _judge(seed=seed, count=4000, seconds=120)
