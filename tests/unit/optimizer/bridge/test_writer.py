import operator

import torch

from optimizer.bridge import host
from optimizer.bridge.values import Value, constant_of
from optimizer.bridge.writer import Writer


def _input(writer: Writer, *shapes: tuple[int, ...]) -> Value:
    return writer.input("x", torch.float32, shapes)


def test_a_call_on_constants_is_made_at_once() -> None:
    writer = Writer({"w": "w"})
    weight = constant_of(torch.ones(2, 3), initializer="w")
    found = writer.emit(torch.add, weight, 1)
    assert found.constant is not None
    assert found.constant.tolist() == [[2, 2, 2], [2, 2, 2]]
    assert found.sources == {"w"}
    assert not list(writer.graph.nodes)
    assert not writer.baked
    writer.node(found)
    assert writer.baked == {"w"}


def test_huge_constants_and_failing_calls_stay_in_the_graph() -> None:
    writer = Writer({})
    seed = constant_of(torch.zeros(1))
    assert writer.emit(torch.broadcast_to, seed, (1 << 23,)).constant is None
    assert writer.emit(torch.reshape, seed, (2, 2)).constant is None


def test_a_parameter_is_never_folded() -> None:
    writer = Writer({"w": "w"})
    weight = writer.parameter("w", torch.ones(2))
    found = writer.emit(torch.add, weight, 1)
    assert found.constant is None
    assert found.shape() == (2,)
    assert isinstance(writer.root.get_parameter("w"), torch.nn.Parameter)


def test_sizes_that_do_not_depend_on_free_axes_are_numbers() -> None:
    writer = Writer({})
    x = _input(writer, (2, 3, 8), (3, 3, 8))
    sizes = writer.shape(x)
    assert isinstance(sizes, Value)
    assert sizes.is_host
    assert writer.emit_host(operator.getitem, sizes, 1, moves=True) == 3
    batch = writer.emit_host(operator.getitem, sizes, 0, moves=True)
    assert isinstance(batch, Value)
    assert batch.probes == (2, 3)
    assert writer.shape(_input(writer, (4, 5), (4, 5))) == (4, 5)


def test_arithmetic_that_happens_to_agree_is_not_folded() -> None:
    writer = Writer({})
    sizes = writer.shape(_input(writer, (2, 3), (3, 3)))
    is_one = writer.emit_host(host.elementwise, "Equal", sizes, 1, dtype=torch.bool)
    assert isinstance(is_one, Value)
    assert is_one.probes == ((False, False), (False, False))


def test_what_does_not_run_at_both_bindings_binds_the_batch() -> None:
    writer = Writer({}, batch=1)
    x = _input(writer, (1, 6), (3, 6))
    writer.emit(torch.reshape, x, (2, 3))
    assert writer.binds_batch


def test_without_shapes_nothing_is_known() -> None:
    writer = Writer({})
    x = writer.input("x", torch.float32, None)
    found = writer.emit(torch.relu, x)
    assert found.shape() is None
    assert found.dtype is None
    assert found.static_shape is None
    assert not writer.binds_batch


def test_host_values_become_tensors_and_back() -> None:
    writer = Writer({})
    x = _input(writer, (2, 3), (3, 3))
    sizes = writer.shape(x)
    assert isinstance(sizes, Value)
    tensor = writer.tensor(sizes)
    assert not tensor.is_host
    assert tensor.shape() == (2,)
    assert writer.numbers(sizes) is sizes
    again = writer.numbers(writer.emit(torch.neg, tensor))
    assert isinstance(again, Value)
    assert again.is_host
    graph = torch.fx.GraphModule(writer.root, writer.graph)
    writer.graph.output(writer.node(again))
    graph.recompile()
    assert graph(torch.zeros(5, 3)) == (-5, -3)


def test_names_from_the_file_never_reach_the_code() -> None:
    writer = Writer({})
    writer.name_next('"); import os #')
    x = _input(writer, (2, 3), (3, 3))
    writer.graph.output(writer.node(writer.emit(torch.relu, x)))
    assert "import" not in writer.graph.python_code("self").src.replace("import_", "")
