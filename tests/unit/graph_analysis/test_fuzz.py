"""A slice of the fuzzing in ``tests.fuzz``, in a process of its own, and that it can fail."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from graph_analysis.testing import HARD_CASES
from tests.fuzz import bounded, judge
from tests.fuzz.cases import make_case
from tests.fuzz.damage_bytes import BYTE_DAMAGE
from tests.fuzz.damage_graphs import GRAPH_DAMAGE
from tests.fuzz.reducing import reduced

ROOT = Path(__file__).parents[3]


def test_damaged_models_are_analysed_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.run", "--count", "300", "--seed", "7"]
    done = subprocess.run(
        [*command, "--workers", "1", "--out", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 cases" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_cases_are_the_same_every_time_and_use_every_damage() -> None:
    models = {name: HARD_CASES[name]().SerializeToString() for name in ("conv1d", "fused_qkv")}
    first = [make_case(models, number, 3) for number in range(400)]
    assert first == [make_case(models, number, 3) for number in range(400)]
    used = {name for case in first for name in case.damage}
    assert used == {damage.__name__ for damage in (*BYTE_DAMAGE, *GRAPH_DAMAGE)}


def test_a_crash_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: object) -> None:
        raise KeyError

    monkeypatch.setattr(judge, "analyze", crash)
    verdict = judge.judge(HARD_CASES["conv1d"]().SerializeToString())
    assert verdict.is_failure
    assert "KeyError" in verdict.kind


def test_a_refusal_of_several_lines_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        msg = "one\ntwo"
        raise judge.SecateurError(msg)

    monkeypatch.setattr(judge, "analyze", refuse)
    assert judge.judge(HARD_CASES["conv1d"]().SerializeToString()).is_failure


def test_a_failing_model_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    data = HARD_CASES["residual_add"]().SerializeToString()
    monkeypatch.setattr("tests.fuzz.reducing._fails", lambda data, _: b"BatchNorm" in data)
    smaller = onnx.load_model_from_string(reduced(data, "any"))
    assert len(smaller.graph.node) == 1
    assert smaller.graph.node[0].op_type == "BatchNormalization"


DYING = """
import os, sys
from tests.fuzz import bounded

def data_of(number):
    if number == 1:
        os.abort()
    if number == 2:
        return bytearray(8 << 30)
    if number == 3:
        while True: pass
    return b""

kinds = [o.verdict.kind for o in bounded.run_bounded([0, 1, 2, 3, 4], data_of, seconds=-8)]
print(kinds)
"""


def test_a_child_that_dies_is_replaced() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING], capture_output=True, text=True, cwd=ROOT, check=True,
        timeout=60,
    )  # fmt: skip
    empty = "refused: model-empty"
    assert done.stdout.strip() == str([empty, "died", "died", "hung", empty])
    assert bounded.MEMORY <= 4 << 30
