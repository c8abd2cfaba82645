"""``secateur cut`` as a user meets it."""

import json
from pathlib import Path

import onnx
import pytest

from exporters.errors import ProofFailedError
from exporters.figures import Proof
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.solving import solve
from graph_analysis.testing import HARD_CASES
from service.cli import main
from service.commands.cut import summary_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model and a solution of it."""
    model = HARD_CASES["residual_add"]()
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    analysis = analyze(load_model(tmp_path / "model.onnx"))
    solution = solve(analysis, target_ratio=0.5)
    (tmp_path / "solution.json").write_text(solution.to_json())
    return tmp_path


def cut(folder: Path, *more: str, solution: str = "solution.json") -> int:
    model, output = folder / "model.onnx", folder / "out.onnx"
    return main(["cut", str(model), str(folder / solution), "-o", str(output), *more])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_cut_file_and_its_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cut(folder) == 0
    text = capsys.readouterr().out
    assert "macs" in text
    assert "proof      passed: largest difference" in text
    assert "batches of 1 and 3, optimisations off and on" in text
    onnx.checker.check_model(onnx.load(folder / "out.onnx"), full_check=True)
    assert names(folder) == ["model.onnx", "out.onnx", "solution.json"]


def test_machines_get_one_json_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masked = folder / "masked.onnx"
    assert cut(folder, "--masked", str(masked), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["output"] == str(folder / "out.onnx")
    assert result["masked"] == str(masked)
    assert result["after"]["macs"] <= 0.5 * result["before"]["macs"]
    assert result["after"]["bytes"] == (folder / "out.onnx").stat().st_size
    assert result["proof"]["passed"]
    assert result["proof"]["inner_tensors"] > 3
    assert masked.stat().st_size == result["before"]["bytes"]


def test_the_solution_must_be_of_this_space(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cut(folder, "--protect", "*") == 2
    assert "solve again with this model and the same options" in capsys.readouterr().err
    assert names(folder) == ["model.onnx", "solution.json"]


def test_an_invalid_solution_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = analyze(load_model(folder / "model.onnx")).space
    group = next(group for group in space.groups if group.kind is GroupKind.CHANNEL)
    everything = Solution.of(space, {group.id: range(group.units)})
    (folder / "all.json").write_text(everything.to_json())
    assert cut(folder, solution="all.json") == 2
    assert "not valid" in capsys.readouterr().err
    assert "out.onnx" not in names(folder)


def test_a_failed_proof_leaves_nothing_behind(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Proof:
        message = "proof failed at G3: 'y' differs by 1"
        raise ProofFailedError(message, proof=Proof(passed=False))

    monkeypatch.setattr("service.proving.prove_apart", fail)
    assert cut(folder, "--masked", str(folder / "masked.onnx")) == 4
    assert capsys.readouterr().err == "error: proof failed at G3: 'y' differs by 1\n"
    assert names(folder) == ["model.onnx", "solution.json"]


@pytest.mark.parametrize("output", ["model.onnx", "solution.json"])
def test_inputs_are_not_overwritten(folder: Path, output: str) -> None:
    before = (folder / output).read_bytes()
    arguments = [str(folder / "model.onnx"), str(folder / "solution.json")]
    assert main(["cut", *arguments, "-o", str(folder / output)]) == 2
    assert (folder / output).read_bytes() == before


def test_the_two_outputs_are_two_files(folder: Path) -> None:
    assert cut(folder, "--masked", str(folder / "." / "out.onnx")) == 2


def test_notes_of_the_proof_reach_the_reader() -> None:
    proof = Proof(passed=True, batch_sizes=(1,), notes=("look here",)).to_dict()
    sizes = {"parameters": 0, "macs": 4, "bytes": 2}
    summary = {"removed": {"channel": 0}, "before": sizes, "after": sizes, "proof": proof}
    text = summary_text(summary, Path("out.onnx"))
    assert "removed    nothing" in text
    assert "note       look here" in text
