"""The demo's data set: scikit-learn's 1,797 handwritten digits as NPZ, always split the same way.

Only data belongs here. Images are stored as they are (8x8, one channel), scaled to 0..1.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

NUM_TRAIN, NUM_VALIDATION = 1100, 200  # the other 497 are the test images
_SPLIT_SEED = 2312


def digits() -> Mapping[str, np.ndarray]:
    """The arrays of the data set, by their names in the NPZ file.

    Returns:
        ``x_*``: float32 (images, 1, 8, 8) in 0..1; ``y_*``: int64 (images,) in 0..9; for ``train``,
        ``val`` and ``test``. No image is in two of them.
    """
    images, labels = load_digits(return_X_y=True)
    x = (images / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    y = labels.astype(np.int64)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(x))
    train, val, test = np.split(order, [NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION])
    arrays = {}
    for name, chosen in (("train", train), ("val", val), ("test", test)):
        arrays[f"x_{name}"] = x[chosen]
        arrays[f"y_{name}"] = y[chosen]
    return arrays


def write_digits(path: Path) -> Path:
    """Write the data set to ``path`` (NPZ, compressed); return ``path``."""
    np.savez_compressed(path, allow_pickle=False, **digits())
    return path
