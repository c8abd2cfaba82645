"""What can go wrong on the way from an ONNX graph to a trained network.

::

    InputError (graph_analysis)
    +-- UnsupportedOperatorsError      operators that have no torch function here
"""

from collections.abc import Iterable
from dataclasses import dataclass

from graph_analysis.errors import InputError as InputError
from graph_analysis.errors import SecateurError as SecateurError

_NODES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class UnsupportedOperator:
    """One operator of a model that cannot be turned into torch code.

    Attributes:
        domain: ONNX operator domain, empty for the standard one.
        op_type: Operator name.
        opset: Version of the domain that the model imports.
        nodes: Names of the nodes that use it, in graph order.
        reason: Why not, as a clause ("has no torch function", "spatial=0 is not covered").
    """

    domain: str
    op_type: str
    opset: int
    nodes: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        shown = ", ".join(repr(name) for name in self.nodes[:_NODES_SHOWN])
        more = len(self.nodes) - _NODES_SHOWN
        tail = f" and {more} more" if more > 0 else ""
        domain = self.domain or "ai.onnx"
        return f"'{self.op_type}' ({domain}, opset {self.opset}) at {shown}{tail} {self.reason}"


class UnsupportedOperatorsError(InputError):
    """The model uses operators without a torch function; names all of them, not the first only.

    Attributes:
        operators: What is unsupported, in graph order.
    """

    default_code = "model-unsupported-op"

    def __init__(self, operators: Iterable[UnsupportedOperator]) -> None:
        self.operators = tuple(operators)
        listed = "; ".join(str(operator) for operator in self.operators)
        super().__init__(
            f"the model cannot be trained: {listed}; export it again without these operators, "
            "or register them in optimizer/bridge/ops",
            param=self.operators[0].op_type if self.operators else None,
        )
