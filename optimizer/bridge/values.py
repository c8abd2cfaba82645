"""What the importer knows about one ONNX value while it writes the torch graph.

A value is a *constant* (a CPU tensor, not in the graph until something needs it on the device), a
*device* value (a graph node that yields a tensor), or a *host* value (a graph node that yields
Python numbers, see ``host``). Probes are what the value is at two bindings of the free axes: a meta
tensor or Python numbers. What is equal at both does not depend on the free axes.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import fx

from optimizer.bridge.host import HostValue

SMALL = 64  # elements up to which an integer constant may be shape arithmetic
Probes: TypeAlias = tuple[Any, Any]
NO_PROBES: Probes = (None, None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Value:
    """One ONNX value.

    Attributes:
        dtype: Element type.
        node: Where it lives in the torch graph; ``None`` for a constant.
        constant: The value itself if it is known at import, on the CPU.
        initializer: The initializer that a constant is, unchanged.
        sources: Initializers that a constant was computed from.
        is_host: Whether ``node`` yields Python numbers instead of a tensor.
        is_picked: Of a host value, whether it consists of sizes of tensors as they are. Only then
            does being equal at both bindings mean being independent of the free axes: ``batch > 1``
            is equal at 2 and 3.
        probes: What it is at each of the two bindings; ``None`` where it is not known.
        inferred_rank: Number of axes by ONNX shape inference, for values that cannot be probed.
        items: Of a sequence whose length is known at import, its tensors; it has no node. ``dtype``
            and ``inferred_rank`` of a sequence are those of its tensors.
        is_sequence: Whether ``node`` yields a list of tensors.
        is_optional: Whether ``node`` may yield nothing (``None``).
        is_absent: Whether it is nothing: an optional without an element.
    """

    dtype: torch.dtype | None
    node: fx.Node | None = None
    constant: torch.Tensor | None = None
    initializer: str | None = None
    sources: frozenset[str] = frozenset()
    is_host: bool = False
    is_picked: bool = False
    probes: Probes = NO_PROBES
    inferred_rank: int | None = None
    items: "tuple[Value, ...] | None" = None
    is_sequence: bool = False
    is_optional: bool = False
    is_absent: bool = False

    @property
    def is_tensor(self) -> bool:
        """Whether it is a tensor or a host value: no sequence, and not possibly nothing."""
        return self.items is None and not (self.is_sequence or self.is_optional or self.is_absent)

    @property
    def is_small_constant(self) -> bool:
        """Whether it can take part in shape arithmetic as it is."""
        return (
            self.constant is not None
            and self.constant.dim() <= 1
            and self.constant.numel() <= SMALL
        )

    def numbers(self) -> HostValue:
        """Return a constant as a Python number or flat tuple."""
        assert self.constant is not None
        listed: Any = self.constant.tolist()
        return tuple(listed) if isinstance(listed, list) else listed

    def shape(self, binding: int = 0) -> tuple[int, ...] | None:
        """Return the sizes at one binding, ``None`` if they are not known."""
        if self.constant is not None:
            return tuple(self.constant.shape)
        probe = self.probes[binding]
        if probe is None:
            return None
        if isinstance(probe, torch.Tensor):
            return tuple(probe.shape)
        return (len(probe),) if isinstance(probe, tuple) else ()

    @property
    def rank(self) -> int | None:
        """Number of axes, ``None`` if not known."""
        for binding in (0, 1):
            shape = self.shape(binding)
            if shape is not None:
                return len(shape)
        return self.inferred_rank

    @property
    def static_shape(self) -> tuple[int | None, ...] | None:
        """Sizes with ``None`` for those that vary with the free axes."""
        first, second = self.shape(0), self.shape(1)
        if first is None or second is None or len(first) != len(second):
            return None
        return tuple(a if a == b else None for a, b in zip(first, second, strict=True))


def constant_of(
    tensor: torch.Tensor,
    *,
    initializer: str | None = None,
    sources: frozenset[str] = frozenset(),
) -> Value:
    """Wrap a tensor that is known at import."""
    meta = tensor.to("meta")
    return Value(
        dtype=tensor.dtype,
        constant=tensor,
        initializer=initializer,
        sources=frozenset({initializer}) if initializer else sources,
        probes=(meta, meta),
    )
