from typing import Any

import numpy as np
import pytest

from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import (
    assert_like_ort,
    assert_trains,
    floats,
    one_node,
)

REPEATED = np.array([[2, 1, 1], [3, 4, 3], [2, 1, 1]], np.float32)


@pytest.mark.parametrize("is_sorted", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_distinct_elements(is_sorted: int, axis: int | None) -> None:
    named = {"sorted": is_sorted, **({} if axis is None else {"axis": axis})}
    assert_like_ort("Unique", [REPEATED], outputs=4, opset=11, **named)
    assert_like_ort("Unique", [REPEATED.astype(np.int64)], opset=11, **named)
    assert_trains("Unique", [REPEATED], outputs=4, opset=11, **named)


POOL: dict[str, Any] = {
    "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
    "ngram_counts": [0, 4],
    "ngram_indexes": [0, 1, 2, 3, 4, 5, 6],
}
TOKENS = np.array([[1, 1, 3, 3, 3, 7, 8], [8, 6, 7, 5, 6, 8, 5]], np.int32)


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("skips", [0, 1, 5])
def test_n_grams(mode: str, lengths: tuple[int, int], skips: int) -> None:
    named = POOL | {"mode": mode, "min_gram_length": lengths[0], "max_gram_length": lengths[1]}
    named |= {"max_skip_count": skips, "weights": floats(7).tolist()}
    assert_like_ort("TfIdfVectorizer", [TOKENS], opset=9, **named)
    assert_like_ort("TfIdfVectorizer", [TOKENS[0]], opset=9, **named)


def test_n_grams_of_strings_are_refused() -> None:
    named: dict[str, Any] = {"mode": "TF", "min_gram_length": 1, "max_gram_length": 1}
    named |= {"max_skip_count": 0, "ngram_counts": [0], "ngram_indexes": [0]}
    model, _ = one_node("TfIdfVectorizer", [TOKENS], opset=9, pool_strings=["a"], **named)
    with pytest.raises(UnsupportedOperatorsError, match="strings"):
        import_model(model)
