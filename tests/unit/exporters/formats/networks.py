"""Small float networks that the formats are tried on."""

import numpy as np
import onnx

from graph_analysis.testing import BATCH, GraphBuilder


def convolutions(*, opset: int = 17, batch: int | str = BATCH) -> onnx.ModelProto:
    """A convolution, a normalised one, a pool and a classifier, with metadata of the user's."""
    graph = GraphBuilder("convolutions", opset=opset)
    x = graph.relu(graph.conv(graph.input((batch, 3, 12, 12)), 3, 16))
    x = graph.relu(graph.conv_norm(x, 16, 24))
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    graph.output(graph.gemm(pooled, 24, 10), (batch, 10))
    model = graph.build()
    model.doc_string = "the user's words"
    model.model_version = 7
    model.domain = "org.example"
    model.graph.doc_string = "of the graph"
    model.metadata_props.add(key="labels", value="a,b,c")
    return model


def perceptron(features: int = 64) -> onnx.ModelProto:
    """MatMul and Gemm, the scores of two inputs added."""
    graph = GraphBuilder("perceptron", seed=2)
    x, y = graph.input((BATCH, features), "x"), graph.input((BATCH, features), "y")
    hidden = graph.relu(
        graph.node("Add", graph.linear(x, features, 48), graph.gemm(y, features, 48))
    )
    graph.output(graph.gemm(hidden, 48, 5), (BATCH, 5))
    return graph.build()


def images(count: int = 40, seed: int = 0) -> np.ndarray:
    """Samples for :func:`convolutions`."""
    return np.random.default_rng(seed).standard_normal((count, 3, 12, 12)).astype(np.float32)


def initializer(model: onnx.ModelProto, name: str) -> np.ndarray:
    """Values of a weight."""
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    return onnx.numpy_helper.to_array(tensor)
