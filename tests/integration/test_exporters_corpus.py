"""Real exporters' files: solve, cut, prove. Skipped where the corpus is not beside the checkout."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from graph_analysis.solving import solve

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
README = (CORPUS / "README.md").read_text() if CORPUS.is_dir() else ""
FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.BFLOAT16,
)
QUICK = {
    "c_conv1d__dynamo20",
    "c_dcgan__legacy17dyn",
    "c_unet__legacy17dyn",
    "c_yolo__legacy17dyn",
    "hf_vit__legacy17dyn",
    "keras_cnn__op13",
}
FILES = [
    pytest.param(path, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for path in sorted(CORPUS.glob("*.onnx.xz"))
    for name in [path.name.removesuffix(".onnx.xz")]
]
RECURRENT = ("gru", "lstm")

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus beside the checkout")


def analysis_of(path: Path) -> Analysis:
    spec = importlib.util.spec_from_file_location("corpus_load", CORPUS / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return analyze(load_model(module.load(path).SerializeToString()))


@pytest.mark.parametrize("path", FILES)
def test_nothing_removed_is_the_working_copy(path: Path) -> None:
    analysis = analysis_of(path)
    expected = onnx.ModelProto()
    expected.CopyFrom(analysis.loaded.model)
    for node in expected.graph.node:
        if node.name in analysis.loaded.generated_names:
            node.ClearField("name")
    copies = analysis.loaded.copies
    for node in expected.graph.node:
        node.input[:] = [copies.get(name, name) for name in node.input]
    kept = [tensor for tensor in expected.graph.initializer if tensor.name not in copies]
    del expected.graph.initializer[:]
    expected.graph.initializer.extend(kept)
    assert shrink(analysis, Solution.of(analysis.space, {})) == expected


def floors() -> dict[str, float]:
    """Share of float weights that can be cut, from the corpus's own table."""
    rows = re.findall(r"^\| (\w+__\w+) \| [\d,]+ \| (\d\.\d+) \|", README, flags=re.MULTILINE)
    return {name: float(share) for name, share in rows}


@pytest.mark.parametrize("path", FILES)
def test_no_less_can_be_cut_than_the_floor(path: Path) -> None:
    analysis = analysis_of(path)
    covered = {
        tensor.name: np.zeros(tuple(tensor.dims), bool)
        for tensor in analysis.loaded.model.graph.initializer
        if tensor.dims and tensor.data_type in FLOATS and tensor.name not in analysis.loaded.copies
    }
    for group in analysis.space.groups:
        for slices in group.cut if group.kind is not GroupKind.OPERATOR else ():
            if slices.initializer in covered:
                along = np.moveaxis(covered[slices.initializer], slices.axis, 0)
                along[[index for unit in slices.unit_indices for index in unit]] = True
    share = sum(found.sum() for found in covered.values()) / sum(x.size for x in covered.values())
    assert round(float(share), 3) >= floors()[path.name.removesuffix(".onnx.xz")]


@pytest.mark.parametrize("saliency", ["magnitude", "random"])
@pytest.mark.parametrize("path", FILES)
def test_the_cut_file_is_proved_and_costs_what_was_predicted(path: Path, saliency: str) -> None:
    analysis = analysis_of(path)
    try:
        solution = solve(analysis, target_ratio=0.6, saliency=saliency)
    except TargetUnreachableError:
        assert any(word in path.name for word in RECURRENT), (
            "only recurrent networks may stay whole"
        )
        return
    cut = shrink(analysis, solution)
    proof = prove(
        mask(analysis, solution),
        cut,
        original=analysis.loaded.model,
        shapes=analysis.effects(Solution.of(analysis.space, {})).shapes,
        keep=analysis.effects(solution).keep,
    )
    assert proof.inner_tensors > 0
    if "17dyn" in path.name:
        assert {1, 3} <= set(proof.batch_sizes)
    again = analyze(load_model(cut.SerializeToString()))
    nothing = Solution.of(again.space, {})
    assert again.macs(nothing) == analysis.macs(solution)
    assert again.parameters(nothing) == analysis.parameters(solution)


@pytest.mark.parametrize("path", FILES)
def test_activation_memory_is_what_the_cut_file_counts(path: Path) -> None:
    analysis = analysis_of(path)
    try:
        solution = solve(analysis, target_ratio=0.5, saliency="random", seed=1)
    except TargetUnreachableError as error:
        solution = solve(analysis, target_ratio=(1 + error.reachable_ratio) / 2)
    cut = load_model(shrink(analysis, solution).SerializeToString())
    again = analyze(cut, options=analysis.options)
    counted = again.activation_bytes(Solution.of(again.space, {}))
    predicted = analysis.activation_bytes(solution)
    assert (predicted.total, predicted.peak) == (counted.total, counted.peak)
    assert len(predicted.unknown) == len(counted.unknown)
