"""Cut files damaged in one place: the proof refuses every one, and says where it went wrong.

A wrong channel, a shifted block, a bias cut elsewhere, two weights of one shape swapped, a constant
or an attribute that was not updated, a live branch erased. What ONNX Runtime alone cannot tell from
the right file (a Slice that ends beyond the end) is not damaged.
"""

import importlib.util
from collections import Counter
from pathlib import Path

import onnx
import pytest

from benchmarks.light import with_weights
from exporters.errors import ProofFailedError, SurgeryError
from graph_analysis.errors import SolutionError
from graph_analysis.search_space import GroupKind
from graph_analysis.testing import HARD_CASES
from tests.integration.mutants import CutFile, Mutant, chosen, erased

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MOST = 4  # of a kind, per model
BUILT = [
    "concat", "split_chunk", "slice_channels", "depthwise_conv", "channel_shuffle", "groupnorm",
    "view_minus1_fc", "gather_channel_index_select", "fused_qkv", "gqa", "separate_qkv_heads",
    "swin_window_partition", "lstm_1layer", "if_conv_chains", "interpolate_to_skip_size",
]  # fmt: skip
REAL = [
    pytest.param(name, marks=() if name == "c_unet__legacy17dyn" else pytest.mark.slow)
    for name in (
        "c_unet__legacy17dyn", "c_yolo__dynamo20", "c_yolo__legacy17dyn", "c_gru__legacy17dyn",
        "keras_cnn__op13", "keras_lstm__op17", "hf_vit__legacy17dyn", "hf_bert__dynamo20",
        "hf_gpt2__dynamo20", "tv_mobilenet_v2__dynamo20",
    )
]  # fmt: skip
KINDS = {
    "wrong channel", "shifted block", "bias cut elsewhere", "swapped weights",
    "constant not updated", "attribute not updated", "erased live branch",
}  # fmt: skip


def corpus_file(name: str) -> onnx.ModelProto:
    spec = importlib.util.spec_from_file_location("corpus_load", CORPUS / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(CORPUS / f"{name}.onnx.xz")


def mutants_of(case: CutFile) -> list[Mutant]:
    found = chosen(case.mutants(), MOST)
    kept = [g.id for g in case.analysis.space.groups if g.kind is GroupKind.OPERATOR]
    for group in [key for key in kept if key not in case.solution.removed][:MOST]:
        try:
            found.append(erased(case, group))
        except (SolutionError, SurgeryError):  # it may not go as well as the rest
            continue
    return found


def failure(case: CutFile, model: onnx.ModelProto) -> ProofFailedError | None:
    try:
        case.prove(model)
    except ProofFailedError as error:
        return error
    return None


def refuse_all(case: CutFile) -> Counter[str]:
    """Prove the file itself, then see every mutant refused at the right place; how many of each."""
    assert case.prove(case.cut).passed
    refused: Counter[str] = Counter()
    for mutant in mutants_of(case):
        told = (mutant.kind, mutant.what, mutant.first)
        error = failure(case, mutant.model)
        if error is None:
            assert not case.is_damaged(mutant.model), told
            continue
        found = error.proof.mismatch
        assert found is not None, (*told, str(error))
        assert found.tensor in (*mutant.first, *mutant.what.split(" and ")), (*told, str(error))
        refused[mutant.kind] += 1
    return refused


@pytest.mark.parametrize("name", BUILT)
def test_damaged_hard_cases_are_refused(name: str) -> None:
    refused = refuse_all(CutFile(HARD_CASES[name]()))
    assert refused.total() >= 6
    assert set(refused) <= KINDS


def test_every_kind_of_damage_is_tried_and_refused() -> None:
    refused = sum((refuse_all(CutFile(HARD_CASES[name]())) for name in BUILT[:8]), Counter())
    assert set(refused) == KINDS


@pytest.mark.parametrize("name", ["squeezenet", pytest.param("shufflenet", marks=pytest.mark.slow)])
def test_damaged_light_models_are_refused(name: str) -> None:
    model = with_weights(onnx.load(LIGHT / f"light_{name}.onnx"))
    assert refuse_all(CutFile(model)).total() >= 12


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus beside the checkout")
@pytest.mark.parametrize("name", REAL)
def test_damaged_files_of_real_exporters_are_refused(name: str) -> None:
    assert refuse_all(CutFile(corpus_file(name))).total() >= 8


def with_condition(model: onnx.ModelProto) -> onnx.ModelProto:
    """Its If asks whether the sum of the inputs is above -1e30, which it always is."""
    result = onnx.ModelProto.FromString(model.SerializeToString())
    nodes = list(result.graph.node)
    where = next(index for index, node in enumerate(nodes) if node.op_type == "If")
    nodes[where].input[0] = "always"
    feed = result.graph.input[0].name
    nodes[where:where] = [
        onnx.helper.make_node("ReduceSum", [feed], ["sum"], name="sum", keepdims=0),
        onnx.helper.make_node("Greater", ["sum", "limit"], ["always"], name="greater"),
    ]
    limit = onnx.helper.make_tensor("limit", onnx.TensorProto.FLOAT, [], [-1e30])
    graph = onnx.helper.make_graph(
        nodes, result.graph.name, result.graph.input, result.graph.output,
        [*result.graph.initializer, limit],
    )  # fmt: skip
    result.graph.CopyFrom(graph)
    return result


def test_damage_in_a_branch_that_no_input_takes_is_refused() -> None:
    case = CutFile(HARD_CASES["if_conv_chains"]())
    case.source, case.masked, case.cut = map(with_condition, (case.source, case.masked, case.cut))
    proof = case.prove(case.cut)
    assert (proof.branches, proof.branches_run) == (2, 2)
    damaged = onnx.ModelProto.FromString(case.cut.SerializeToString())
    chooser = next(node for node in damaged.graph.node if node.op_type == "If")
    branch = next(one.g for one in chooser.attribute if one.name == "else_branch")
    last = branch.node[-1]
    inner = onnx.helper.make_node("Neg", ["before"], list(last.output))
    last.output[0] = "before"
    branch.node.append(inner)
    assert not case.is_damaged(damaged)
    with pytest.raises(ProofFailedError, match="failed at G3 branch: in else_branch"):
        case.prove(damaged)
