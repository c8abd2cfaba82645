"""``secateur trainable``: the answer is printed whatever it is, the exit code tells scripts."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from graph_analysis.testing import HARD_CASES
from service.cli import main

KEYS = {
    "supported",
    "unsupported",
    "max_difference",
    "weights",
    "weights_with_gradient",
    "step_ms",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(HARD_CASES["residual_add"]().SerializeToString())
    return path


@pytest.fixture
def odd(model: Path) -> Path:
    """The same with seven nodes that nobody knows at its end."""
    changed = onnx.load(model)
    for number in range(7):
        names = [changed.graph.output[0].name], [f"odd{number}"]
        changed.graph.node.append(
            helper.make_node("Magic", *names, name=f"magic_{number}", domain="com.acme")
        )
        info = helper.make_tensor_value_info(f"odd{number}", TensorProto.FLOAT, None)
        changed.graph.output.append(info)
    changed.opset_import.append(helper.make_opsetid("com.acme", 3))
    onnx.save(changed, model.with_name("odd.onnx"))
    return model.with_name("odd.onnx")


def test_json_has_the_promised_keys(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = [dim.dim_value for dim in onnx.load(model).graph.input[0].type.tensor_type.shape.dim]
    given = "x=" + ",".join(map(str, [1, *shape[1:]]))
    options = ["--input-shape", given, "--seed", "3", "--batch-size", "2"]
    assert main(["trainable", str(model), "--json", *options]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert set(document) >= KEYS
    assert document["unsupported"] == []
    assert document["max_difference"] < 1e-5
    assert document["weights_with_gradient"] == document["weights"]
    assert document["batch_size"] == 2
    assert printed.err == ""


def test_people_get_tables(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["trainable", str(model)]) == 0
    text = capsys.readouterr().out
    for part in ("Conv", "difference to ONNX Runtime", "a finite gradient reaches", " ms, batch"):
        assert part in text


def test_unsupported_operators_are_printed_and_end_with_2(
    odd: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["trainable", str(odd), "--json"]) == 2
    printed = capsys.readouterr()
    (entry,) = json.loads(printed.out)["unsupported"]
    assert entry == {
        "operator": "Magic",
        "domain": "com.acme",
        "opset": 3,
        "nodes": [f"magic_{number}" for number in range(7)],
        "reason": "has no torch function",
    }
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: the model cannot be trained: 'Magic' (com.acme, opset 3)")
    assert main(["trainable", str(odd)]) == 2
    text = capsys.readouterr().out
    assert "magic_6" in text
    assert "com.acme" in text


def test_what_cannot_be_read_is_one_line(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.write_text("no model")
    assert main(["trainable", str(model)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert main(["trainable", str(model), "--input-shape", "x"]) == 2
    assert "NAME=1,3,224,224" in capsys.readouterr().err
