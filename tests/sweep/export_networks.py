"""Small networks with the parts that exporters write in many ways; each is made with its inputs."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Made: TypeAlias = tuple[nn.Module, tuple[Tensor, ...]]


class Recurrent(nn.Module):
    """An embedding, a recurrent layer in one of its forms, the last step into a Linear."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.layer = layer
        self.head = nn.Linear(width, 3)

    def forward(self, ids: Tensor) -> Tensor:
        batch_first = self.layer.batch_first
        x = self.embed(ids)
        y, _ = self.layer(x if batch_first else x.transpose(0, 1))
        return self.head(y[:, -1] if batch_first else y[-1])


class LearnedStates(nn.Module):
    """An LSTM that starts from learned states."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(5, 6, batch_first=True)
        self.hidden = nn.Parameter(torch.randn(1, 1, 6))
        self.cell = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden.expand(-1, x.shape[0], -1).contiguous()
        cell = self.cell.expand(-1, x.shape[0], -1).contiguous()
        return self.layer(x, (hidden, cell))[0]


class RelativeAttention(nn.Module):
    """Window attention with a table of relative positions, a class token and layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.table = nn.Parameter(torch.randn(9, 2))
        index = torch.arange(5)[:, None] - torch.arange(5)[None, :] + 4
        self.register_buffer("index", index)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.scale = nn.Parameter(torch.full((16,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        batch, length, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, length, 3, 2, 8).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(5, 5, 2).permute(2, 0, 1)
        scores = qkv[0] @ qkv[1].transpose(-1, -2) / 8**0.5 + bias
        y = (scores.softmax(-1) @ qkv[2]).transpose(1, 2).reshape(batch, length, width)
        return (x + self.scale * self.out(y))[:, 0]


class CausalDecoder(nn.Module):
    """Tokens with tied embeddings, positions by sine and learned, a causal mask, rotation."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(13, 16)
        self.position = nn.Embedding(32, 16)
        angles = torch.arange(32)[:, None] * (1 / 100 ** (torch.arange(4) / 4))
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())
        self.norm = nn.LayerNorm(16)
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16, bias=False) for _ in range(4))

    def rotated(self, x: Tensor) -> Tensor:
        cosine, sine = self.cosine[: x.shape[2]], self.sine[: x.shape[2]]
        left, right = x.chunk(2, -1)
        return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.embed(ids) + self.position(torch.arange(length, device=ids.device))
        y = self.norm(x)
        q, k, v = (
            layer(y).view(batch, length, 2, 8).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(
            self.rotated(q), self.rotated(k), v, is_causal=True
        )
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, length, 16))
        return x @ self.embed.weight.t()


class Standardised(nn.Module):
    """A convolution whose weight is standardised in the graph, one with weight normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.gain = nn.Parameter(torch.ones(8, 1, 1, 1))
        self.second = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.first.weight
        mean = weight.mean((1, 2, 3), keepdim=True)
        deviation = weight.var((1, 2, 3), keepdim=True, unbiased=False)
        weight = (weight - mean) / (deviation + 1e-5).sqrt() * self.gain
        return self.second(functional.relu(functional.conv2d(x, weight, self.first.bias)))


class SlicedWeights(nn.Module):
    """Weights that are read through Slice, Split, Concat, Reshape and Transpose, and twice."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = nn.Parameter(torch.randn(24, 8))
        self.left = nn.Parameter(torch.randn(4, 8))
        self.right = nn.Parameter(torch.randn(4, 8))
        self.flat = nn.Parameter(torch.randn(64))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.packed.chunk(3)
        joined = torch.cat([self.left, self.right])
        y = functional.linear(x, first) * torch.sigmoid(functional.linear(x, second[:8]))
        y = functional.linear(functional.silu(y), joined) @ third.t()
        return y @ self.flat.view(8, 8) + x @ joined


class Convolutions(nn.Module):
    """Every kind of convolution, and resizing in between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, padding_mode="reflect")
        self.norm = nn.GroupNorm(2, 8)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=2, groups=8, dilation=2)
        self.prelu = nn.PReLU(16)
        self.up = nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1, groups=2)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.depthwise(functional.gelu(self.norm(self.stem(x)))))
        y = self.instance(self.up(y))
        y = functional.interpolate(y, scale_factor=0.5, mode="bilinear", align_corners=True)
        y = (
            functional.interpolate(y, size=(9, 7), mode="bicubic")
            + functional.pad(y, (0,) * 4)[:, :, :1, :1]
        )
        return functional.pixel_shuffle(self.last(functional.hardswish(y)), 2)


class Pooled(nn.Module):
    """BatchNorms that stay, pools of all kinds, a squeeze gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, 5))
        nn.init.uniform_(self.norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.norm(self.conv(x)))
        y = y * torch.sigmoid(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))
        pooled = [
            functional.max_pool2d(y, 3, 2, 1, ceil_mode=True).amax((2, 3)),
            functional.avg_pool2d(y, 2, 1, count_include_pad=False).mean((2, 3)),
            functional.lp_pool2d(y.abs() + 0.1, 2, 2).flatten(2).sum(-1),
        ]
        return self.head(torch.cat(pooled, 1))


class Encoder(nn.Module):
    """PyTorch's own transformer layer with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True, norm_first=True)
        self.gain = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        bias = (1 - keep[:, None, None, :]) * -1e4
        bias = bias.expand(-1, 2, x.shape[1], -1).reshape(-1, x.shape[1], x.shape[1])
        y = self.layer(x, src_mask=bias)
        return y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6) * self.gain


class Indexed(nn.Module):
    """Scatter, gather, where, top-k, cumulative sums, einsum, clamp with tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.tensor = nn.Parameter(torch.randn(3, 4, 5))
        self.limit = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("bi,ij->bj", x, self.weight)
        values, indices = y.topk(3, -1)
        y = y.scatter(1, indices, values.cumsum(-1))
        y = torch.minimum(y, self.limit).masked_fill(y > 3, 0.5)
        z = torch.einsum("bj,kjl->bkl", y, self.tensor)
        return z.logsumexp(-1) + z.gather(2, indices[:, None, :].expand(-1, 3, -1)).sum(-1)


_LAYERS: Mapping[str, Callable[[], tuple[nn.Module, int]]] = {
    "lstm": lambda: (nn.LSTM(6, 8, batch_first=True), 8),
    "lstm_bidirectional": lambda: (nn.LSTM(6, 8, 2, bidirectional=True), 16),
    "gru": lambda: (nn.GRU(6, 8, 2, batch_first=True), 8),
    "gru_bidirectional": lambda: (nn.GRU(6, 8, bidirectional=True), 16),
    "rnn": lambda: (nn.RNN(6, 8, nonlinearity="relu", batch_first=True), 8),
}


def _recurrent(name: str) -> Made:
    return Recurrent(*_LAYERS[name]()), (torch.randint(0, 11, (2, 7)),)


NETWORKS: Mapping[str, Callable[[], Made]] = {
    **{name: (lambda name=name: _recurrent(name)) for name in _LAYERS},  # type: ignore[misc]
    "learned_states": lambda: (LearnedStates(), (torch.randn(2, 7, 5),)),
    "relative_attention": lambda: (RelativeAttention(), (torch.randn(2, 4, 16),)),
    "causal_decoder": lambda: (CausalDecoder(), (torch.randint(0, 13, (2, 6)),)),
    "standardised": lambda: (Standardised(), (torch.randn(2, 3, 9, 9),)),
    "sliced_weights": lambda: (SlicedWeights(), (torch.randn(2, 8),)),
    "convolutions": lambda: (Convolutions(), (torch.randn(2, 3, 12, 12),)),
    "pooled": lambda: (Pooled(), (torch.randn(2, 3, 9, 9),)),
    "encoder": lambda: (Encoder(), (torch.randn(2, 5, 16), torch.ones(2, 5))),
    "indexed": lambda: (Indexed(), (torch.randn(2, 6),)),
}
