"""What is known of the tensors of a graph once its free axes are bound; filled by ``shapes``."""

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(kw_only=True)
class Shapes:
    """What is known of every tensor under one binding.

    Attributes:
        shape: Name -> shape; absent if unknown.
        dtype: Name -> ONNX element type.
        constant: Name -> value, for small integer and boolean tensors that are fixed.
        trips: Loop or Scan -> how often its body runs, where that is known.
        unstable: Loop or Scan -> a state that does not keep its shape from one run to the next.
    """

    shape: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtype: dict[str, int] = field(default_factory=dict)
    constant: dict[str, Array] = field(default_factory=dict)
    trips: dict[str, int] = field(default_factory=dict)
    unstable: dict[str, str] = field(default_factory=dict)
