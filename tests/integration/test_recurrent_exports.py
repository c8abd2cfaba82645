"""Recurrent networks as PyTorch exports them: everything can be cut, and cut equals masked."""

import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporters.masked import mask
from exporters.surgeon import shrink
from graph_analysis.findings import covered_ratio
from graph_analysis.solving import solve
from tests.integration.golden import analysis_of, assert_equal, nothing_removed, random_solution

KINDS = {
    "lstm": (lambda: nn.LSTM(12, 8, 2, bidirectional=True, batch_first=True), 16),
    "gru": (lambda: nn.GRU(12, 8, 2, batch_first=True), 8),
    "rnn": (lambda: nn.RNN(12, 8, bidirectional=True, batch_first=True), 16),
}
FORMS = {
    "torchscript": {"dynamo": False, "opset_version": 17},
    "torchscript unfolded": {"dynamo": False, "opset_version": 17, "do_constant_folding": False},
    "dynamo": {"dynamo": True, "opset_version": 20, "verbose": False},
}


class Classifier(nn.Module):
    """Linear, a recurrent layer, Linear on the last step, from learned states or from zeros."""

    def __init__(self, kind: str, *, learned: bool) -> None:
        super().__init__()
        make, width = KINDS[kind]
        self.first = nn.Linear(5, 12)
        self.layer = make()
        self.last = nn.Linear(width, 3)
        count = self.layer.num_layers * (1 + self.layer.bidirectional)
        states = 2 if kind == "lstm" else 1
        self.states = nn.ParameterList(torch.randn(count, 1, 8) for _ in range(states * learned))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [state.expand(-1, x.shape[0], -1).contiguous() for state in self.states]
        start = None if not states else tuple(states) if len(states) > 1 else states[0]
        y, _ = self.layer(self.first(x), start)
        return self.last(y[:, -1])


def exported(kind: str, form: str, *, learned: bool) -> onnx.ModelProto:
    torch.manual_seed(0)
    network, x = Classifier(kind, learned=learned).eval(), torch.randn(2, 6, 5)
    settings = dict(FORMS[form])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.onnx warns about itself
        if settings["dynamo"]:
            shapes = ({0: torch.export.Dim("batch")},)
            return torch.onnx.export(  # noqa: TID251 - the tests need models from real exporters
                network, (x,), dynamic_shapes=shapes, **settings
            ).model_proto
        buffer = io.BytesIO()
        axes = {"x": {0: "batch"}}
        torch.onnx.export(  # noqa: TID251
            network, (x,), buffer, input_names=["x"], dynamic_axes=axes, **settings
        )
    return onnx.load_from_string(buffer.getvalue())


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_exports_can_be_cut(kind: str, form: str, *, learned: bool) -> None:
    analysis = analysis_of(exported(kind, form, learned=learned))
    assert covered_ratio(analysis) > 0.95
    assert max(group.units for group in analysis.space.groups) == 12
    solutions = [random_solution(analysis, seed) for seed in range(3)]
    for solution in (*solutions, solve(analysis, target_ratio=0.5)):
        cut = shrink(analysis, solution)
        assert_equal(mask(analysis, solution), cut, solution.to_json())
        again = analysis_of(cut)
        assert again.macs(nothing_removed(again)) == analysis.macs(solution)
        assert again.parameters(nothing_removed(again)) == analysis.parameters(solution)
    assert np.isclose(analysis.macs(solution) / analysis.space.model.macs, 0.5, atol=0.1)
