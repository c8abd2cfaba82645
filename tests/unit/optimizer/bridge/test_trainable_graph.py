import pickle  # noqa: TID251 - data-parallel workers receive modules so

import numpy as np
from onnx import helper

from optimizer.bridge.module import import_model
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    one_node,
    run_imported,
)

AWKWARD = [
    "a",
    "a.b",
    "training",
    "Identity:0",
    'x"); raise SystemExit("',
    "größe/权重",
    "..",
    "%41",
]


def test_slices_lists_and_keywords_survive_pickling() -> None:
    nodes = [
        helper.make_node("Slice", ["x", "one", "end", "one"], ["a"]),
        helper.make_node("Concat", ["a", "x"], ["b"], axis=1),
        helper.make_node("ReduceMean", ["b"], ["c"], axes=[1], keepdims=1),
        helper.make_node("Dropout", ["c"], ["y"]),
    ]
    constants = {"one": np.array([1]), "end": np.array([3])}
    imported = import_model(model_of(nodes, {"x": ("n", 4)}, ["y"], constants))
    copied = pickle.loads(pickle.dumps(imported))  # noqa: S301
    feeds = {"x": floats(3, 4)}
    assert_same(run_imported(copied, feeds), run_imported(imported, feeds))
    assert [node.name for node in copied.module.graph.nodes] == [
        node.name for node in imported.module.graph.nodes
    ]


def test_what_no_output_needs_is_left_out() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["dead"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    imported = import_model(model_of(nodes, {"x": ("n", 4)}, ["y"], {"w": floats(4, 4)}))
    assert not list(imported.module.parameters())
    assert set(imported.weights()) == {"w"}


def test_weights_of_any_name_run_copy_and_leave_no_trace_in_the_code() -> None:
    nodes = [
        helper.make_node("Add", [previous, name], [f"t{index}"])
        for index, (previous, name) in enumerate(
            zip(["x", *(f"t{i}" for i in range(len(AWKWARD) - 1))], AWKWARD, strict=True)
        )
    ]
    weights = {name: floats(3, seed=index) for index, name in enumerate(AWKWARD)}
    last = f"t{len(AWKWARD) - 1}"
    imported = import_model(model_of(nodes, {"x": ("n", 3)}, [last], weights))
    feeds = {"x": floats(2, 3, seed=99)}
    expected = feeds["x"]
    for array in weights.values():
        expected = expected + array
    copied = pickle.loads(pickle.dumps(imported))  # noqa: S301
    for module in (imported, copied):
        assert_same(run_imported(module, feeds), [expected])
        assert set(module.tensors) == set(AWKWARD)
    assert "SystemExit(" not in imported.module.code


def test_operators_have_names_that_recall_the_file() -> None:
    imported = import_model(one_node("Relu", [floats(2, 3)])[0])
    assert [node.name for node in imported.module.graph.nodes] == ["input_x0", "y0", "output"]
