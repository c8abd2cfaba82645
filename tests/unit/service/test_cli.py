"""The command line from the outside: results, one-line errors, exit codes, nothing left behind."""

import json
from pathlib import Path

import pytest

from graph_analysis.testing import HARD_CASES
from service.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(HARD_CASES["residual_add"]().SerializeToString())
    return path


def test_analyze_solve_cut(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model.parent
    space, solution, cut = folder / "space.json", folder / "solution.json", folder / "cut.onnx"
    assert main(["analyze", str(model), "-o", str(space)]) == 0
    assert "MACs per sample" in capsys.readouterr().out
    assert json.loads(space.read_text())["schema"] == "secateur/search-space/1"
    assert main(["solve", str(model), "--target-macs", "0.5", "-o", str(solution), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["remains"]["macs"] <= 0.5
    assert main(["cut", str(model), str(solution), "-o", str(cut), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["proof"]["passed"]
    assert cut.stat().st_size < model.stat().st_size
    assert main(["analyze", str(cut), "--json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["analyze", "{folder}/text.onnx"], 2, "not an ONNX model"),
        (["analyze", "{folder}/cut-off.onnx"], 2, "truncated"),
        (["analyze", "{folder}/nobody.onnx"], 2, "cannot read"),
        (["analyze", "{model}", "--kinds", "petals"], 2, "petals"),
        (["analyze", "{model}", "--input-shape", "x=a,b"], 2, "NAME=1,3,224,224"),
        (["solve", "{model}", "-o", "{folder}/out"], 2, "exactly one"),
        (["solve", "{model}", "--target-macs", "2", "-o", "{folder}/out"], 2, "between 0 and 1"),
        (["solve", "{model}", "--target-macs", "1e-9", "-o", "{folder}/out"], 3, "at least"),
        (["cut", "{model}", "{folder}/text.onnx", "-o", "{folder}/out"], 2, "not a solution"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    model: Path,
    arguments: list[str],
    code: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model.parent
    (folder / "text.onnx").write_text("no model")
    (folder / "cut-off.onnx").write_bytes(model.read_bytes()[:1500])
    before = sorted(folder.iterdir())
    filled = [argument.format(folder=folder, model=model) for argument in arguments]
    assert main(filled) == code
    assert text in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()
