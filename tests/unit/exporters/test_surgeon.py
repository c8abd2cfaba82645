"""The surgeon as a whole: what it returns, what it leaves alone, what it refuses."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.errors import ProofFailedError, SurgeryError
from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from graph_analysis.errors import SolutionError
from graph_analysis.solution import Solution
from tests.unit.exporters import graphs


def cut_and_prove(analysis: graphs.FakeAnalysis) -> onnx.ModelProto:
    """The cut model, after its proof against the masked one."""
    masked = mask(analysis, analysis.solution)
    cut = shrink(analysis, analysis.solution)
    prove(masked, cut, original=analysis.loaded.model)
    return cut


def dims(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


@pytest.mark.parametrize("make", [graphs.residual_concat, graphs.erased_branch])
def test_cut_equals_masked_and_nothing_is_edited(make: Callable[[], graphs.FakeAnalysis]) -> None:
    analysis = make()
    before = analysis.loaded.model.SerializeToString(deterministic=True)

    cut = cut_and_prove(analysis)

    assert analysis.loaded.model.SerializeToString(deterministic=True) == before
    assert cut.ByteSize() < analysis.loaded.model.ByteSize()


def test_every_initializer_is_sliced_as_the_effects_say() -> None:
    cut = shrink(graphs.residual_concat(), graphs.residual_concat().solution)

    shapes = dims(cut)
    assert shapes["w0"] == (4, 3, 3, 3)
    assert shapes["w1"] == (2, 4, 1, 1)
    assert shapes["var4"] == (6,)
    assert shapes["wf"] == (5, 6)
    assert shapes["bf"] == (5,)


def test_erasing_takes_nodes_weights_and_the_joint_along() -> None:
    analysis = graphs.erased_branch()

    cut = shrink(analysis, analysis.solution)

    assert [node.name for node in cut.graph.node] == ["n_t", "n_r2", "n_c3", "n_k", "n_y"]
    assert list(cut.graph.node[3].input) == ["t", "c3"]
    assert set(dims(cut)) == {"w0", "b0", "w3", "b3", "w4", "b4"}


def test_trained_weights_are_written_before_the_cut() -> None:
    analysis = graphs.residual_concat()
    bias = np.arange(8, dtype=np.float32)

    cut = shrink(analysis, analysis.solution, {"b0": bias})
    masked = mask(analysis, analysis.solution, {"b0": bias})

    values = {t.name: numpy_helper.to_array(t) for t in cut.graph.initializer}
    assert values["b0"].tolist() == [0, 2, 3, 7]
    prove(masked, cut, original=analysis.loaded.model)


def test_a_solution_that_removes_nothing_changes_nothing() -> None:
    model = everything_at_once()
    analysis = graphs.analysis(model, runs=False)

    result = shrink(analysis, analysis.nothing)

    assert result == model
    assert result.SerializeToString() == model.SerializeToString()
    assert [t.name for t in result.graph.initializer] == [t.name for t in model.graph.initializer]


def test_generated_node_names_are_blanked_again() -> None:
    model = graphs.residual_concat().loaded.model
    analysis = graphs.analysis(model, generated=["n_c0", "n_a"])

    result = shrink(analysis, analysis.nothing)

    blank = [node.output[0] for node in result.graph.node if not node.name]
    assert blank == ["c0", "a"]


def test_metadata_survives_a_real_cut() -> None:
    analysis = graphs.residual_concat()
    model = analysis.loaded.model
    model.domain, model.model_version, model.doc_string = "ai.example", 7, "about"
    model.producer_name, model.producer_version = "someone", "1.2"
    model.metadata_props.add(key="k", value="v")
    model.graph.doc_string = "graph"
    model.graph.node[0].doc_string = "first"
    model.graph.node[0].metadata_props.add(key="scope", value="stem")
    model.graph.initializer[0].doc_string = "weight"
    model.graph.input[0].doc_string = "pixels"
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"

    cut = cut_and_prove(analysis)

    for part in ("domain", "model_version", "doc_string", "producer_name", "ir_version"):
        assert getattr(cut, part) == getattr(model, part)
    assert cut.metadata_props == model.metadata_props
    assert cut.opset_import == model.opset_import
    assert cut.graph.doc_string == "graph"
    assert cut.graph.node[0] == model.graph.node[0]
    assert cut.graph.initializer[0].doc_string == "weight"
    assert cut.graph.input == model.graph.input


def test_value_infos_tell_the_new_widths() -> None:
    analysis = graphs.residual_concat()
    model = analysis.loaded.model
    model.graph.value_info.extend(
        [
            helper.make_tensor_value_info("c1", TensorProto.FLOAT, ["n", 6, 8, 8]),
            helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 12, 1, 1]),
        ]
    )

    cut = shrink(analysis, analysis.solution)

    lengths = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in cut.graph.value_info
    }
    assert lengths == {"c1": ["n", 2, 8, 8], "p": ["n", 6, 1, 1]}


def test_what_names_an_erased_tensor_goes_with_it() -> None:
    analysis = graphs.erased_branch()
    graph = analysis.loaded.model.graph
    graph.value_info.append(helper.make_tensor_value_info("c2", TensorProto.FLOAT, None))
    graph.quantization_annotation.add(tensor_name="c2")
    graph.quantization_annotation.add(tensor_name="c3")

    cut = shrink(analysis, analysis.solution)

    assert not cut.graph.value_info
    assert [a.tensor_name for a in cut.graph.quantization_annotation] == ["c3"]


def test_an_initializer_that_is_also_an_input_is_cut_in_both_places() -> None:
    analysis = graphs.residual_concat()
    graph = analysis.loaded.model.graph
    graph.input.append(helper.make_tensor_value_info("b0", TensorProto.FLOAT, [8]))

    cut = shrink(analysis, analysis.solution)

    assert cut.graph.input[1].type.tensor_type.shape.dim[0].dim_value == 4


def test_a_solution_of_another_space_is_refused() -> None:
    analysis = graphs.residual_concat()
    with pytest.raises(SolutionError, match="solve again"):
        shrink(analysis, Solution(space="f" * 64, removed={}))


def test_an_invalid_solution_is_refused_with_the_violation() -> None:
    analysis = graphs.residual_concat()
    broken = graphs.FakeAnalysis(**{**vars(analysis), "broken": ("no path is left",)})
    with pytest.raises(SolutionError, match="not valid: no path is left"):
        shrink(broken, broken.solution)


def test_weights_that_do_not_fit_are_refused() -> None:
    analysis = graphs.residual_concat()
    with pytest.raises(SurgeryError, match=r"'b0' are float64\[8\], the model holds float32\[8\]"):
        shrink(analysis, analysis.solution, {"b0": np.zeros(8)})
    with pytest.raises(SurgeryError, match="'nope', which is no initializer"):
        shrink(analysis, analysis.solution, {"nope": np.zeros(8)})


def test_statistics_left_uncut_are_caught_by_the_shape_check() -> None:
    analysis = graphs.residual_concat()
    forgetful = {k: v for k, v in analysis.keep.items() if k not in ("m0", "var0")}
    broken = graphs.FakeAnalysis(**{**vars(analysis), "keep": forgetful})
    with pytest.raises(SurgeryError, match="not valid ONNX"):
        shrink(broken, broken.solution)


def test_a_bias_left_uncut_is_caught() -> None:
    analysis = graphs.residual_concat()
    forgetful = {k: v for k, v in analysis.keep.items() if k != "b1"}
    broken = graphs.FakeAnalysis(**{**vars(analysis), "keep": forgetful})
    with pytest.raises(ProofFailedError, match="the cut model does not run"):
        cut_and_prove(broken)


def test_a_prediction_that_does_not_come_true_is_caught() -> None:
    analysis = graphs.residual_concat()
    wrong = dict(analysis.keep) | {"r1": {1: [1, 2, 4]}}
    broken = graphs.FakeAnalysis(**{**vars(analysis), "keep": wrong})
    with pytest.raises(SurgeryError, match="'r1' has shape"):
        shrink(broken, broken.solution)


def test_a_sparse_weight_that_would_be_cut_is_refused() -> None:
    analysis = graphs.analysis(everything_at_once(), keep={"sparse": {0: [0]}}, runs=False)
    with pytest.raises(SurgeryError, match="sparse"):
        shrink(analysis, analysis.solution)


def everything_at_once() -> onnx.ModelProto:
    """Whatever a file may hold and graphsurgeon would lose, in one model."""
    branch = [
        helper.make_graph(
            [helper.make_node("Mul", ["x", "scale"], [f"m{i}"], name=f"mul{i}")],
            f"branch{i}",
            [],
            [helper.make_tensor_value_info(f"m{i}", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.float32(i), "inner_unused")],
        )
        for i in (0, 1)
    ]
    nodes = [
        helper.make_node("If", ["flag"], ["i"], name="if", then_branch=branch[0],
                         else_branch=branch[1]),
        helper.make_node("Own", ["i", ""], ["o"], name="own", domain="own.domain", level=3),
        helper.make_node("Twice", ["o"], ["t"], name="twice", domain="local"),
        helper.make_node("Cast", ["bf"], ["bf32"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Add", ["t", "bf32"], ["y"], name="add"),
        helper.make_node("Relu", ["x"], ["idle"], name="idle_node"),
    ]  # fmt: skip
    odd = [
        helper.make_tensor("bf", TensorProto.BFLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("f8", TensorProto.FLOAT8E4M3FN, [2], [1.0, 2.0]),
        helper.make_tensor("i4", TensorProto.INT4, [3], [1, -2, 3]),
        helper.make_tensor("words", TensorProto.STRING, [2], ["a", "b"]),
        helper.make_tensor("typed", TensorProto.FLOAT, [2], [1.0, 2.0]),
        numpy_helper.from_array(np.float32(2), "scale"),
    ]
    graph = helper.make_graph(
        nodes,
        "all",
        [
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        odd,
        doc_string="graph",
        value_info=[helper.make_tensor_value_info("i", TensorProto.FLOAT, ["n", 2])],
        sparse_initializer=[
            helper.make_sparse_tensor(
                helper.make_tensor("sparse", TensorProto.FLOAT, [1], [5.0]),
                helper.make_tensor("", TensorProto.INT64, [1], [1]),
                [3],
            )
        ],
    )
    graph.quantization_annotation.add(tensor_name="x")
    graph.metadata_props.add(key="g", value="1")
    graph.node[1].metadata_props.add(key="n", value="2")
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 21)],
    )  # fmt: skip
    model = helper.make_model(
        graph,
        opset_imports=[
            helper.make_opsetid("", 21),
            helper.make_opsetid("own.domain", 3),
            helper.make_opsetid("local", 1),
        ],
        functions=[twice],
        ir_version=10,
        producer_name="someone",
    )
    model.metadata_props.add(key="k", value="v")
    return model
