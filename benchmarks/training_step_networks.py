"""The networks of ``benchmarks.training_step``, and their files from PyTorch's two exporters."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import onnx
import torch
from torch import nn
from torch.nn import functional

VOCABULARY = 30_522  # of BERT


@dataclass(frozen=True)
class Case:
    """One network: how it is built, and an input for a batch size."""

    build: Callable[[], nn.Module]
    example: Callable[[int], torch.Tensor]
    batch: int


class EncoderLayer(nn.Module):
    """A layer of BERT: separate projections, attention, two normalisations behind the sums."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, length, width)`` to the same."""
        parts = [
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        ]
        seen = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = self.first_norm(x + self.out(seen))
        return self.second_norm(x + self.narrow(functional.gelu(self.wide(x))))


class Encoder(nn.Module):
    """Token and position tables, layers, a classifier on the first token."""

    def __init__(self, layers: nn.Module, width: int = 768, length: int = 128) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.layers = layers
        self.head = nn.Linear(width, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """``(batch, length)`` to ``(batch, 10)``."""
        return self.head(self.layers(self.norm(self.tokens(ids) + self.positions))[:, 0])


def _bert() -> nn.Module:
    return Encoder(nn.Sequential(*(EncoderLayer(768, 12) for _ in range(2))))


def _stock_encoder() -> nn.Module:
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that neither exporter knows
    layer = nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True)
    return Encoder(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


def _vision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision  # only the peer's environment has it

        network: nn.Module = torchvision.models.get_model(name, weights=None)
        for parent in network.modules():  # its numbers would differ from step to step
            for child, module in parent.named_children():
                if isinstance(module, nn.Dropout):
                    setattr(parent, child, nn.Identity())
        return network

    return build


def _image(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 224, 224)


def _sentence(batch: int) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, 128))


CASES = {
    "resnet18": Case(_vision("resnet18"), _image, 4),
    "mobilenet_v2": Case(_vision("mobilenet_v2"), _image, 4),
    "densenet121": Case(_vision("densenet121"), _image, 2),
    "bert_2_layers": Case(_bert, _sentence, 4),
    "transformer_encoder_2_layers": Case(_stock_encoder, _sentence, 4),
}


def network(name: str) -> nn.Module:
    """Return a network with weights that no exporter finds equal and merges."""
    torch.manual_seed(0)
    built = CASES[name].build()
    for path, parameter in built.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0 if path.endswith("weight") else 0.0, 0.05)
        elif parameter.dim() == 2:  # layers of the stock encoder begin as copies of each other
            torch.nn.init.normal_(parameter, std=0.02)
    return built


def exported(built: nn.Module, name: str, exporter: str) -> onnx.ModelProto:
    """Return the file of an exporter; BatchNormalization stays, in evaluation form."""
    example = (CASES[name].example(2),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            program = torch.onnx.export(
                built.eval(), example, dynamo=True, opset_version=20, optimize=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
            )  # fmt: skip
            return program.model_proto
        buffer = io.BytesIO()
        torch.onnx.export(
            built.eval(), example, buffer, dynamo=False, opset_version=17, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}}, training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )  # fmt: skip
        return onnx.load_from_string(buffer.getvalue())
