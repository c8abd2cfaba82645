import numpy as np
import pytest

from graph_analysis.masking import MASK_DOC
from optimizer.bridge.fusion.attention import attend
from tests.unit.optimizer.bridge.fusion.patterns import assert_fused, assert_left, floats, network

WIDTH, HEADS, LENGTH = 8, 2, 5
X = floats(3, LENGTH, WIDTH)
WEIGHTS = {
    "wq": floats(WIDTH, WIDTH, seed=1),
    "wk": floats(WIDTH, WIDTH, seed=2),
    "wv": floats(WIDTH, WIDTH, seed=3),
}
SPLIT = {
    "split": np.array([0, LENGTH, HEADS, WIDTH // HEADS]),
    "flat": np.array([0, LENGTH, WIDTH]),
}
PROJECTED = """
a = MatMul(x, wq)
b = Reshape(a, split)
q = Transpose(b)
c = MatMul(x, wk)
d = Reshape(c, split)
k = Transpose(d)
e = MatMul(x, wv)
f = Reshape(e, split)
v = Transpose(f)
"""
END = "\np = Softmax(s)\no = MatMul(p, v)\nt = Transpose(o)\ny = Reshape(t, flat)"
ORDERS = {"q": {"perm": [0, 2, 1, 3]}, "k": {"perm": [0, 2, 3, 1]}, "v": {"perm": [0, 2, 1, 3]}}
ATTRIBUTES = ORDERS | {"t": {"perm": [0, 2, 1, 3]}, "p": {"axis": -1}}
CAUSAL = np.triu(np.full((LENGTH, LENGTH), -np.inf, np.float32), 1)


def heads(scores: str, end: str = END, **more: np.ndarray) -> object:
    extra = {name: array for name, array in more.items() if name not in SPLIT}
    lines = PROJECTED + scores + end
    return network(lines, ("n", LENGTH, WIDTH), WEIGHTS | SPLIT | extra, **ATTRIBUTES)


@pytest.mark.parametrize(
    "scores",
    [
        "s = MatMul(q, k)",
        "z = MatMul(q, k)\ns = Mul(z, 0.5)",
        "z = MatMul(q, k)\ns = Div(z, 2)",
        "h = Mul(q, 0.7)\ng = Mul(k, 0.7)\ns = MatMul(h, g)",
        "h = Div(q, 1.4)\ns = MatMul(h, k)",
    ],
)
def test_scaled_in_all_places(scores: str) -> None:
    assert_fused(heads(scores), X, attend)


@pytest.mark.parametrize(
    "mask",
    [
        CAUSAL,
        CAUSAL[None, None],
        np.maximum(CAUSAL, np.finfo(np.float32).min),
        floats(1, HEADS, LENGTH, LENGTH),
        floats(HEADS, LENGTH, LENGTH),
    ],
    ids=["causal", "four axes", "finite", "learned positions", "per head"],
)
@pytest.mark.parametrize("order", ["w, mask", "mask, w"])
def test_masks(mask: np.ndarray, order: str) -> None:
    scores = f"z = MatMul(q, k)\nw = Mul(z, 0.5)\ns = Add({order})"
    assert_fused(heads(scores, mask=mask), X, attend)


def test_three_axes() -> None:
    lines = "k = Transpose(x)\nz = MatMul(x, k)\ns = Mul(z, 0.3)\np = Softmax(s)\ny = MatMul(p, x)"
    model = network(lines, ("n", LENGTH, WIDTH), {}, k={"perm": [0, 2, 1]}, p={"axis": 2})
    assert_fused(model, X, attend)


def test_a_bias_by_distance() -> None:
    table, places = floats(9, HEADS, seed=5), np.arange(LENGTH)[:, None] - np.arange(LENGTH) + 4
    start = "r = Gather(table, places)\nj = Transpose(r)\nmask = Unsqueeze(j, axes)\n"
    lines = PROJECTED + start + "z = MatMul(q, k)\ns = Add(z, mask)" + END
    more = {"table": table, "places": places, "axes": np.array([0])}
    attributes = ATTRIBUTES | {"j": {"perm": [2, 0, 1]}}
    model = network(lines, ("n", LENGTH, WIDTH), WEIGHTS | SPLIT | more, **attributes)
    imported = assert_fused(model, X, attend)
    assert imported.tensors["table"].requires_grad


@pytest.mark.parametrize("hidden", ["-10000", "-3.4028235e38"])
def test_a_mask_for_padding_stays(hidden: str) -> None:
    start = "m = ReduceMean(x)\nl = Greater(m, 0)\nj = Unsqueeze(l, axes)\n"
    start += f"mask = Where(j, 0, {hidden})\n"
    lines = PROJECTED + start + "z = MatMul(q, k)\ns = Add(z, mask)" + END
    axes = {"axes": np.array([1, 2])}
    attributes = ATTRIBUTES | {"m": {"axes": [2], "keepdims": 0}}
    model = network(lines, ("n", LENGTH, WIDTH), WEIGHTS | SPLIT | axes, **attributes)
    assert_left(model, np.where(np.arange(3)[:, None, None] == 1, -np.abs(X), X), attend)


HIDDEN = np.zeros((LENGTH, LENGTH), np.float32)
HIDDEN[2] = -np.inf


@pytest.mark.parametrize(
    ("scores", "more"),
    [
        ("z = MatMul(q, k)\nw = Sigmoid(z)\ns = Mul(w, 0.5)", {}),
        ("z = MatMul(q, k)\nw = Add(z, mask)\ns = Mul(w, 0.5)", {"mask": CAUSAL.clip(-9)}),
        ("z = MatMul(q, k)\ns = Add(z, 1)", {}),
        ("z = MatMul(q, k)\ns = Mul(z, mask)", {"mask": floats(LENGTH, LENGTH)}),
        ("z = MatMul(q, k)\ns = Add(z, z)", {}),
    ],
    ids=["bent", "masked before scaled", "shifted", "weighted", "doubled"],
)
def test_other_scores_stay(scores: str, more: dict[str, np.ndarray]) -> None:
    assert_left(heads(scores, **more), X, attend)


@pytest.mark.parametrize("hidden", [-np.inf, -1e4, np.finfo(np.float32).min])
def test_a_row_that_sees_nothing_stays_what_it_was(hidden: float) -> None:
    mask = np.where(HIDDEN < 0, np.float32(hidden), HIDDEN)
    assert_left(heads("z = MatMul(q, k)\ns = Add(z, mask)", mask=mask), X, attend)


def test_the_masked_form_of_softmax_stays_and_takes_keys_away() -> None:
    mask = np.asarray([[1, 0, 1, 0.5, 1]], np.float32)
    model = heads("z = MatMul(q, k)\nh = Log(mask)\ns = Add(z, h)", mask=mask)
    for proto in model.graph.initializer:
        if proto.name == "mask":
            proto.doc_string = MASK_DOC
    assert_left(model, X, attend)


def test_weights_that_are_an_output_stay() -> None:
    lines = PROJECTED + "s = MatMul(q, k)" + END
    model = network(lines, ("n", LENGTH, WIDTH), WEIGHTS | SPLIT, outputs=("y", "p"), **ATTRIBUTES)
    assert_left(model, X, attend)


def test_softmax_over_queries_stays() -> None:
    lines = PROJECTED + "s = MatMul(q, k)" + END
    attributes = ATTRIBUTES | {"p": {"axis": 2}}
    assert_left(network(lines, ("n", LENGTH, WIDTH), WEIGHTS | SPLIT, **attributes), X, attend)


def test_keys_of_one_head_for_all_stay() -> None:
    lines = PROJECTED + "j = ReduceMean(k)\ns = MatMul(q, j)" + END
    attributes = ATTRIBUTES | {"j": {"axes": [1], "keepdims": 1}}
    assert_left(network(lines, ("n", LENGTH, WIDTH), WEIGHTS | SPLIT, **attributes), X, attend)


def test_weights_that_are_read_before_the_product_stay() -> None:
    lines = "k = Transpose(x)\ns = MatMul(x, k)\np = Softmax(s)\nr = Relu(p)\no = MatMul(p, x)\n"
    lines += "y = MatMul(r, o)"
    model = network(lines, ("n", LENGTH, WIDTH), {}, k={"perm": [0, 2, 1]}, p={"axis": 2})
    assert_left(model, X, attend)
