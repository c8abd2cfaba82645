import copy
import pickle  # noqa: TID251 - copies between processes, not files
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

from optimizer.bridge.module import import_model
from optimizer.bridge.slots import MICROSOFT
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_same,
    floats,
    one_node,
    run_imported,
    run_ort,
)

Inputs = list[np.ndarray | None]
ANGLES = np.arange(12)[:, None] * 10.0 ** -np.arange(8)
COSINES, SINES = np.cos(ANGLES).astype(np.float32), np.sin(ANGLES).astype(np.float32)
PLACES = np.array([[5, 1, 2, 3, 4], [0, 3, 1, 0, 7]])
QUERY, KEY, VALUE = floats(2, 5, 64), floats(2, 5, 32, seed=1), floats(2, 5, 32, seed=2)
FULL, RAGGED = (np.array(last, np.int32) for last in ([4, 4], [4, 2]))
FIVE, FOUR, EIGHT = (np.array(total, np.int32) for total in (5, 4, 8))
FIRST: Inputs = [QUERY, KEY, VALUE, None, None, FULL, FIVE]
RAGGED_FIRST: Inputs = [QUERY, KEY, VALUE, None, None, RAGGED, FIVE]
ADDED, SINKS = floats(2, 4, 5, 5, seed=9), floats(4, seed=7)
PACKED = np.concatenate([QUERY, KEY, VALUE], -1)
PAST = [floats(2, 2, 3, 16, seed=5), floats(2, 2, 3, 16, seed=6)]
WIDE_PAST = [np.pad(part, ((0, 0), (0, 0), (0, 5), (0, 0))) for part in PAST]
ONE: list[np.ndarray] = [part[:, :1].copy() for part in (QUERY, KEY, VALUE)]
SINGLE = [part[:1].copy() for part in (QUERY, KEY, VALUE)]


def _last(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def _compare(
    inputs: Inputs, valid: Sequence[tuple[int, int]] = (), outputs: int = 3, **given: Any
) -> None:
    """Compare with ONNX Runtime; ``valid`` says how many queries and keys of a sample count."""
    settings = {"num_heads": 4, "kv_num_heads": 2, **given}
    model, feeds = one_node(
        "GroupQueryAttention", inputs, outputs=outputs, domain=MICROSOFT, **settings
    )
    if outputs == 4:  # scores, whose type ONNX Runtime does not infer
        model.graph.output[3].type.tensor_type.elem_type = TensorProto.FLOAT
    found, expected = run_imported(import_model(model), feeds), run_ort(model, feeds)
    assert [a.shape for a in found] == [a.shape for a in expected]
    if not valid:
        assert_same(found, expected)
    for sample, (queries, keys) in enumerate(valid):
        for results in (found, expected):
            results[0][sample, queries:] = 0
            results[1][sample, :, keys:] = 0
            results[2][sample, :, keys:] = 0
    assert_same(found, expected)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"local_window_size": 1},
        {"local_window_size": 3},
        {"softcap": 0.7},
        {"smooth_softmax": 1},
        {"scale": 0.2},
        {"causal": 0},
    ],
)
def test_the_first_step(given: dict[str, Any]) -> None:
    _compare(FIRST, **given)
    _compare([PACKED, None, None, *FIRST[3:]], **given)
    if "local_window_size" not in given:
        _compare(RAGGED_FIRST, [(5, 5), (3, 3)], **given)


@pytest.mark.parametrize("softcap", [0.0, 0.5])
@pytest.mark.parametrize(
    "rest",
    [
        [None, None, None, None, SINKS],
        [None, None, None, ADDED],
        [None, None, None, ADDED[:1, :1]],
        [None, None, None, ADDED, SINKS],
    ],
)
def test_sinks_and_what_is_added(rest: Inputs, softcap: float) -> None:
    _compare([*FIRST, *rest], softcap=softcap)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_positions(interleaved: int) -> None:
    given = {"do_rotary": 1, "rotary_interleaved": interleaved}
    _compare([*FIRST, COSINES, SINES], **given)
    _compare([*RAGGED_FIRST, COSINES, SINES], [(5, 5), (3, 3)], **given)
    _compare([*FIRST, COSINES, SINES, PLACES], **given)
    _compare([*FIRST, COSINES, SINES, PLACES[::-1].copy()], **given)


STEPS: dict[str, tuple[Inputs, dict[str, Any], list[tuple[int, int]]]] = {
    "one": ([*ONE, *PAST, _last(3, 3), FOUR], {}, []),
    "turned": ([*ONE, *PAST, _last(3, 3), FOUR, COSINES, SINES], {"do_rotary": 1}, []),
    "placed": (
        [*ONE, *PAST, _last(3, 3), FOUR, COSINES, SINES, np.array([[3], [5]])],
        {"do_rotary": 1},
        [],
    ),
    "ragged": (
        [*ONE, *PAST, _last(3, 1), FOUR, COSINES, SINES],
        {"do_rotary": 1},
        [(1, 4), (1, 2)],
    ),
    "a longer cache": (
        [*ONE, *WIDE_PAST, _last(3, 1), FOUR, COSINES, SINES],
        {"do_rotary": 1},
        [(1, 4), (1, 2)],
    ),
    "window": ([*ONE, *PAST, _last(3, 3), FOUR], {"local_window_size": 2}, []),
    "added": ([*ONE, *PAST, _last(3, 3), FOUR, None, None, None, floats(1, 4, 1, 4)], {}, []),
    "several": (
        [*SINGLE, *(part[:1] for part in PAST), _last(7), EIGHT, COSINES, SINES],
        {"do_rotary": 1},
        [],
    ),
    "several, both ways": (
        [*SINGLE, *(part[:1] for part in PAST), _last(7), EIGHT],
        {"causal": 0},
        [],
    ),
    "no past yet": (
        [QUERY, KEY, VALUE, *(part[:, :, :0] for part in PAST), FULL, FIVE, COSINES, SINES],
        {"do_rotary": 1},
        [],
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_later_steps(name: str) -> None:
    inputs, given, valid = STEPS[name]
    _compare(inputs, valid, **given)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("softcap", [0.0, 0.5])
def test_scores_as_an_output(kind: int, softcap: float) -> None:
    _compare(FIRST, outputs=4, qk_output=kind, softcap=softcap)
    _compare([*FIRST, None, None, None, ADDED], outputs=4, qk_output=kind, softcap=softcap)


@pytest.mark.parametrize(
    ("rest", "given", "reason"),
    [
        ([], {"sliding_window_cache": 1}, "with sliding_window_cache=1"),
        ([], {"k_quant_type": "PER_TENSOR"}, "with k_quant_type='PER_TENSOR'"),
        ([None] * 7 + [floats(16), floats(16)], {}, "norms of queries and keys inside"),
        ([None] * 9 + [_last(5, 5)], {}, "query_seqlens"),
    ],
)
def test_what_is_not_covered_is_said(rest: Inputs, given: dict[str, Any], reason: str) -> None:
    settings = {"num_heads": 4, "kv_num_heads": 2, **given}
    model, _ = one_node("GroupQueryAttention", [*FIRST, *rest], domain=MICROSOFT, **settings)
    with pytest.raises(UnsupportedOperatorsError, match=reason):
        import_model(model)


def test_gradients_reach_queries_keys_values_and_sinks() -> None:
    inputs = [*FIRST, None, None, None, ADDED, SINKS]
    model, feeds = one_node(
        "GroupQueryAttention",
        inputs,
        domain=MICROSOFT,
        constant=(5, 6, 10, 11),
        num_heads=4,
        kv_num_heads=2,
    )
    imported = import_model(model)
    assert {name for name, _ in imported.module.named_parameters()} == {"x10", "x11"}
    tensors = [torch.from_numpy(feeds[name]).requires_grad_() for name in imported.input_names]
    imported.module(*tensors).square().sum().backward()
    for tensor in (*tensors, *imported.module.parameters()):
        assert tensor.grad is not None
        assert bool((tensor.grad != 0).any())


def test_the_module_is_copied_and_pickled() -> None:
    model, feeds = one_node(
        "GroupQueryAttention", FIRST, domain=MICROSOFT, num_heads=4, kv_num_heads=2
    )
    module = import_model(model).module
    expected = module(*(torch.from_numpy(array) for array in feeds.values()))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
        found = twin(*(torch.from_numpy(array) for array in feeds.values()))
        assert torch.equal(found, expected)


FLAT, APART = floats(2, 5, 48), floats(2, 3, 5, 16)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("places", [PLACES, np.array([2])])
@pytest.mark.parametrize("x", [FLAT, APART])
def test_rotary_embedding(x: np.ndarray, places: np.ndarray, interleaved: int) -> None:
    given = {"domain": MICROSOFT, "interleaved": interleaved}
    assert_like_ort("RotaryEmbedding", [x, places, COSINES, SINES], **given)
    assert_like_ort("RotaryEmbedding", [x, places, COSINES, SINES], num_heads=3, **given)
    part = [x, places, COSINES[:, :4].copy(), SINES[:, :4].copy()]
    assert_like_ort(
        "RotaryEmbedding", part, num_heads=3, rotary_embedding_dim=8, constant=(2, 3), **given
    )


@pytest.mark.parametrize(("name", "value"), [("scale", 2.0), ("is_packed_batching", 1)])
def test_rotary_variants_that_are_not_covered(name: str, value: float) -> None:
    inputs = [FLAT, PLACES, COSINES, SINES]
    model, _ = one_node("RotaryEmbedding", inputs, domain=MICROSOFT, **{name: value})
    with pytest.raises(UnsupportedOperatorsError, match=f"with {name}={value}"):
        import_model(model)
