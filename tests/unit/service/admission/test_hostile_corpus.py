"""Every hostile file gets its documented code: in process for all, through the child for some."""

import time
from pathlib import Path

import pytest

from service.admission import AdmissionLimits, admit
from service.admission.inspection import inspect_bytes
from service.admission.magic import check_magic
from service.admission.standard import standard_operators
from service.errors import AdmissionError
from service.problems import KINDS
from tests.unit.service.admission.hostile import CASES, build

_LIMITS = AdmissionLimits()
_OPERATORS = standard_operators()
_THROUGH_THE_CHILD = (
    "cut_in_half",
    "slice_of_negative_dim",
    "expand_bomb",
    "functions_doubling_40",
    "node_name_with_newlines",
    "external_parent",
)


def _refusal(data: bytes) -> AdmissionError:
    with pytest.raises(AdmissionError) as caught:
        check_magic(data[:4096], len(data))
        inspect_bytes(data, _LIMITS, _OPERATORS)
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_refused_with_its_code(name: str) -> None:
    error = _refusal(build(name))
    assert error.code == CASES[name][0], str(error)
    assert len(str(error)) <= 700
    assert str(error).isprintable()
    assert error.param is None or error.param.isprintable()


def test_the_corpus_is_large_and_every_code_is_in_the_catalogue() -> None:
    assert len(CASES) >= 100
    assert {code for code, _ in CASES.values()} <= set(KINDS)


@pytest.mark.parametrize("name", _THROUGH_THE_CHILD)
def test_the_child_tells_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(build(name))
    with pytest.raises(AdmissionError) as caught:
        admit(path)
    expected = _refusal(build(name))
    assert (caught.value.code, str(caught.value)) == (expected.code, str(expected))
    assert caught.value.param == expected.param


def test_wrong_files_never_reach_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("service.admission.gate.run_task", lambda *_, **__: pytest.fail("started"))
    for name in ("zip", "html", "zeros", "empty", "safetensors"):
        path = tmp_path / name
        path.write_bytes(build(name))
        with pytest.raises(AdmissionError) as caught:
            admit(path)
        assert caught.value.code == CASES[name][0]


def test_small_bombs_are_refused_quickly() -> None:
    bombs = ["functions_doubling_40", "concat_doubling", "expand_bomb", "many_large_matmuls"]
    files = [build(name) for name in bombs]
    started = time.process_time()
    for data in files:
        _refusal(data)
    assert time.process_time() - started < 5.0  # CPU time; the bombs cost minutes where they go off
