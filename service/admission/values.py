"""What the gate hands out about an admitted model: plain frozen values, JSON in and out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        name: As in the file.
        dtype: numpy's name of the element type (``bfloat16`` included).
        shape: One entry per axis; a number, the symbol of a free axis, or None. None instead of the
            tuple if the file does not even tell the rank (outputs only).
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, kw_only=True)
class Admission:
    """An admitted model in figures.

    Attributes:
        nodes: Nodes, local functions expanded, bodies included.
        parameters: Elements of the floating-point initializers.
        opset: Version of the default operator set.
        ir_version: Version of the file format.
        producer: Name and version of the exporter; may be empty.
        inputs: What has to be fed, in order; initializers are left out.
        outputs: In order.
        operators: How often each operator occurs (``Conv``, ``my.domain.Foo``), sorted by name.
    """

    nodes: int
    parameters: int
    opset: int
    ir_version: int
    producer: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Admission":
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: The object does not describe an admission.
        """
        try:
            return cls(
                nodes=int(value["nodes"]),
                parameters=int(value["parameters"]),
                opset=int(value["opset"]),
                ir_version=int(value["ir_version"]),
                producer=str(value["producer"]),
                inputs=tuple(_tensor(item) for item in value["inputs"]),
                outputs=tuple(_tensor(item) for item in value["outputs"]),
                operators={str(name): int(n) for name, n in value["operators"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            message = "not the description of an admitted model"
            raise ValueError(message) from error


def _tensor(item: Mapping[str, Any]) -> TensorInfo:
    shape = item["shape"]
    axes = None if shape is None else tuple(_axis(axis) for axis in shape)
    return TensorInfo(name=str(item["name"]), dtype=str(item["dtype"]), shape=axes)


def _axis(axis: Any) -> int | str | None:
    return axis if axis is None or isinstance(axis, int) else str(axis)
