"""A small vocabulary to write ONNX graphs in: one method per layer, seeded random weights.

What a particular test graph looks like is the business of the neighbouring modules. Weights are
drawn so that activations stay near 1 and no two positions are equal: a swapped channel must show.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BATCH = "N"  # the name of the dynamic batch axis

Shape = Sequence[int | str]


class GraphBuilder:
    """Writes one graph, node by node, in execution order.

    Tensors are handed around by name. Methods that add a layer return the name of its output.

    Example:
        >>> graph = GraphBuilder("tiny")
        >>> graph.output(graph.relu(graph.input((BATCH, 3))), (BATCH, 3))
        >>> [node.op_type for node in graph.build().graph.node]
        ['Relu']
    """

    def __init__(self, name: str, *, seed: int = 0, opset: int = 17) -> None:
        self._name = name
        self._opset = opset
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, shape: Shape, name: str = "x", *, dtype: int = TensorProto.FLOAT) -> str:
        """Declare a graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, tensor: str, shape: Shape) -> None:
        """Declare ``tensor`` a float32 graph output."""
        self._outputs.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape))

    def build(self, functions: Sequence[onnx.FunctionProto] = ()) -> onnx.ModelProto:
        """The model, checked; ``functions`` are local to it."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._initializers
        )
        domains = sorted({node.domain for node in self._nodes if node.domain})
        opsets = [helper.make_opsetid("", self._opset)]
        opsets += [helper.make_opsetid(domain, 1) for domain in domains]
        model = helper.make_model(
            graph, opset_imports=opsets, producer_name="secateur-testing", functions=functions
        )
        model.ir_version = 8 if self._opset < 19 else 10
        onnx.checker.check_model(model, full_check=True)
        return model

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; an empty name leaves an optional input out."""
        return self.nodes(op_type, *inputs, outputs=1, **attributes)[0]

    def nodes(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs; returns their names."""
        name = f"{op_type.lower()}_{len(self._nodes)}"
        names = (name,) if outputs == 1 else tuple(f"{name}_{i}" for i in range(outputs))
        self._nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
        return names

    def constant(self, values: object, *, name: str = "const") -> str:
        """An initializer of given ``values``; integers become int64, all else float32."""
        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        return self._initializer(array, name)

    def integers(self, values: object, *, dtype: str = "int32", name: str = "const") -> str:
        """An initializer of given ``values`` in an integer type other than int64."""
        return self._initializer(np.asarray(values, dtype), name)

    def weight(
        self, *shape: int, scale: float = 1.0, shift: float = 0.0, name: str = "weight"
    ) -> str:
        """An initializer of ``shape``: normal, times ``scale``, plus ``shift``."""
        return self._initializer(self._normal(shape, scale=scale, shift=shift), name)

    def conv(
        self,
        x: str,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        dims: int = 2,
    ) -> str:
        """Convolution over ``dims`` axes that keeps their size, divided by ``stride``."""
        fan_in = channels_in // groups * kernel**dims
        shape = (channels_out, channels_in // groups, *[kernel] * dims)
        inputs = [x, self.weight(*shape, scale=fan_in**-0.5)]
        if bias:
            inputs.append(self.weight(channels_out, scale=0.5, name="bias"))
        padding = [(kernel - 1) // 2] * (2 * dims)
        attributes: dict[str, Any] = {"kernel_shape": [kernel] * dims, "pads": padding}
        return self.node("Conv", *inputs, group=groups, strides=[stride] * dims, **attributes)

    def patches(self, x: str, channels_in: int, channels_out: int, *, size: int) -> str:
        """Convolution with kernel and stride ``size``, without padding."""
        scale = (channels_in * size * size) ** -0.5
        kernel = self.weight(channels_out, channels_in, size, size, scale=scale)
        bias = self.weight(channels_out, scale=0.5, name="bias")
        return self.node("Conv", x, kernel, bias, kernel_shape=[size] * 2, strides=[size] * 2)

    def conv_transpose(
        self, x: str, channels_in: int, channels_out: int, *, groups: int = 1
    ) -> str:
        """Transposed convolution 4x4 with stride 2: doubles both spatial axes."""
        per_group = channels_out // groups
        scale = (channels_in // groups * 4) ** -0.5
        inputs = [x, self.weight(channels_in, per_group, 4, 4, scale=scale)]
        inputs.append(self.weight(channels_out, scale=0.5, name="bias"))
        return self.node("ConvTranspose", *inputs, strides=[2, 2], pads=[1] * 4, group=groups)

    def batch_norm(self, x: str, channels: int) -> str:
        """BatchNormalization with running statistics away from 0 and 1."""
        return self.node(
            "BatchNormalization",
            x,
            self.weight(channels, scale=0.2, shift=1.0, name="scale"),
            self.weight(channels, scale=0.3, name="shift"),
            self.weight(channels, scale=0.3, name="mean"),
            self._initializer(self._rng.uniform(0.5, 1.5, channels), "variance"),
        )

    def conv_norm(
        self, x: str, channels_in: int, channels_out: int, *, kernel: int = 3, groups: int = 1
    ) -> str:
        """Convolution without bias, then BatchNormalization."""
        x = self.conv(x, channels_in, channels_out, kernel=kernel, groups=groups, bias=False)
        return self.batch_norm(x, channels_out)

    def relu(self, x: str) -> str:
        """max(x, 0)."""
        return self.node("Relu", x)

    def gemm(self, x: str, features_in: int, features_out: int) -> str:
        """Linear layer over (N, features), weight laid out as torch exports it."""
        kernel = self.weight(features_out, features_in, scale=features_in**-0.5)
        bias = self.weight(features_out, scale=0.5, name="bias")
        return self.node("Gemm", x, kernel, bias, transB=1)

    def linear(self, x: str, features_in: int, features_out: int) -> str:
        """Linear layer over the last axis: MatMul and Add."""
        kernel = self.weight(features_in, features_out, scale=features_in**-0.5)
        bias = self.weight(features_out, scale=0.5, name="bias")
        return self.node("Add", bias, self.node("MatMul", x, kernel))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Reshape to constant sizes; 0 keeps an axis, -1 is computed."""
        return self.node("Reshape", x, self.constant(list(shape), name="shape"))

    def transpose(self, x: str, perm: Sequence[int]) -> str:
        """Permute the axes."""
        return self.node("Transpose", x, perm=list(perm))

    def slice(self, x: str, axes: Sequence[int], starts: Sequence[int], **bounds: list[int]) -> str:
        """Slice with constant bounds; ``ends`` default to the end, ``steps`` to 1."""
        ends = bounds.get("ends", [np.iinfo(np.int64).max] * len(axes))
        steps = bounds.get("steps", [1] * len(axes))
        arguments = [self.constant(list(values)) for values in (starts, ends, axes, steps)]
        return self.node("Slice", x, *arguments)

    def classify(self, x: str, channels: int, *, classes: int = 10) -> None:
        """End the graph: global average pool, Flatten, linear layer; one output."""
        pooled = self.node("Flatten", self.node("GlobalAveragePool", x))
        self.output(self.gemm(pooled, channels, classes), (BATCH, classes))

    def _normal(self, shape: Sequence[int], *, scale: float, shift: float) -> np.ndarray:
        return self._rng.normal(size=shape) * scale + shift

    def _initializer(self, array: np.ndarray, name: str) -> str:
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        unique = f"{name}_{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(array, unique))
        return unique
