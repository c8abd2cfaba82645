"""Arrays by their names become splits."""

import numpy as np
import pytest

from service.datasets import SINGLE_INPUT, dataset_of
from service.errors import DatasetError
from tests.unit.service.datasets.archives import digits


def test_splits() -> None:
    arrays = digits() | {"x_val": np.ones((3, 1, 8, 8))}
    dataset = dataset_of(arrays, sha256="f" * 64)
    assert len(dataset.train) == 20
    assert dataset.train.inputs.keys() == {SINGLE_INPUT}
    assert dataset.validation is not None
    assert dataset.validation.labels is None
    assert dataset.test is not None
    assert dataset.test.labels is not None
    assert list(dataset.splits) == ["train", "val", "test"]
    assert list(dataset_of({"x_train": np.ones((2, 3))}, sha256="").splits) == ["train"]


def test_named_inputs() -> None:
    arrays = {"x_train:ids": np.ones((4, 8)), "x_train:mask:0": np.ones((4, 8))}
    assert dataset_of(arrays, sha256="").train.inputs.keys() == {"ids", "mask:0"}


@pytest.mark.parametrize(
    ("arrays", "code", "words"),
    [
        ({}, "dataset-columns", "no array 'x_train'"),
        ({"x_test": np.ones((2, 2))}, "dataset-columns", "found: x_test"),
        ({"x_trian": np.ones((2, 2))}, "dataset-columns", "did you mean 'x_train'"),
        ({"images": np.ones((2, 2))}, "dataset-columns", "known: x_train"),
        ({"y_train:a": np.ones(2)}, "dataset-columns", "unknown array"),
        ({"x_train": np.ones((2, 2)), "y_test": np.ones(2)}, "dataset-columns", "no 'x_test'"),
        (
            {"x_train": np.ones((2, 2)), "x_train:a": np.ones((2, 2))},
            "dataset-columns",
            "name all inputs or none",
        ),
        ({"x_train": np.array(3.0)}, "dataset-shape-mismatch", "first axis of samples"),
        (
            {"x_train:a": np.ones((2, 2)), "x_train:b": np.ones((3, 2))},
            "dataset-shape-mismatch",
            "needs 2 samples",
        ),
        ({"x_train": np.ones((0, 2))}, "dataset-too-small", "no samples"),
        (
            {"x_train": np.ones((4, 2)), "y_train": np.ones(3)},
            "dataset-labels",
            "3 labels for 4 samples",
        ),
        ({"x_train": np.ones((4, 2)), "y_train": np.array(1)}, "dataset-labels", "0 labels"),
    ],
)
def test_faults(arrays: dict[str, np.ndarray], code: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        dataset_of(arrays, sha256="")
    assert caught.value.code == code
