"""Every hard case as a training module: cut equals zeroed, in both forms and in its gradients."""

import pytest

from graph_analysis.testing import HARD_CASES
from tests.sweep.cutting import LIMIT, case_of, differences, growing

NOT_TRAINABLE = {"dynamic_ranges", "qlinear_convolutions"}  # they compute with integers
LEFT_WHOLE = {
    # their integer weights have no zeros in training, so that cut is not the same as zeroed
    "qdq_int8_weights",
    "qdq_norm_over_channel",
    # the types behind a fused operator in its masked form are not known after a cut
    "embed_layer_normalization",
    "fused_encoder",
}


@pytest.mark.parametrize("name", sorted(set(HARD_CASES) - NOT_TRAINABLE - LEFT_WHOLE))
def test_a_cut_module_computes_what_the_zeroed_one_does(name: str) -> None:
    """Fails where a gradient goes to the wrong position, or a mask loses its axis."""
    case = case_of(HARD_CASES[name]().SerializeToString())
    if not case.analysis.space.groups:
        pytest.skip("nothing in it can go")
    for what, gap in differences(case, growing(case.analysis, 0)):
        assert gap <= LIMIT, what
