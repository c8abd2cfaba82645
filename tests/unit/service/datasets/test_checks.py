"""Does the data fit the model: one clear sentence with the first offending row."""

from typing import Any

import numpy as np
import pytest

from service.datasets import (
    Dataset,
    ModelInput,
    ModelInterface,
    bound_inputs,
    check_dataset,
    dataset_of,
)
from service.errors import DatasetError
from tests.unit.service.datasets.archives import digits

_IMAGES = ModelInput(name="image", shape=(None, 1, 8, 8), dtype="float32")
_CLASSIFIER = ModelInterface(inputs=(_IMAGES,), classes=10)


def _dataset(**changes: np.ndarray) -> Dataset:
    return dataset_of({**digits(), **changes}, sha256="")


def _failure(
    dataset: Dataset, interface: ModelInterface = _CLASSIFIER, **options: Any
) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        check_dataset(dataset, interface, **options)
    assert len(str(caught.value)) <= 300
    return caught.value


def _changed(name: str, index: Any, value: float) -> dict[str, np.ndarray]:
    array = digits()[name].astype(np.float32)
    array[index] = value
    return {name: array}


def test_data_that_fits() -> None:
    assert check_dataset(_dataset(), _CLASSIFIER, batch_size=20, needs_labels=True) == ()


@pytest.mark.parametrize(
    ("samples", "hint"),
    [
        (np.ones((20, 8, 8)), "add the channel axis"),
        (np.ones((20, 8, 8, 1)), "channels first"),
        (np.ones((20, 3, 8, 8)), r"\(3, 8, 8\).*\(1, 8, 8\)"),
        (np.ones((20, 64)), r"\(64\)"),
    ],
)
def test_shapes(samples: np.ndarray, hint: str) -> None:
    with pytest.raises(DatasetError, match=hint) as caught:
        check_dataset(_dataset(x_train=samples), _CLASSIFIER)
    assert caught.value.code == "dataset-shape-mismatch"
    assert caught.value.details == {"expected": [1, 8, 8], "got": list(samples.shape[1:])}


def test_channels_last_models_get_the_other_hint() -> None:
    last = ModelInterface(inputs=(ModelInput(name="x", shape=(None, 8, 8, 1), dtype="float32"),))
    assert "channels last" in str(_failure(_dataset(), last))


def test_free_axes_take_anything() -> None:
    free = ModelInput(name="x", shape=(None, 1, None, None), dtype="float32")
    check_dataset(_dataset(), ModelInterface(inputs=(free,)))


@pytest.mark.parametrize(
    ("array", "dtype", "fits"),
    [
        (np.ones((4, 3), np.uint8), "float32", True),
        (np.ones((4, 3), bool), "float16", True),
        (np.ones((4, 3), np.int32), "bfloat16", True),
        (np.ones((4, 3), np.int64), "int32", True),
        (np.full((4, 3), 2**40), "int32", False),
        (np.full((4, 3), -1), "uint8", False),
        (np.ones((4, 3), np.float32), "int64", False),
        (np.ones((4, 3), np.int64), "bool", False),
        (np.ones((4, 3), bool), "bool", True),
    ],
)
def test_types(array: np.ndarray, dtype: str, fits: bool) -> None:
    interface = ModelInterface(inputs=(ModelInput(name="x", shape=(None, 3), dtype=dtype),))
    dataset = dataset_of({"x_train": array}, sha256="")
    if fits:
        check_dataset(dataset, interface)
        wanted = "float32" if dtype == "bfloat16" else dtype
        assert bound_inputs(dataset.train, interface)["x"].dtype == np.dtype(wanted)
    else:
        error = _failure(dataset, interface)
        assert (error.code, error.details["expected"]) == ("dataset-dtype", dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_by_row(value: float) -> None:
    error = _failure(_dataset(**_changed("x_train", (7, 0, 3, 3), value)))
    assert (error.code, error.details) == ("dataset-non-finite", {"row": 7})
    error = _failure(_dataset(**_changed("x_test", (5, 0, 0, 0), value)))
    assert (error.param, error.details) == ("x_test", {"row": 5})
    error = _failure(_dataset(**_changed("y_train", 3, value)))
    assert (error.code, error.param) == ("dataset-non-finite", "y_train")


def test_rows_are_right_beyond_the_first_chunk() -> None:
    samples = np.zeros((10_000, 2), np.float32)
    samples[9_001, 1] = np.nan
    interface = ModelInterface(inputs=(ModelInput(name="x", shape=(None, 2), dtype="float32"),))
    error = _failure(dataset_of({"x_train": samples}, sha256=""), interface)
    assert error.details == {"row": 9_001}


@pytest.mark.parametrize(("value", "row"), [(10, 4), (-1, 0), (2.5, 19)])
def test_labels_are_classes(value: float, row: int) -> None:
    error = _failure(_dataset(**_changed("y_train", row, value)))
    assert error.code == "dataset-labels"
    assert error.details == {"row": row, "value": value, "classes": 10}


def test_labels_of_every_split_are_checked() -> None:
    assert _failure(_dataset(**_changed("y_test", 2, 77))).param == "y_test"


def test_one_hot_labels_get_a_hint() -> None:
    error = _failure(_dataset(y_train=np.eye(20)))
    assert error.code == "dataset-labels"
    assert "argmax" in str(error)


def test_targets_of_a_regression_are_any_numbers() -> None:
    regression = ModelInterface(inputs=(_IMAGES,))
    check_dataset(_dataset(y_train=np.full((20, 3), -2.5)), regression)


def test_missing_labels() -> None:
    arrays = digits()
    del arrays["y_train"]
    dataset = dataset_of(arrays, sha256="")
    check_dataset(dataset, _CLASSIFIER)
    assert _failure(dataset, needs_labels=True).code == "dataset-labels"


def test_enough_samples_and_classes() -> None:
    error = _failure(_dataset(), batch_size=32)
    assert (error.code, error.limit, error.actual) == ("dataset-too-small", 32, 20)
    assert _failure(_dataset(y_train=np.full(20, 3))).code == "dataset-one-class"


def test_several_inputs_go_by_name() -> None:
    interface = ModelInterface(
        inputs=(
            ModelInput(name="ids", shape=(None, 8), dtype="int64"),
            ModelInput(name="mask", shape=(None, None), dtype="int64"),
        )
    )
    ids = np.ones((4, 8), np.int32)
    named = dataset_of({"x_train:mask": ids, "x_train:ids": ids}, sha256="")
    check_dataset(named, interface)
    assert list(bound_inputs(named.train, interface)) == ["ids", "mask"]
    for arrays in ({"x_train": ids}, {"x_train:ids": ids}, {"x_train:ids": ids, "x_train:m": ids}):
        error = _failure(dataset_of(arrays, sha256=""), interface)
        assert error.code == "dataset-columns"
        assert "mask" in error.details["missing"]  # type: ignore[operator]


def test_bytes_for_a_network_of_floats_are_suspicious() -> None:
    samples = np.arange(20 * 64, dtype=np.uint8).reshape(20, 1, 8, 8)
    (warning,) = check_dataset(_dataset(x_train=samples), _CLASSIFIER)
    assert (warning.code, warning.param) == ("dataset-range", "x_train")
    assert check_dataset(_dataset(x_train=samples / 255), _CLASSIFIER) == ()
