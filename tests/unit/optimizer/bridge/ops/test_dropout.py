import numpy as np
import pytest
import torch

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    one_node,
    run_imported,
    run_ort,
)

RATIO = np.asarray(np.float32(0.25))


@pytest.mark.parametrize("opset", [7, 10, 13])
@pytest.mark.parametrize("outputs", [1, 2])
def test_dropout_does_nothing_in_evaluation_and_drops_in_training(opset: int, outputs: int) -> None:
    x = floats(50, 50)
    given = [RATIO] if opset >= 12 else []
    named = {} if given else {"ratio": 0.25}
    model, feeds = one_node(
        "Dropout",
        [x, *given],
        constant=range(1, 1 + len(given)),
        opset=opset,
        outputs=outputs,
        **named,
    )
    imported = import_model(model)
    results = run_imported(imported, feeds)
    assert_same(results[:1], [x])
    assert_same(results, run_ort(model, feeds))
    torch.manual_seed(0)
    found = imported.module.train()(torch.from_numpy(x))
    dropped = found[0] if outputs == 2 else found
    zeros = (dropped == 0).float().mean().item()
    assert 0.2 < zeros < 0.3
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], torch.from_numpy(x)[kept] / 0.75)
    if outputs == 2:
        assert torch.equal(found[1].bool(), kept)
