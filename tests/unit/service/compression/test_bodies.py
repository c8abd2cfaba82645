"""Models with If, Loop and Scan through the whole job: trained, cut and written back in bodies."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from graph_analysis.bodies import graphs_of
from graph_analysis.errors import SecateurError
from graph_analysis.testing import BATCH, HARD_CASES, GraphBuilder
from graph_analysis.testing.control_flow import BodyBuilder
from tests.unit.service.compression.runs import make_run, only, recipe, run_all

SETTINGS = {
    "target_macs": 0.7,
    "epochs": 8,  # or the best weights may be those before a rare branch was taken
    "batch_size": 16,
    "loss": "distillation",
    "multiple": 1,
}


def samples(model: onnx.ModelProto, count: int = 96) -> np.ndarray:
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(0).standard_normal((count, *sizes[1:])).astype(np.float32)


def weights_of_bodies(graph: onnx.GraphProto) -> list[np.ndarray]:
    """Matrices and kernels in bodies, outer bodies first."""
    bodies = [body for node in graph.node for _, body in graphs_of(node)]
    own = [numpy_helper.to_array(t) for b in bodies for t in b.initializer if len(t.dims) > 1]
    return own + [array for body in bodies for array in weights_of_bodies(body)]


@pytest.mark.parametrize(
    "name", ["if_conv_chains", "if_nested", "if_in_loop", "loop_stacks", "scan_rnn"]
)
def test_weights_of_bodies_are_trained_and_cut(tmp_path: Path, name: str) -> None:
    model = HARD_CASES[name]()
    run = make_run(tmp_path / "run", model, {"x_train": samples(model)})
    run_all(run, recipe(**SETTINGS))
    cut = onnx.load(run.compressed)
    onnx.checker.check_model(cut)
    assert json.loads(run.report.read_text())["ratios"]["macs"] <= 0.7
    before, after = weights_of_bodies(model.graph), weights_of_bodies(cut.graph)
    assert len(before) == len(after) > 0
    assert sum(array.size for array in after) < sum(array.size for array in before)
    for one, other in zip(before, after, strict=True):
        assert not np.isin(other, one).all()  # trained, and not only cut
    session = onnxruntime.InferenceSession(run.compressed, providers=["CPUExecutionProvider"])
    x = samples(model, 5)
    for found in session.run(None, {"x": x}):
        assert np.isfinite(found).all()


def with_sequence_map(*, weight_inside: bool) -> onnx.ModelProto:
    """Linear layers, and between them a SequenceMap over the tokens."""
    graph = GraphBuilder("with_sequence_map")
    x = graph.linear(graph.relu(graph.linear(graph.input((BATCH, 4, 12)), 12, 24)), 24, 16)
    parts = graph.node("SplitToSequence", x, axis=1, keepdims=0)
    body = BodyBuilder("body", seed=1)
    part = body.take("part")
    body.result(body.linear(part, 16, 16) if weight_inside else body.relu(part))
    mapped = graph.node("SequenceMap", parts, body=body.graph())
    joined = graph.node("ConcatFromSequence", mapped, axis=1, new_axis=1)
    graph.output(graph.linear(joined, 16, 5), (BATCH, 4, 5))
    return graph.build()


def test_a_body_that_is_left_whole_may_have_no_weights(tmp_path: Path) -> None:
    model = with_sequence_map(weight_inside=True)
    run = make_run(tmp_path / "run", model, {"x_train": samples(model)})
    with pytest.raises(SecateurError, match="the body of a 'SequenceMap' is not looked") as caught:
        only("prepare", run, recipe(**SETTINGS))
    assert caught.value.code == "model-subgraph"


def test_a_body_that_is_left_whole_may_do_anything_else(tmp_path: Path) -> None:
    model = with_sequence_map(weight_inside=False)
    run = make_run(tmp_path / "run", model, {"x_train": samples(model)})
    run_all(run, recipe(**SETTINGS))
    assert json.loads(run.report.read_text())["ratios"]["macs"] <= 0.7
