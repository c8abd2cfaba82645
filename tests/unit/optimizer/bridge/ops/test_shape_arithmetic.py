"""Shape computations as exporters write them: at most Python numbers may be left of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import helper

from optimizer.bridge import host
from optimizer.bridge.host import to_list
from optimizer.bridge.module import ImportedModule, import_model
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    run_imported,
    run_ort,
)

Step = tuple[str, Sequence[str], dict[str, Any]]
SIZES: list[Step] = [("Shape", ["x"], {})]
BATCH: list[Step] = [*SIZES, ("Gather", ["t0", "zero"], {"axis": 0})]
CONSTANTS = {
    "zero": np.array(0),
    "one": np.array(1),
    "first": np.array([0]),
    "last": np.array([-1]),
    "two": np.array([2]),
    "minus": np.array([-1]),
    "ones": np.array([1, 1, 1]),
    "scalar": np.array([], np.int64),
    "half": np.asarray(np.float32(0.5)),
    "pair": np.array([0, 2]),
    "matrix": np.array([1, -1]),
}
CHAINS: dict[str, list[Step]] = {
    "gather": BATCH,
    "gather several": [*SIZES, ("Gather", ["t0", "pair"], {})],
    "slice": [*SIZES, ("Slice", ["t0", "first", "two"], {})],
    "slice with step": [*SIZES, ("Slice", ["t0", "last", "minus", "first", "minus"], {})],
    "unsqueeze": [*BATCH, ("Unsqueeze", ["t1", "first"], {})],
    "squeeze": [
        *SIZES,
        ("Slice", ["t0", "first", "two", "first", "two"], {}),
        ("Squeeze", ["t1"], {}),
    ],
    "concat": [
        *BATCH,
        ("Unsqueeze", ["t1", "first"], {}),
        ("Concat", ["t2", "minus"], {"axis": 0}),
    ],
    "arithmetic": [*BATCH, ("Mul", ["t1", "two"], {}), ("Sub", ["t2", "one"], {})],
    "integer division": [*SIZES, ("Div", ["t0", "two"], {}), ("Mod", ["t0", "two"], {})],
    "float": [
        *BATCH,
        ("Cast", ["t1"], {"to": 1}),
        ("Mul", ["t2", "half"], {}),
        ("Floor", ["t3"], {}),
        ("Cast", ["t4"], {"to": 7}),
    ],
    "where": [*SIZES, ("Equal", ["t0", "minus"], {}), ("Where", ["t1", "ones", "t0"], {})],
    "constant of shape": [
        *SIZES,
        ("Shape", ["t0"], {}),
        ("ConstantOfShape", ["t1"], {}),
        ("Add", ["t2", "half"], {}),
    ],
    "logic": [
        *SIZES,
        ("Greater", ["t0", "two"], {}),
        ("Not", ["t1"], {}),
        ("And", ["t1", "t2"], {}),
    ],
    "product": [*SIZES, ("ReduceProd", ["t0"], {"keepdims": 0})],
    "product kept": [*SIZES, ("ReduceProd", ["t0"], {"keepdims": 1})],
    "reshape": [*BATCH, ("Reshape", ["t1", "minus"], {}), ("Reshape", ["t2", "scalar"], {})],
    "minimum": [*SIZES, ("Min", ["t0", "two"], {})],
    "minimum of three": [*SIZES, ("Min", ["t0", "two", "ones"], {})],
    "flatten": [*SIZES, ("Flatten", ["t0"], {"axis": 0})],
    "unsqueeze twice": [
        *SIZES,
        ("Unsqueeze", ["t0", "first"], {}),
        ("Squeeze", ["t1", "first"], {}),
    ],
    "squeeze of a matrix": [*SIZES, ("Unsqueeze", ["t0", "first"], {}), ("Squeeze", ["t1"], {})],
    "cast to boolean": [*SIZES, ("Cast", ["t0"], {"to": 9})],
    "reduce of a number": [*BATCH, ("ReduceMax", ["t1"], {"keepdims": 0})],
    "reshape to a matrix": [*SIZES, ("Reshape", ["t0", "matrix"], {})],
    "size": [("Size", ["x"], {})],
    "identity": [*SIZES, ("Identity", ["t0"], {})],
}


def _model(steps: list[Step]) -> Any:
    nodes = [
        helper.make_node(op_type, inputs, [f"t{index}"], **attributes)
        for index, (op_type, inputs, attributes) in enumerate(steps)
    ]
    shape = ["batch", 3, 4]
    return model_of(nodes, {"x": shape}, [f"t{len(steps) - 1}"], CONSTANTS)


def _targets(imported: ImportedModule) -> list[Any]:
    return [node.target for node in imported.module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("batch", [1, 5])
def test_chains_are_like_onnx_runtime(name: str, batch: int) -> None:
    model = _model(CHAINS[name])
    feeds = {"x": floats(batch, 3, 4)}
    imported = import_model(model)
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
    assert to_list not in _targets(imported)


def test_sizes_that_are_fixed_leave_nothing_to_compute() -> None:
    steps = [*SIZES, ("Gather", ["t0", "one"], {}), ("Mul", ["t1", "two"], {})]
    assert _targets(import_model(_model(steps))) == []


def test_a_view_with_a_free_batch_costs_no_tensors() -> None:
    steps: list[Step] = [
        *BATCH,
        ("Unsqueeze", ["t1", "first"], {}),
        ("Concat", ["t2", "minus"], {"axis": 0}),
        ("Reshape", ["x", "t3"], {}),
    ]
    imported = import_model(_model(steps))
    assert host.to_tensor not in _targets(imported)
    assert run_imported(imported, {"x": floats(7, 3, 4)})[0].shape == (7, 12)


def test_a_gather_from_a_matrix_of_sizes_falls_back_to_tensors() -> None:
    steps: list[Step] = [
        *SIZES,
        ("Unsqueeze", ["t0", "first"], {}),
        ("Gather", ["t1", "one"], {"axis": 1}),
        ("Unsqueeze", ["t2", "first"], {}),
        ("Reshape", ["t0", "ones"], {}),
    ]
    model = _model(steps[:4])
    feeds = {"x": floats(5, 3, 4)}
    assert_same(run_imported(import_model(model), feeds), run_ort(model, feeds))
