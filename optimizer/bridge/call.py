"""One ONNX node as a translator sees it: attributes, inputs by position, and the graph to write."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import onnx
import torch

from optimizer.bridge.arrays import DTYPES, tensor_from_proto
from optimizer.bridge.host import HostValue, Number
from optimizer.bridge.unsupported import UnsupportedVariant
from optimizer.bridge.values import Value, constant_of
from optimizer.bridge.writer import Writer

if TYPE_CHECKING:
    from optimizer.bridge.body_import import Bodies


class Call:
    """A node being translated.

    Attributes:
        node: The ONNX node.
        opset: Version of the node's domain that the model imports.
        inputs: One entry per input; ``None`` where an optional input is left out.
        write: Where the torch code goes.
        initializer: Looks an initializer up by name.
        element_types: Looks the ONNX element type of a value up by name, 0 if it is not known.
    """

    def __init__(
        self,
        node: onnx.NodeProto,
        opset: int,
        inputs: Sequence[Value | None],
        writer: Writer,
        initializer: Callable[[str], Value | None],
        bodies: "Bodies | None" = None,
        element_types: Callable[[str], int] | None = None,
    ) -> None:
        self.node = node
        self.opset = opset
        self.inputs = list(inputs)
        self.write = writer
        self.initializer = initializer
        self._bodies = bodies
        self.element_types = element_types
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    @property
    def bodies(self) -> "Bodies":
        """What translates the node's bodies."""
        assert self._bodies is not None
        return self._bodies

    @property
    def num_outputs(self) -> int:
        """Outputs up to the last one that has a name."""
        named = [position for position, name in enumerate(self.node.output) if name]
        return max(named) + 1 if named else 0

    def has(self, position: int) -> bool:
        """Whether the node has an input there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        """Return an input as it is."""
        if not self.has(position):
            message = f"lacks input {position}"
            raise UnsupportedVariant(message)
        found = self.inputs[position]
        assert found is not None
        return found

    def tensor(self, position: int) -> Value:
        """Return an input as a tensor; shape arithmetic is put on the device."""
        return self.write.tensor(self.value(position))

    def optional(self, position: int) -> Value | None:
        """Return an input as a tensor, ``None`` if it is left out."""
        return self.tensor(position) if self.has(position) else None

    def tensors(self) -> list[Value]:
        """Return all inputs as tensors."""
        return [self.tensor(position) for position in range(len(self.inputs)) if self.has(position)]

    def numbers(self, position: int) -> Value | HostValue:
        """Return an input as Python numbers, or as a host value if it depends on free axes."""
        return self.write.numbers(self.value(position))

    def fixed(self, position: int) -> HostValue:
        """Return an input as Python numbers that are known at import.

        Raises:
            UnsupportedVariant: They are only known when the model runs.
        """
        found = self.numbers(position)
        if isinstance(found, Value):
            message = f"computes its input {position} at run time"
            raise UnsupportedVariant(message)
        return found

    def fixed_list(self, position: int) -> tuple[int, ...]:
        """Return an input as integers that are known at import; a scalar counts as one."""
        found = self.fixed(position)
        return tuple(int(number) for number in (found if isinstance(found, tuple) else (found,)))

    def operand(self, position: int, rank: int | None) -> Value | Number:
        """Return an elementwise operand; a constant with one element as a Python number.

        Args:
            position: Which input.
            rank: Axes of the other operand, if known: a number must not lower the result's rank.
        """
        value = self.tensor(position)
        constant = value.constant
        if constant is None or constant.numel() != 1 or constant.is_complex():
            return value
        if constant.dim() > 0 and (rank is None or constant.dim() > rank):
            return value
        self.write.baked |= value.sources
        number: Number = constant.item()
        return number

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as a Python value, strings decoded, tensors as CPU tensors."""
        if name not in self._attributes:
            return default
        found = onnx.helper.get_attribute_value(self._attributes[name])
        if isinstance(found, bytes):
            return found.decode()
        if isinstance(found, onnx.TensorProto):
            return tensor_from_proto(found)
        if isinstance(found, list):
            return [item.decode() if isinstance(item, bytes) else item for item in found]
        return found

    def require(self, name: str, default: Any, *, covered: Any) -> None:
        """Refuse every value of an attribute but ``covered``.

        Raises:
            UnsupportedVariant: The attribute has another value.
        """
        found = self.attribute(name, default)
        if found != covered:
            message = f"with {name}={found!r} is not covered"
            raise UnsupportedVariant(message)

    def rank(self, position: int) -> int:
        """Return the number of axes of an input.

        Raises:
            UnsupportedVariant: It is not known at import.
        """
        rank = self.value(position).rank
        if rank is None:
            message = f"needs the rank of its input {position}, which is not known"
            raise UnsupportedVariant(message)
        return rank

    def dtype(self, position: int) -> torch.dtype:
        """Return the element type of an input.

        Raises:
            UnsupportedVariant: It is not known at import.
        """
        dtype = self.value(position).dtype
        if dtype is None:
            message = f"needs the type of its input {position}, which is not known"
            raise UnsupportedVariant(message)
        return dtype

    def element_type(self, position: int) -> int:
        """Return the ONNX element type of an input, which torch may hold as another one.

        Raises:
            UnsupportedVariant: It is not known at import.
        """
        dtype = self.value(position).dtype
        found = self.element_types(self.node.input[position]) if self.element_types else 0
        if not found and dtype is not None:
            return next(kind for kind, known in DTYPES.items() if known == dtype)
        if not found:
            message = f"needs the type of its input {position}, which is not known"
            raise UnsupportedVariant(message)
        return found

    def settle(self, found: Value | HostValue, dtype: torch.dtype = torch.int64) -> Value:
        """Return what a host function gave as a value: numbers become a constant."""
        if isinstance(found, Value):
            return found
        return constant_of(torch.tensor(found, dtype=dtype))
