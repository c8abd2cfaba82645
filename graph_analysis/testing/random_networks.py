"""Random small convolutional networks: chains of blocks that meet at all kinds of joints.

Every seed is another network; the same seed is always the same one. The blocks are few and plain,
their combinations are not: that is what property tests look for.
"""

from collections.abc import Callable

import numpy as np
import onnx

from graph_analysis.testing.builder import BATCH, GraphBuilder

WIDTHS = (4, 8, 12)  # all divisible by the four groups of a grouped convolution

Block = Callable[[GraphBuilder, np.random.Generator, str, int], tuple[str, int]]


def random_network(seed: int, *, blocks: int = 4) -> onnx.ModelProto:
    """A classifier of (N, 3, 8, 8) images made of ``blocks`` random blocks.

    Args:
        seed: Chooses blocks, widths and weights.
        blocks: Length of the chain of blocks, at least 0.
    """
    rng = np.random.default_rng(seed)
    graph = GraphBuilder(f"random_{seed}", seed=seed)
    width = int(rng.choice(WIDTHS))
    x = graph.relu(graph.conv(graph.input((BATCH, 3, 8, 8)), 3, width))
    for _ in range(blocks):
        block = BLOCKS[rng.integers(len(BLOCKS))]
        x, width = block(graph, rng, x, width)
    graph.classify(x, width)
    return graph.build()


def _chain(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    out = int(rng.choice(WIDTHS))
    return graph.relu(graph.conv_norm(x, width, out)), out


def _residual(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    inner = int(rng.choice(WIDTHS))
    branch = graph.conv_norm(graph.relu(graph.conv_norm(x, width, inner)), inner, width)
    return graph.relu(graph.node("Add", x, branch)), width


def _parallel(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    left, right = (int(out) for out in rng.choice(WIDTHS, size=2))
    parts = [graph.conv(x, width, left, kernel=1), graph.conv(x, width, right)]
    joined = graph.node("Concat", *parts, axis=1)
    return graph.relu(graph.batch_norm(joined, left + right)), left + right


def _dense(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    growth = int(rng.choice(WIDTHS))
    grown = graph.relu(graph.conv(x, width, growth))
    return graph.node("Concat", x, grown, axis=1), width + growth


def _depthwise(
    graph: GraphBuilder, rng: np.random.Generator, x: str, width: int
) -> tuple[str, int]:
    out = int(rng.choice(WIDTHS))
    y = graph.relu(graph.conv_norm(x, width, width, groups=width))
    return graph.conv(y, width, out, kernel=1), out


def _grouped(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    out = int(rng.choice(WIDTHS))
    return graph.relu(graph.conv(x, width, out, groups=4)), out


def _gated(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    inner = int(rng.choice(WIDTHS))
    squeezed = graph.relu(graph.conv(graph.node("GlobalAveragePool", x), width, inner, kernel=1))
    gate = graph.node("Sigmoid", graph.conv(squeezed, inner, width, kernel=1))
    return graph.node("Mul", x, gate), width


def _pooled(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    kind = ("MaxPool", "AveragePool")[rng.integers(2)]
    return graph.node(kind, x, kernel_shape=[3, 3], pads=[1] * 4), width


def _mixed(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    """Pool, trunk and a branch that is not 0 without its weights, in one Sum."""
    pool, _ = _pooled(graph, rng, x, width)
    branch = graph.node("Sigmoid", graph.conv(x, width, width))
    return graph.node("Sum", branch, pool, x), width


def _pyramid(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    out = int(rng.choice(WIDTHS))
    once, _ = _pooled(graph, rng, x, width)
    twice, _ = _pooled(graph, rng, once, width)
    joined = graph.node("Concat", x, once, twice, axis=1)
    return graph.relu(graph.conv(graph.batch_norm(joined, 3 * width), 3 * width, out)), out


def _nested(graph: GraphBuilder, rng: np.random.Generator, x: str, width: int) -> tuple[str, int]:
    inner = int(rng.choice(WIDTHS))
    branch, _ = _residual(graph, rng, graph.relu(graph.conv(x, width, inner)), inner)
    branch, made = _dense(graph, rng, branch, inner)
    return graph.node("Add", graph.conv(branch, made, width), x), width


def _two_scales(
    graph: GraphBuilder, rng: np.random.Generator, x: str, width: int
) -> tuple[str, int]:
    branch = graph.conv(x, width, width)
    fine = graph.relu(graph.node("Add", x, branch))
    pool, _ = _pooled(graph, rng, branch, width)
    return graph.node("Add", graph.conv(fine, width, width), pool), width


BLOCKS: tuple[Block, ...] = (
    _chain,
    _residual,
    _parallel,
    _dense,
    _depthwise,
    _grouped,
    _gated,
    _pooled,
    _mixed,
    _pyramid,
    _nested,
    _two_scales,
)
