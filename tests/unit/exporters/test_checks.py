"""The checks that need no run: each of them can fail."""

import onnx
import pytest

from exporters import checks
from exporters.errors import SurgeryError
from tests.unit.exporters.graphs import build, node


def tiny() -> onnx.ModelProto:
    weights = {"w": (2, 3, 1, 1), "big": (40, 40)}
    return build({"x": ["n", 3, 4, 4]}, {"y": ["n", 2, 4, 4]}, [node("Conv", "x w", "y")], weights)


def test_an_interface_equals_itself() -> None:
    checks.check_interface(tiny(), tiny())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].Clear(), "input 'x'"),
        (lambda m: setattr(m.graph.output[0], "name", "z"), "outputs are now \\['z'\\]"),
        (lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 10), "output 'y'"),
        (lambda m: setattr(m.opset_import[0], "version", 3), "operator sets"),
        (lambda m: setattr(m, "ir_version", 3), "IR version"),
        (lambda m: m.graph.input.add(name="more"), "inputs are now"),
    ],
)
def test_any_change_of_the_interface_is_found(change, message: str) -> None:
    changed = tiny()
    change(changed)
    with pytest.raises(SurgeryError, match=message):
        checks.check_interface(tiny(), changed)


def test_a_file_that_the_checker_refuses_is_refused() -> None:
    broken = tiny()
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(SurgeryError, match=r"not valid ONNX: .*NoSuchOperator"):
        checks.check_valid(tiny(), broken)


def test_a_file_that_was_refused_before_is_not_held_against_the_surgeon() -> None:
    broken = tiny()
    broken.graph.node[0].op_type = "NoSuchOperator"
    checks.check_valid(broken, broken)


def test_a_file_too_large_for_the_checker_is_checked_without_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "_PARSED", 10)
    checks.check_valid(tiny(), tiny())
    broken = tiny()
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(SurgeryError, match="NoSuchOperator"):
        checks.check_valid(tiny(), broken)


def test_shapes_that_come_true_pass_and_others_are_named() -> None:
    shapes = {"x": (1, 3, 4, 4), "y": (1, 2, 4, 4)}
    checks.check_shapes(tiny(), shapes, {"x": (1, 3, 4, 4)})
    with pytest.raises(SurgeryError, match=r"'y' has shape \[1, 2, 4, 4\], predicted is \[1, 5"):
        checks.check_shapes(tiny(), shapes | {"y": (1, 5, 4, 4)}, {"x": (1, 3, 4, 4)})


def test_what_inference_cannot_tell_is_not_held_against_anyone() -> None:
    checks.check_shapes(tiny(), {"y": (7, 2, 4, 4), "unknown": (1,)}, {})
