"""What is said about an analysis: shares, reach, reasons, and the text itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from graph_analysis import Analysis, AnalysisOptions, Solution, analyze, load_model, solve
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.explain import explain
from graph_analysis.findings import findings_of
from graph_analysis.reach import reach_of
from graph_analysis.testing import HARD_CASES

ROOT = Path(__file__).resolve().parents[3]
SOME = ["residual_add", "concat", "fused_qkv", "se_block", "channel_shuffle", "lstm_residual"]


def analysis_of(name: str, **options: object) -> Analysis:
    chosen = AnalysisOptions(**options)  # type: ignore[arg-type]
    return analyze(load_model(HARD_CASES[name]().SerializeToString()), options=chosen)


@pytest.mark.parametrize("name", SOME)
def test_all_units_together_cost_what_their_removal_saves(name: str) -> None:
    analysis = analysis_of(name)
    nothing = Solution.of(analysis.space, {})
    for entry in findings_of(analysis).groups:
        units = tuple(range(entry.group.units))
        without = Solution.of(analysis.space, {entry.group.id: units})
        assert entry.macs == analysis.macs(nothing) - analysis.macs(without)
        assert entry.parameters == analysis.parameters(nothing) - analysis.parameters(without)
        assert entry.macs <= entry.group.macs * entry.group.units
        assert entry.macs_ratio == entry.macs / analysis.macs(nothing)


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("name", SOME)
def test_what_can_go_at_most_is_what_solving_reaches(name: str, multiple: int) -> None:
    analysis = analysis_of(name, multiple=multiple)
    reach = reach_of(analysis)
    for quantity in ("macs", "parameters", "bytes"):
        with pytest.raises(TargetUnreachableError) as caught:
            solve(analysis, target_ratio=1e-9, quantity=quantity, saliency="random", seed=1)
        assert getattr(reach, quantity) <= caught.value.reachable_ratio + 1e-12


def test_a_smaller_multiple_and_fewer_units_reach_further() -> None:
    by_multiple = [reach_of(analysis_of("residual_add", multiple=m)).macs for m in (1, 4, 8)]
    assert by_multiple == sorted(by_multiple)
    assert len(set(by_multiple)) == 3
    by_units = [reach_of(analysis_of("residual_add", min_units=n)).macs for n in (1, 2, 3)]
    assert by_units == sorted(by_units)
    assert len(set(by_units)) == 3


def test_reasons_that_differ_in_names_only_are_one_line() -> None:
    found = findings_of(analysis_of("swin_window_partition"))
    frozen = analysis_of("swin_window_partition").space.frozen
    assert sum(entry.entries for entry in found.stays) == len(frozen)
    assert len(found.stays) <= len({entry.reason for entry in frozen})
    whole = analysis_of("residual_add").space.model.parameters
    by_one = findings_of(analysis_of("residual_add", protect=("*",))).stays
    assert sum(entry.parameters for entry in by_one) == whole
    by_two = analysis_of("residual_add", protect=("weight_0", "weight_5"))
    reasons = {entry.reason for entry in by_two.space.frozen if "protected" in entry.reason}
    assert len(reasons) == 2
    assert [e.places for e in findings_of(by_two).stays if "protected" in e.reason] == [2]
    assert "protected by 'weight_0' (and 1 like it)" in explain(by_two)


def test_long_tables_and_names_are_shortened_and_say_so() -> None:
    model = HARD_CASES["multi_branch_inception_pool"]()
    for place, node in enumerate(model.graph.node):
        node.name = "/".join(["a long path"] * 12) + str(place)
    analysis = analyze(load_model(model.SerializeToString()))
    short, long = explain(analysis), explain(analysis, everything=True)
    assert all(group.id in long for group in analysis.space.groups)
    assert max(map(len, short.splitlines())) < 250 < max(map(len, long.splitlines()))
    assert "..." in short
    assert "..." not in long


def test_what_is_left_out_of_a_list_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph_analysis.explain._ROWS", 1)
    monkeypatch.setattr("graph_analysis.explain._PLACES", 1)
    analysis = analysis_of("separate_qkv_heads")
    text = explain(analysis)
    groups = len(analysis.space.groups)
    assert f"... and {groups - 1} groups with smaller shares; --all shows the whole table" in text
    assert f"... and {len(analysis.refused) - 1} more; --all shows them" in text
    reasons = len(findings_of(analysis).stays)
    assert f"... and {reasons - 1} more reasons; --all shows them" in text
    assert "..." not in explain(analysis, everything=True)


@pytest.mark.parametrize(("length", "words"), [(8, "bytes"), (2048, "MiB"), (65536, "GiB")])
def test_sizes_have_units_that_fit(length: int, words: str) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    value = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", "n", "m"]) for n in "xy"}
    graph = helper.make_graph(nodes, "g", [value["x"]], [value["y"]])
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = AnalysisOptions(input_shapes={"x": (1, length, 4096 if length > 8 else 1)})
    text = explain(analyze(load_model(model.SerializeToString()), options=options))
    assert f" {words} written per sample" in text
    assert "no groups" in text


def test_tensors_of_unknown_size_are_counted() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [2, "n"])
    graph = helper.make_graph(nodes, "g", [x], [y])
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    text = explain(analyze(load_model(model.SerializeToString())))
    assert "without 1 tensor whose shape is not known" in text


def test_names_cannot_command_a_terminal() -> None:
    model = HARD_CASES["residual_add"]()
    model.producer_name = "\x1b[2Jproducer"
    for tensor in model.graph.initializer:
        tensor.name += "\x1b[31m\r\n\x07"
    for node in model.graph.node:
        node.name += "\x9b31m\u202e"
        node.input[:] = [
            name + "\x1b[31m\r\n\x07" if name + "\x1b[31m\r\n\x07" in weights else name
            for weights in [{tensor.name for tensor in model.graph.initializer}]
            for name in node.input
        ]
    analysis = analyze(load_model(model.SerializeToString()))
    assert any("\x1b" in group.id for group in analysis.space.groups)
    for text in (explain(analysis), explain(analysis, everything=True)):
        assert all(line.isprintable() for line in text.split("\n"))


def test_nothing_to_remove_is_said() -> None:
    text = explain(analysis_of("residual_add", protect=("*",)))
    assert "nothing can be removed" in text
    assert "protected by '*'" in text
    assert "at most 0.0% of the MACs" in text


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["a", "b"], 2), (["/nobody"], 2)])
def test_the_module_refuses_in_one_line(arguments: list[str], code: int) -> None:
    command = [sys.executable, "-m", "graph_analysis", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1


def test_the_module_needs_neither_typer_nor_rich(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(HARD_CASES["residual_add"]().SerializeToString())
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('typer', 'rich', 'onnxruntime', 'torch')));"
        f"from graph_analysis.__main__ import main; sys.exit(main([{str(path)!r}, '--all']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "at most" in done.stdout
