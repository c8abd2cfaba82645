"""Values of the shape arithmetic in a graph: what ``Shape -> Gather -> Mul -> Concat`` comes to.

Small tensors that follow from constants and from tensor shapes alone are computed with the
reference implementation of the operators, once under the shapes before the cut and once under
those after it. What to do where the two differ is the business of ``constants``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

Values = dict[str, npt.NDArray[Any]]

SMALL = 4096  # elements; shape arithmetic is never larger, a weight that is may be left unread

# fmt: off
_EVALUABLE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Compress", "Concat", "Constant",
        "ConstantOfShape", "CumSum", "Div", "Equal", "Exp", "Expand", "EyeLike", "Flatten", "Floor",
        "Gather", "GatherElements", "GatherND", "Gemm", "Greater", "GreaterOrEqual", "Identity",
        "Less", "LessOrEqual", "Log", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Neg",
        "NonZero", "Not", "OneHot", "Or", "Pad", "Pow", "Range", "Reciprocal", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round",
        "ScatterElements", "ScatterND", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
        "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where",
    }
)
# fmt: on


class ShapeArithmetic:
    """Evaluates nodes of one model; keeps the compiled operators between calls."""

    def __init__(self, opset_imports: Iterable[onnx.OperatorSetIdProto], ir_version: int) -> None:
        self._opset_imports = list(opset_imports)
        self._ir_version = ir_version
        self._operators: dict[bytes, ReferenceEvaluator] = {}

    def values(
        self,
        nodes: Iterable[onnx.NodeProto],
        constants: Mapping[str, npt.NDArray[Any]],
        shapes: Mapping[str, Sequence[int]],
    ) -> Values:
        """All tensors that follow from ``constants`` and ``shapes``, the constants included.

        Args:
            nodes: In topological order.
            constants: Small initializers by name.
            shapes: Shape of every tensor whose shape may be asked for; others stay unknown.
        """
        known: Values = dict(constants)
        for node in nodes:
            if node.domain not in ("", "ai.onnx"):
                continue
            if node.op_type in ("Shape", "Size"):
                if node.input[0] in shapes:
                    known[node.output[0]] = _shape_of(node, shapes[node.input[0]])
            elif node.op_type in _EVALUABLE and all(n in known for n in node.input if n):
                known.update(self._run(node, known))
        return known

    def _run(self, node: onnx.NodeProto, known: Values) -> Values:
        operator, inputs, outputs = self._operator(node)
        feeds = {
            ours: known[theirs] for ours, theirs in zip(inputs, node.input, strict=True) if theirs
        }
        try:
            results = operator.run(None, feeds)
        except Exception:  # noqa: BLE001  (a value that cannot be computed is unknown, never guessed)
            return {}
        arrays = [np.asarray(result) for result in results]
        if any(array.size > SMALL for array in arrays):
            return {}
        names = [name for name in node.output if name]
        return dict(zip(names, arrays, strict=True)) if len(names) == len(outputs) else {}

    def _operator(self, node: onnx.NodeProto) -> tuple[ReferenceEvaluator, list[str], list[str]]:
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        plain.ClearField("name")
        plain.ClearField("doc_string")
        inputs = [f"i{index}" if name else "" for index, name in enumerate(node.input)]
        outputs = [f"o{index}" if name else "" for index, name in enumerate(node.output)]
        plain.input[:], plain.output[:] = inputs, outputs
        key = plain.SerializeToString(deterministic=True)
        if key not in self._operators:
            self._operators[key] = self._compile(plain)
        return self._operators[key], inputs, [name for name in outputs if name]

    def _compile(self, node: onnx.NodeProto) -> ReferenceEvaluator:
        untyped = onnx.TypeProto()
        graph = onnx.helper.make_graph(
            [node],
            "operator",
            [onnx.helper.make_value_info(name, untyped) for name in node.input if name],
            [onnx.helper.make_value_info(name, untyped) for name in node.output if name],
        )
        return ReferenceEvaluator(
            onnx.helper.make_model(
                graph, opset_imports=self._opset_imports, ir_version=self._ir_version
            )
        )


def _shape_of(node: onnx.NodeProto, shape: Sequence[int]) -> npt.NDArray[np.int64]:
    if node.op_type == "Size":
        return np.asarray(int(np.prod(shape, dtype=np.int64)), np.int64)
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return np.asarray(list(shape)[slice(bounds.get("start", 0), bounds.get("end"))], np.int64)
