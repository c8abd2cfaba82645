"""Everything a file says beside its numbers is still said after a cut, bodies included."""

from collections.abc import Iterator

import onnx
import pytest

from benchmarks.lost import lost
from exporters.draft import bodies
from exporters.surgeon import shrink
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.solution import Solution
from graph_analysis.solving import solve
from graph_analysis.testing import HARD_CASES
from tests.integration.golden import analysis_of


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs_of(body)


def talkative(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with doc strings, metadata and annotations wherever there is a place for them."""
    model.producer_name, model.producer_version = "talker", "1.2"
    model.domain, model.model_version, model.doc_string = "some.where", 7, "of the model"
    model.metadata_props.add(key="author", value="somebody")
    inferred = onnx.shape_inference.infer_shapes(model)
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.graph.value_info)
    number = 0
    for graph in graphs_of(model.graph):
        entries = (graph, *graph.node, *graph.initializer, *graph.input, *graph.output)
        for entry in (*entries, *graph.value_info):
            number += 1
            entry.doc_string = f"doc {number}"
            del entry.metadata_props[:]
            entry.metadata_props.add(key="number", value=str(number))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    first = next(name for node in model.graph.node for name in node.input if name in weights)
    declared = onnx.helper.make_tensor_value_info(
        first, weights[first].data_type, weights[first].dims
    )
    declared.doc_string = "an initializer that may be fed"
    model.graph.input.append(declared)
    annotation = model.graph.quantization_annotation.add(tensor_name=model.graph.output[0].name)
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=first)
    return model


@pytest.mark.parametrize("name", HARD_CASES)
def test_a_cut_file_says_all_that_the_file_said(name: str) -> None:
    model = talkative(HARD_CASES[name]())
    analysis = analysis_of(model)
    try:
        solution = solve(analysis, target_ratio=0.6, saliency="random", seed=2)
    except TargetUnreachableError:
        solution = Solution.of(analysis.space, {})
    assert lost(model, shrink(analysis, solution)) == []


def test_what_is_missing_is_named() -> None:
    model = talkative(HARD_CASES["if_conv_chains"]())
    broken = onnx.ModelProto.FromString(model.SerializeToString())
    assert lost(model, broken) == []
    broken.model_version = 8
    broken.graph.node[0].doc_string = ""
    del broken.graph.value_info[:]
    del broken.graph.quantization_annotation[:]
    broken.graph.initializer[0].ClearField("metadata_props")
    next(g for g in graphs_of(broken.graph) if g is not broken.graph).doc_string = ""
    found = "; ".join(lost(model, broken))
    for part in ("model_version", "doc string of node", "value info of", "quantisation annotation",
                 "metadata of initializer", "doc string of the body"):  # fmt: skip
        assert part in found
