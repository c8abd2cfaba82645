"""The light models of the onnx package: solved, cut and proved, with and without weights stored."""

from pathlib import Path

import onnx
import pytest

from benchmarks.light import with_weights
from benchmarks.lost import lost
from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from graph_analysis.errors import TargetUnreachableError
from graph_analysis.solving import solve
from tests.integration.golden import analysis_of

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def prove_cut(model: onnx.ModelProto, share: float) -> float:
    """Solve, cut, prove; the share of the MACs that is left."""
    analysis = analysis_of(model)
    solution = solve(analysis, target_ratio=share, quantity="macs", saliency="magnitude")
    cut = shrink(analysis, solution)
    keep = analysis.effects(solution).keep
    prove(mask(analysis, solution), cut, original=analysis.loaded.model, keep=keep)
    assert lost(model, cut) == []
    return analysis.macs(solution) / analysis.space.model.macs


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_with_weights_stored_half_of_it_goes(name: str) -> None:
    model = with_weights(onnx.load(FOLDER / f"light_{name}.onnx"))
    assert prove_cut(model, 0.5) <= 0.5


def test_weights_that_are_made_while_it_runs_stay() -> None:
    with pytest.raises(TargetUnreachableError):
        prove_cut(onnx.load(FOLDER / "light_squeezenet.onnx"), 0.5)


def test_between_weights_that_are_made_what_is_silent_goes() -> None:
    """The BatchNormalizations have stored parameters, so some channels are exactly 0."""
    assert prove_cut(onnx.load(FOLDER / "light_shufflenet.onnx"), 0.5) <= 0.5
