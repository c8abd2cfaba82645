"""The three networks, trained from nothing once, and their ONNX files.

Small enough that a run takes well under a minute on one core, each with what its kind is known for:
skip connections that tie channels together, depthwise convolutions, attention heads.
"""

import copy
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.data import NUM_CLASSES, SIZE

PRETRAIN_EPOCHS, BATCH = 24, 64


def _conv_norm(num_in: int, num_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Module:
    conv = nn.Conv2d(num_in, num_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(num_out))


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip connection."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_norm(num_in, num_out, 3, stride)
        self.second = _conv_norm(num_out, num_out, 3)
        has_skip = stride != 1 or num_in != num_out
        self.skip = _conv_norm(num_in, num_out, 1, stride) if has_skip else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.skip(x))


class InvertedBlock(nn.Module):
    """MobileNet-V2's: wide, depthwise, narrow; a skip connection where the shape stays."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        wide = 4 * num_in
        self.expand = _conv_norm(num_in, wide, 1)
        self.depthwise = _conv_norm(wide, wide, 3, stride, groups=wide)
        self.project = _conv_norm(wide, num_out, 1)
        self.has_skip = stride == 1 and num_in == num_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        hidden = torch.relu(self.depthwise(torch.relu(self.expand(x))))
        return self.project(hidden) + x if self.has_skip else self.project(hidden)


class Pooled(nn.Module):
    """A trunk of convolutions, pooled and classified."""

    def __init__(self, *trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*trunk)
        self.head = nn.Linear(width, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, 28, 28) to class scores (N, 10)."""
        return self.head(self.trunk(images).mean((2, 3)))


class Attention(nn.Module):
    """Multi-head attention with separate projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) to the same."""
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Attention, then two layers per token; normalised in front of each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) to the same."""
        x = x + self.attention(self.first_norm(x))
        return x + self.narrow(functional.gelu(self.wide(self.second_norm(x))))


class ViT(nn.Module):
    """Patches of 4x4, three layers, the mean over the tokens classified."""

    def __init__(self, num_in: int, width: int = 48, heads: int = 4, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(num_in, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, (SIZE // 4) ** 2, width) * 0.02)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, 28, 28) to class scores (N, 10)."""
        x = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.layers(x)).mean(1))


def _resnet(num_in: int) -> nn.Module:
    sizes = [(16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    blocks = [ResidualBlock(*size) for size in sizes]
    return Pooled(_conv_norm(num_in, 16, 3, 2), nn.ReLU(), *blocks, width=64)


def _mobilenet(num_in: int) -> nn.Module:
    sizes = [(16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1)]
    blocks = [InvertedBlock(*size) for size in sizes]
    last = (_conv_norm(40, 96, 1), nn.ReLU())
    return Pooled(_conv_norm(num_in, 16, 3, 2), nn.ReLU(), *blocks, *last, width=96)


NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "resnet14": _resnet,
    "mobilenet": _mobilenet,
    "vit": ViT,
}
OPTIMIZERS = {"resnet14": "sgd", "mobilenet": "sgd", "vit": "adamw"}


def pretrained(
    name: str, data: str, arrays: Mapping[str, npt.NDArray[np.generic]], cache: Path
) -> nn.Module:
    """The network ``name`` trained on the training images of ``data``; from ``cache`` if there."""
    torch.manual_seed(7)
    network, stored = NETWORKS[name](arrays["x_train"].shape[1]), cache / f"{name}-{data}.npz"
    if not stored.exists():
        _trained(network, arrays, is_sgd=OPTIMIZERS[name] == "sgd")
        np.savez(stored, **{key: tensor.numpy() for key, tensor in network.state_dict().items()})
    with np.load(stored) as state:
        network.load_state_dict({key: torch.from_numpy(state[key]) for key in state})
    return network.eval()


def _trained(
    network: nn.Module, arrays: Mapping[str, npt.NDArray[np.generic]], *, is_sgd: bool
) -> None:
    """One cycle with flips and shifts."""
    rng, peak = np.random.default_rng(7), 0.2 if is_sgd else 2e-3
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    if is_sgd:
        optimizer = torch.optim.SGD(
            network.parameters(), lr=peak, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
    x, y = (torch.from_numpy(np.array(arrays[key])) for key in ("x_train", "y_train"))
    per_epoch = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak, total_steps=PRETRAIN_EPOCHS * per_epoch
    )
    for _ in range(PRETRAIN_EPOCHS):
        order = torch.from_numpy(rng.permutation(len(x)))
        for start in range(0, per_epoch * BATCH, BATCH):
            chosen = order[start : start + BATCH]
            images = shifted(x[chosen], rng)
            optimizer.zero_grad()
            functional.cross_entropy(network.train()(images), y[chosen]).backward()
            optimizer.step()
            schedule.step()


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image moved by up to 2 pixels, every second one mirrored: (N, C, H, W) to the same."""
    num, channels, height, width = images.shape
    padded = functional.pad(images, (2, 2, 2, 2))
    down, right = (torch.from_numpy(rng.integers(0, 5, num)) for _ in range(2))
    mirrored = torch.from_numpy(rng.random(num) < 0.5)
    rows = down[:, None] + torch.arange(height)
    columns = torch.arange(width).expand(num, width)
    columns = right[:, None] + torch.where(mirrored[:, None], columns.flip(1), columns)
    image, channel = torch.arange(num)[:, None, None, None], torch.arange(channels)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


@torch.no_grad()
def macs_of(network: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates per sample of convolutions, linear layers and attention.

    Counted while it runs, since that is quick enough for a bisection; the files are counted by
    ``graph_analysis``, which counts the same.
    """
    found: list[int] = []

    def count(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if isinstance(module, Attention):  # scores, and their sum over the values
            width = module.query.out_features + module.value.out_features
            found.append(len(given[0]) * given[0].shape[1] ** 2 * width)
        elif isinstance(module, nn.Conv2d):
            found.append(made.numel() * module.weight[0].numel())
        elif isinstance(module, nn.Linear):
            found.append(made.numel() * module.in_features)

    hooks = [part.register_forward_hook(count) for part in network.modules()]
    network(example)
    for hook in hooks:
        hook.remove()
    return sum(found) // len(example)


def exported(network: nn.Module, num_in: int) -> onnx.ModelProto:
    """The ONNX file of ``network`` with a free batch; its BatchNorms stay nodes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            copy.deepcopy(network).eval(),
            (torch.zeros(2, num_in, SIZE, SIZE),),
            buffer,
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes={"images": {0: "n"}, "scores": {0: "n"}},
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return onnx.load_from_string(buffer.getvalue())
