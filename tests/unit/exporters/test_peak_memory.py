"""Peak memory: in a process of its own, and nothing at all where it cannot be measured."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import peak_memory as measuring
from exporters.peak_memory import peak_memory

MEGABYTE = 1 << 20


def dense(width: int, path: Path, *, inputs: int | str = 1024) -> Path:
    """One product with ``width`` times 1024 weights."""
    weight = np.ones((1024, width), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak")
def test_a_model_takes_its_weights_and_a_larger_one_more(tmp_path: Path) -> None:
    large = peak_memory(dense(16 * 1024, tmp_path / "large.onnx"))  # 64 MiB of weights
    small = peak_memory(dense(1024, tmp_path / "small.onnx"))  # 4 MiB
    assert large is not None
    assert small is not None
    assert 60 * MEGABYTE < large < 400 * MEGABYTE
    assert small < large / 4


def test_what_cannot_run_is_not_measured(tmp_path: Path) -> None:
    path = dense(8, tmp_path / "m.onnx", inputs="n")
    assert peak_memory(path, shapes={"x": (1, 7)}) is None


def test_what_takes_too_long_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_SCRIPT", "import time; time.sleep(60)")
    monkeypatch.setattr(measuring, "_PATIENCE", 0.05)
    signs: list[int] = []
    path = dense(8, tmp_path / "m.onnx")
    assert peak_memory(path, seconds=0.3, alive=lambda: signs.append(1)) is None
    assert signs


def test_where_no_process_may_start_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dense(8, tmp_path / "m.onnx")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert peak_memory(path) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory(path) is None
