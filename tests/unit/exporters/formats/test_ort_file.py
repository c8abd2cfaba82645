"""The ORT-format file: loads, and computes the same."""

import tempfile
from pathlib import Path

import onnx
import pytest

from exporters.formats import check_exact, check_format, to_ort
from exporters.formats.checking import EXACT
from graph_analysis.errors import InputError
from tests.unit.exporters.formats.networks import convolutions, perceptron


@pytest.mark.parametrize("model", [convolutions(), perceptron()], ids=["conv", "mlp"])
def test_it_is_ort_format_and_equal(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = to_ort(model)
    assert data[4:8] == b"ORTM"
    assert list(tmp_path.iterdir()) == []
    check_exact(check_format(model, data), EXACT)


def test_what_onnx_runtime_does_not_load_is_refused() -> None:
    model = convolutions()
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(InputError, match="ONNX Runtime cannot save it so") as caught:
        to_ort(model)
    assert caught.value.code == "export-unsupported"
