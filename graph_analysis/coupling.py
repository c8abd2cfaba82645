"""Coupling of labels: which positions along tensor axes must be removed together.

Labels are integers, ties arrays of pairs. Sees integers only: what an operator ties is the business
of ``rules``. Connected components by minimum propagation with pointer jumping, vectorised.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
FIXED = 0  # the label of positions that are never removed


def components(count: int, ties: Sequence[tuple[Labels, Labels]]) -> npt.NDArray[Any]:
    """Class of every label 0..count-1: the smallest label that it is tied to, directly or not.

    Example:
        >>> components(5, [(np.array([3, 4]), np.array([1, 3]))]).tolist()
        [0, 1, 2, 1, 1]
    """
    root = np.arange(count)
    if not ties:
        return root
    left = np.concatenate([pair[0] for pair in ties])
    right = np.concatenate([pair[1] for pair in ties])
    while True:
        lower = np.minimum(root[left], root[right])
        before = root.copy()
        np.minimum.at(root, root[left], lower)
        np.minimum.at(root, root[right], lower)
        while True:
            jumped = root[root]
            if np.array_equal(jumped, root):
                break
            root = jumped
        if np.array_equal(before, root):
            return root
