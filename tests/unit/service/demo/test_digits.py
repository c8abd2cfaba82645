"""The demo's data: real images, split without overlap, the same every time."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from service.demo.digits import digits, write_digits


def test_all_1797_images_are_there_once() -> None:
    arrays = digits()
    images = np.concatenate([arrays[f"x_{name}"] for name in ("train", "val", "test")])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.float32
    original = (load_digits().data / 16).astype(np.float32)
    ours = images.reshape(-1, 64)
    assert np.array_equal(ours[np.lexsort(ours.T)], original[np.lexsort(original.T)])


def test_splits_have_their_sizes_and_all_classes() -> None:
    arrays = digits()
    sizes = {name: len(arrays[f"y_{name}"]) for name in ("train", "val", "test")}
    assert sizes == {"train": 1100, "val": 200, "test": 497}
    assert all(set(arrays[f"y_{name}"]) == set(range(10)) for name in sizes)


def test_labels_belong_to_their_images() -> None:
    images, labels = load_digits(return_X_y=True)
    label_of = {row.tobytes(): label for row, label in zip(images, labels, strict=True)}
    arrays = digits()
    rows = (arrays["x_test"].reshape(-1, 64) * 16).astype(np.float64)
    assert [label_of[row.tobytes()] for row in rows] == arrays["y_test"].tolist()


def test_file_holds_the_arrays_and_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = (write_digits(tmp_path / name) for name in ("a.npz", "b.npz"))
    with np.load(first) as left, np.load(second) as right:
        assert set(left) == {f"{axis}_{part}" for axis in "xy" for part in ("train", "val", "test")}
        assert all(np.array_equal(left[name], right[name]) for name in left)
