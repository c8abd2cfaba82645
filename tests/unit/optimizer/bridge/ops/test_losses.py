import numpy as np
import pytest
import torch

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, one_node, run_imported

LABELS = np.array([1, 0, 2, 1])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, 1])
def test_losses_are_torchs(reduction: str, weighted: bool, ignored: int | None) -> None:
    scores = floats(4, 3)
    weight = [np.array([0.5, 1, 2], np.float32)] if weighted else []
    named = {} if ignored is None else {"ignore_index": ignored}
    inputs = [scores, LABELS, *weight]
    model, feeds = one_node(
        "SoftmaxCrossEntropyLoss", inputs, outputs=2, reduction=reduction, **named
    )
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(scores),
        torch.from_numpy(LABELS),
        torch.from_numpy(weight[0]) if weighted else None,
        reduction=reduction,
        **named,
    ).numpy()
    found, probabilities = run_imported(import_model(model), feeds)
    assert_same([found], [expected])
    model, feeds = one_node(
        "NegativeLogLikelihoodLoss", [probabilities, *inputs[1:]], reduction=reduction, **named
    )
    assert_same(run_imported(import_model(model), feeds), [expected])
