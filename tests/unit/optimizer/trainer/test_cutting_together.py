"""Cutting beside settings that change what runs, or what the weights begin with."""

import numpy as np
import pytest

from optimizer.trainer import Arrays
from tests.unit.optimizer.trainer import test_cutting
from tests.unit.optimizer.trainer.test_cutting import ROUNDING, Run

CLASSES = 10


def labelled(shape: list[int], count: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, *shape)).astype(np.float32)
    return Arrays(inputs={"x": x}, labels=rng.integers(0, CLASSES, count))


@pytest.mark.parametrize("name", ["residual_normalised", "dense_block", "if_conv_chains"])
def test_what_a_cut_module_calls_can_be_computed_again(name: str) -> None:
    cut = Run(name, checkpointing=3)
    whole = Run(name, checkpointing=3, cut_during_training=False)
    assert [code for code in cut.codes if code != "renormalised"] == ["cut", "cut"]
    assert np.allclose(cut.losses, whole.losses, rtol=ROUNDING, atol=ROUNDING * max(whole.losses))


def test_statistics_that_begin_anew_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_cutting, "samples", labelled)
    settings = {"start": "scratch", "loss": "cross-entropy"}
    cut = Run("residual_normalised", **settings)
    whole = Run("residual_normalised", **settings, cut_during_training=False)
    assert cut.codes == ["from-scratch", "cut", "cut"]
    assert np.allclose(cut.losses, whole.losses, rtol=ROUNDING, atol=ROUNDING * max(whole.losses))
