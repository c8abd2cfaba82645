"""A slice of ``tests.sweep.importing``: a few models of each kind; and that it can fail."""

from functools import partial

import numpy as np
import onnx
import pytest

from graph_analysis.testing import HARD_CASES
from tests.sweep.disguises import disguised
from tests.sweep.equality import Judge
from tests.sweep.exports import exported
from tests.sweep.float_kinds import FLOAT_KINDS, in_float_kind
from tests.sweep.imported_model import CHECKS, examine
from tests.sweep.importing_sources import package_files, sources

HARD = ("residual_add", "shared_conv_reused", "tied_embedding_lm_head", "swin_window_partition",
        "lstm_1layer", "separate_qkv_heads")  # fmt: skip
EXPORTED = ("learned_states__script", "relative_attention__dynamo", "sliced_weights__script_free",
            "standardised__script_training")  # fmt: skip
CASES = {
    **{f"hard {name}": HARD_CASES[name] for name in HARD},
    **{f"disguised {name}": partial(disguised, HARD_CASES[name]()) for name in HARD[1:4]},
    **{f"torch {name}": partial(exported, name) for name in EXPORTED},
    **{
        f"{kind} layernorm_mlp": partial(
            in_float_kind, HARD_CASES["layernorm_mlp"](), FLOAT_KINDS[kind]
        )
        for kind in ("half", "double")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_right_in_everything(name: str) -> None:
    found = examine(CASES[name]())
    assert found["failures"] == []
    assert found["outcome"] == "right"
    assert found["weights"] > 0


def test_what_the_importer_does_not_know_is_refused_with_its_reason() -> None:
    model = HARD_CASES["flatten_fc"]()
    model.graph.node[0].op_type = "Unheard"
    found = examine(model)
    assert found["outcome"] == "refused"
    assert "Unheard" in found["reason"]


def test_a_difference_above_rounding_is_seen() -> None:
    model = HARD_CASES["flatten_fc"]()
    judge = Judge(model)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    exact = np.full((2, 3), 1.0, np.float32)
    assert judge.differences({"y": exact + np.float32(1e-7)}, {"y": exact}, feeds) == []
    assert judge.differences({"y": exact[:1]}, {"y": exact}, feeds)
    assert judge.differences({"y": exact > 2}, {"y": exact}, feeds)


def test_every_kind_of_source_is_there() -> None:
    names = [name for name, _ in sources()]
    assert {name.split("/")[0] for name in names} >= {
        "hard", "onnx", "torch", "half", "bfloat16", "double", "disguised"
    }  # fmt: skip
    assert len(names) == len(set(names))
    assert len(list(package_files())) > 100
    assert len(CHECKS) == 8


def test_a_disguise_keeps_inputs_outputs_and_the_number_of_weights() -> None:
    model = HARD_CASES["residual_add"]()
    other = disguised(model)
    assert [info.name for info in other.graph.input] == [info.name for info in model.graph.input]
    assert not any(node.name for node in other.graph.node)
    constants = sum(node.op_type == "Constant" for node in other.graph.node)
    assert len(other.graph.initializer) + constants == len(model.graph.initializer)
    onnx.checker.check_model(other)
