"""Nodes that are not as ONNX defines them are refused by name: no other error leaves the importer.

Damage is done to ONNX's own test cases, one of each operator, at random but always the same.
"""

import random
import warnings
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graph_analysis.errors import InputError, ModelError
from optimizer.bridge.module import import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import model_of

_VALUES = (-1, 0, 3, 99, 1 << 40, 0.5, "", "odd", b"\xff", [0], [1, 1], [0.5], ["a"], [2, 3, 4, 5])
_TYPES = (TensorProto.UINT8, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)
_SHAPES = (None, (), (0,), (1,), ("n", 2), (1, 0, 3), (2, 3, 4, 5, 6))
_ATTEMPTS = 12


@cache
def _cases() -> tuple[onnx.ModelProto, ...]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the cases divide by zero on purpose
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases()
    first: dict[str, onnx.ModelProto] = {}
    for case in collected:
        if len(case.model.graph.node) == 1:
            first.setdefault(case.model.graph.node[0].op_type, case.model)
    return tuple(first.values())


def _damaged(model: onnx.ModelProto, rng: random.Random) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice((_attribute, _attribute, _input, _type))(copy, rng)
    return copy


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    (node,) = model.graph.node
    names = {attribute.name for attribute in node.attribute}
    if onnx.defs.has(node.op_type, domain=node.domain):
        names.update(onnx.defs.get_schema(node.op_type, domain=node.domain).attributes)
    if not names:
        return
    name = rng.choice(sorted(names))
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if rng.random() < 0.8:
        node.attribute.append(helper.make_attribute(name, rng.choice(_VALUES)))


def _input(model: onnx.ModelProto, rng: random.Random) -> None:
    (node,) = model.graph.node
    if node.input and rng.random() < 0.7:
        node.input[rng.randrange(len(node.input))] = ""
    elif node.input:
        node.input.append(node.input[0])


def _type(model: onnx.ModelProto, rng: random.Random) -> None:
    infos = [info for info in model.graph.input if info.type.HasField("tensor_type")]
    if infos:
        info = rng.choice(infos)
        kind = rng.choice((info.type.tensor_type.elem_type, *_TYPES))
        info.CopyFrom(helper.make_tensor_value_info(info.name, kind, rng.choice(_SHAPES)))


@pytest.mark.filterwarnings("ignore")  # torch warns of what it is given here, as it should
@pytest.mark.parametrize("seed", range(_ATTEMPTS))
def test_odd_nodes_are_imported_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    refused = 0
    for model in _cases():
        damaged = _damaged(model, rng)
        try:
            import_model(damaged)
        except InputError:
            refused += 1
        except Exception as error:
            error.add_note(onnx.printer.to_text(damaged))
            raise
    assert 0 < refused < len(_cases())


@pytest.mark.parametrize(
    ("op_type", "attributes", "text"),
    [
        ("EyeLike", {"dtype": TensorProto.STRING}, "KeyError: 8"),
        ("Einsum", {}, "AttributeError"),
        ("Cast", {"to": [1, 2]}, "unhashable"),
        ("Elu", {"alpha": b"\xff"}, "UnicodeDecodeError"),
        ("ReduceMean", {"axes": 1}, "not iterable"),
    ],
)
def test_a_node_that_cannot_be_translated_is_named(
    op_type: str, attributes: dict[str, object], text: str
) -> None:
    nodes = [
        helper.make_node(op_type, ["x"], ["a"], name="odd", **attributes),
        helper.make_node("Magic", ["x"], ["b"], name="other", domain="com.acme"),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    with pytest.raises(UnsupportedOperatorsError, match="'odd' has inputs or attr") as caught:
        import_model(model_of(nodes, {"x": (2, 3)}, ["y"], {}, opset=17))
    first, second = caught.value.operators
    assert text in first.reason
    assert second.nodes == ("other",)


def test_a_graph_that_is_not_sound_is_refused_before_anything_is_translated() -> None:
    nodes = [helper.make_node("Sin", [], ["a"], name="odd"), helper.make_node("Cos", ["x"], ["y"])]
    with pytest.raises(ModelError, match="odd") as caught:
        import_model(model_of(nodes, {"x": (2, 3)}, ["y"], {}))
    assert caught.value.code == "model-attribute"


def test_our_own_faults_are_not_put_down_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        message = "own"
        raise KeyError(message)

    monkeypatch.setattr("optimizer.bridge.module.fuse_graph", fail)
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    with pytest.raises(KeyError, match="own"):
        import_model(model_of(nodes, {"x": (2, 3)}, ["y"], {}))
