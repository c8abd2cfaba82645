"""The real gate hands each question to the right place, with the settings."""

from pathlib import Path

import pytest

from graph_analysis.errors import ModelError
from service.errors import DatasetError
from service.gate import SandboxedGate
from service.settings import Settings


@pytest.fixture
def gate(tmp_path: Path) -> SandboxedGate:
    return SandboxedGate(
        Settings(data_dir=tmp_path, inline_limit=1000, dataset_roots=(tmp_path / "data",))
    )


def test_first_bytes(gate: SandboxedGate) -> None:
    with pytest.raises(ModelError, match="zip") as caught:
        gate.check_magic(b"PK\x03\x04", 100)
    assert caught.value.code == "model-not-onnx"
    with pytest.raises(ModelError) as caught:
        gate.check_magic(b"\x08\x08", 1001)
    assert caught.value.code == "model-too-large"


def test_addresses(gate: SandboxedGate, tmp_path: Path) -> None:
    gate.check_uri("https://example.com/x.npz")
    with pytest.raises(DatasetError) as caught:
        gate.check_uri("gopher://example.com/x.npz")
    assert caught.value.code == "dataset-scheme"
    with pytest.raises(DatasetError) as caught:
        gate.check_uri(f"file://{tmp_path}/elsewhere.npz")
    assert caught.value.code == "dataset-uri-forbidden"


def test_models(gate: SandboxedGate, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x08\xff\xff\xff")
    with pytest.raises(ModelError) as caught:
        gate.admit(path)
    assert caught.value.code.startswith("model-")
