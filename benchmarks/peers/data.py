"""The two data sets, as subsets that two cores can train on.

Both are 28x28: Fashion-MNIST as it is, CIFAR-10 (JPEG) by its middle. The test images are all
10,000 of each data set's own, so that one standard error is below half a point.
"""

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.renormalising import decoded

Images = Mapping[str, npt.NDArray[np.generic]]

DATA_SETS = ("fashion", "cifar")
SIZE, NUM_CLASSES = 28, 10
NUM_TRAIN, NUM_VALIDATION = 8000, 1000
_FASHION = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
_FASHION_TEST = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def images_of(name: str, folder: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Splits of a data set as ``x_train``, ``y_train``, ``x_val``, ..., ``y_test``.

    Args:
        name: One of ``DATA_SETS``.
        folder: Holds the four files of Fashion-MNIST (in it or below), ``cifar10-jpeg.tar.xz`` or
            its decoded form ``cifar.npz``, which is written on first use.

    Returns:
        float32 images (N, C, 28, 28) around 0, int64 labels (N,).
    """
    whole = _fashion(folder) if name == "fashion" else _cifar(folder)
    order = np.random.default_rng(0).permutation(len(whole["x_train"]))
    parts = {"train": order[:NUM_TRAIN], "val": order[NUM_TRAIN : NUM_TRAIN + NUM_VALIDATION]}
    arrays = {}
    for split, chosen in parts.items():
        arrays[f"x_{split}"] = _scaled(whole["x_train"][chosen])
        arrays[f"y_{split}"] = whole["y_train"][chosen].astype(np.int64)
    arrays["x_test"] = _scaled(whole["x_test"])
    arrays["y_test"] = whole["y_test"].astype(np.int64)
    return arrays


def _scaled(images: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """uint8 (N, H, W, C) to float32 (N, C, 28, 28)."""
    edge = (images.shape[1] - SIZE) // 2
    middle = images[:, edge : edge + SIZE, edge : edge + SIZE].transpose(0, 3, 1, 2)
    center = 120 if images.shape[3] == 3 else 73
    return np.ascontiguousarray((middle.astype(np.float32) - center) / 64)


def _fashion(folder: Path) -> dict[str, npt.NDArray[np.generic]]:
    found = {}
    for split, (images, labels) in (("train", _FASHION), ("test", _FASHION_TEST)):
        found[f"x_{split}"] = _idx(folder, images).reshape(-1, 28, 28, 1)
        found[f"y_{split}"] = _idx(folder, labels)
    return found


def _idx(folder: Path, name: str) -> npt.NDArray[np.generic]:
    path = next(folder.rglob(name), None)
    if path is None:
        message = f"{name} is not in {folder} (Debian package dataset-fashion-mnist)"
        raise SystemExit(message)
    content = gzip.decompress(path.read_bytes())
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])


def _cifar(folder: Path) -> dict[str, npt.NDArray[np.generic]]:
    stored = folder / "cifar.npz"
    if not stored.exists():
        np.savez(stored, **decoded(folder / "cifar10-jpeg.tar.xz"))
    with np.load(stored) as whole:
        return {name: whole[name] for name in whole}
