"""Small networks as PyTorch exports them: the same outputs, gradients and running statistics."""

import io
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from optimizer.bridge.module import ImportedModule, import_model
from tests.unit.optimizer.bridge.onnx_models import assert_same, run_imported, run_ort


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, 4, 1)
        self.excite = nn.Conv2d(4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Convolutional(nn.Module):
    """Residual add, concat of branches, depthwise convolution, channel shuffle, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.gate = Gate(8)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + torch.nn.functional.silu(self.norm(self.depthwise(x)))
        x = self.pool(self.gate(x))
        x = torch.cat([self.left(x), self.right(x)], 1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        x = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Attending(nn.Module):
    """A transformer layer with a class token and a position table."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 7, 16))
        self.embed = nn.Embedding(11, 16)
        self.norm = nn.LayerNorm(16)
        self.mix = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.token.expand(ids.shape[0], -1, -1), self.embed(ids)], 1) + self.position
        batch, length, width = x.shape
        parts = self.mix(self.norm(x)).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        scores = (q @ k.transpose(-1, -2)) / 8**0.5
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))
        return (x + self.mlp(x))[:, 0]


class Recurrent(nn.Module):
    """Two bidirectional layers of an LSTM, then a GRU, read at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 12)
        self.lstm = nn.LSTM(12, 8, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(16, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x, _ = self.lstm(self.embed(ids))
        x, _ = self.gru(x)
        return self.head(x[:, -1])


def _example(kind: str, batch: int) -> torch.Tensor:
    torch.manual_seed(batch)
    if kind == "convolutional":
        return torch.randn(batch, 3, 9, 9)
    return torch.randint(0, 11, (batch, 6))


NETWORKS = {"convolutional": Convolutional, "attending": Attending, "recurrent": Recurrent}


def _network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network


@pytest.fixture(autouse=True)
def _quiet_exporters() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.onnx warns about itself
        yield


def _exported(network: nn.Module, kind: str, exporter: str) -> onnx.ModelProto:
    """Export in training form, so that BatchNorm is still there."""
    buffer = io.BytesIO()
    example = (_example(kind, 2),)
    if exporter == "torchscript":
        torch.onnx.export(  # noqa: TID251 - the tests need models from real exporters
            network.eval(),
            example,
            buffer,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,  # noqa: TID251
            do_constant_folding=False,
        )
        return onnx.load_from_string(buffer.getvalue())
    program = torch.onnx.export(  # noqa: TID251
        network.eval(), example, dynamo=True, opset_version=20, optimize=False, verbose=False
    )
    return program.model_proto


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_outputs_gradients_and_statistics_are_the_networks_own(kind: str, exporter: str) -> None:
    network = _network(kind)
    model = _exported(network, kind, exporter)
    imported = import_model(model)
    x = _example(kind, 2)
    (name,) = imported.input_names
    assert_same(run_imported(imported, {name: x.numpy()}), run_ort(model, {name: x.numpy()}))
    other = _example(kind, 5)
    with torch.no_grad():
        expected = network(other).numpy()
    assert_same(run_imported(imported, {name: other.numpy()}), [expected])

    imported.module.train()(other).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in imported.module.parameters()
    )
    if exporter == "dynamo":  # the other one folds BatchNorms away, which changes training
        _assert_trains_like(imported, network, other)


def _assert_trains_like(imported: ImportedModule, network: nn.Module, x: torch.Tensor) -> None:
    """Compare after one backward pass of both."""
    network.train()(x).square().sum().backward()
    ours = imported.tensors
    parameters = dict(network.named_parameters())
    for path, parameter in parameters.items():
        if path in ours:
            assert parameter.grad is not None
            torch.testing.assert_close(ours[path].grad, parameter.grad, rtol=1e-3, atol=1e-4)
    assert len(parameters.keys() & ours.keys()) > len(parameters) / 2
    sizes = [parameter.numel() for parameter in parameters.values()]
    assert sum(parameter.numel() for parameter in imported.module.parameters()) == sum(sizes)
    for path, buffer in network.named_buffers():
        if path.endswith(("running_mean", "running_var")):
            np.testing.assert_allclose(imported.weights()[path], buffer.numpy(), rtol=1e-4)
