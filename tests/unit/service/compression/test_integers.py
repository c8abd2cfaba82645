"""Models with some weights as integers: what training cannot remove is found before it starts."""

from pathlib import Path

import numpy as np
import pytest

from graph_analysis.errors import ModelError
from graph_analysis.testing import HARD_CASES
from service.compression import RunDirectory
from tests.unit.service.compression.runs import make_run, only, recipe, run_all

_SMALL = {"target_macs": 0.7, "epochs": 3, "batch_size": 8}


def _run(folder: Path, name: str) -> RunDirectory:
    model = HARD_CASES[name]()
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    samples = np.random.default_rng(0).standard_normal((64, *shape[1:])).astype(np.float32)
    return make_run(folder / "run", model, {"x_train": samples})


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("qdq_int8_weights", "--protect bias_12 --protect weight_2 --protect weight_9, or"),
        ("qdq_norm_over_channel", "keep them with --protect weight_0, or"),
    ],
)
def test_groups_of_integer_weights_are_refused_by_name(
    tmp_path: Path, name: str, kept: str
) -> None:
    run = _run(tmp_path, name)
    with pytest.raises(ModelError) as caught:
        only("prepare", run, recipe(**_SMALL))
    assert caught.value.code == "model-quantised"
    assert caught.value.exit_code == 2
    assert kept in str(caught.value)


def test_the_rest_is_compressed_without_them(tmp_path: Path) -> None:
    run = _run(tmp_path, "qdq_norm_over_channel")
    run_all(run, recipe(**_SMALL, protect=["weight_0"]))
    assert run.compressed.exists()


def test_float_weights_behind_integer_ones_are_enough(tmp_path: Path) -> None:
    run = _run(tmp_path, "qdq_uint8_weights")
    only("prepare", run, recipe(**_SMALL))
    assert run.space.exists()
