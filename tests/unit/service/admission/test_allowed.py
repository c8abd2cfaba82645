"""Where the list of operators comes from."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from service.admission import allowed, child
from service.admission.standard import standard_operators
from service.errors import AdmissionError
from tests.unit.service.admission.models import chain, model


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    allowed.importable_operators.cache_clear()
    yield
    allowed.importable_operators.cache_clear()


def test_the_importers_list_is_read_as_data() -> None:
    listed = allowed.importable_operators()
    assert listed is not None
    assert {("", "Conv"), ("", "Gemm"), ("", "BatchNormalization")} <= set(listed)
    assert set(listed) <= {("", name) for _, name in standard_operators()} | set(listed)


def test_without_the_package_there_is_no_list(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(allowed, "find_spec", lambda _: None)
    assert allowed.importable_operators() is None
    allowed.importable_operators.cache_clear()
    spec = ModuleSpec("optimizer", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(allowed, "find_spec", lambda _: spec)
    assert allowed.importable_operators() is None
    allowed.importable_operators.cache_clear()
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "operators.json").write_text(json.dumps({"": ["Conv"]}))
    assert allowed.importable_operators() == (("", "Conv"),)


def test_the_fallback_has_no_strings_and_no_integers() -> None:
    names = {name for _, name in standard_operators()}
    assert {"Conv", "LSTM", "If", "Loop", "Constant"} <= names
    assert not {"StringNormalizer", "SequenceAt", "QLinearConv", "DequantizeLinear"} & names


def test_the_child_applies_the_list(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(chain("Relu", "Abs")).SerializeToString())
    payload = {"path": str(path), "limits": {}}
    assert child.run({**payload, "operators": None})["nodes"] == 2
    assert child.run({**payload, "operators": [["", "Relu"], ["", "Abs"]]})["nodes"] == 2
    with pytest.raises(AdmissionError, match="Abs"):
        child.run({**payload, "operators": [["", "Relu"]]})


def test_the_gate_loads_no_native_onnx_and_no_torch() -> None:
    code = (
        "import sys, service.admission, service.datasets, service.sandbox\n"
        "from service.admission.allowed import importable_operators\n"
        "importable_operators()\n"
        "print(sorted({'onnx', 'torch', 'onnxruntime', 'optimizer'} & set(sys.modules)))"
    )
    root = Path(allowed.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
