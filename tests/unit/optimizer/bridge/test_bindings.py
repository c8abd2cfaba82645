from onnx import TensorProto, helper

from optimizer.bridge.bindings import choose_bindings


def _input(name: str, shape: list[int | str | None] | None) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_a_named_batch_is_two_and_seven() -> None:
    bindings = choose_bindings([_input("x", ["batch", 3, 8]), _input("y", ["batch", 1])])
    assert [item.shapes for item in bindings.inputs] == [((2, 3, 8), (7, 3, 8)), ((2, 1), (7, 1))]
    assert not bindings.relaxes_batch


def test_a_fixed_batch_is_tripled_unless_it_must_stay() -> None:
    inputs = [_input("x", [4, 3]), _input("table", [7, 3])]
    bindings = choose_bindings(inputs)
    assert bindings.relaxes_batch
    assert bindings.batch == 4
    assert [item.shapes for item in bindings.inputs] == [((4, 3), (12, 3)), ((7, 3), (7, 3))]
    assert choose_bindings(inputs, free_batch=False).inputs[0].shapes == ((4, 3), (4, 3))


def test_other_free_axes_get_sizes_of_their_own() -> None:
    (image, text) = choose_bindings(
        [_input("image", ["n", 3, "h", "w"]), _input("text", ["n", "length"])]
    ).inputs
    assert image.shapes is not None
    assert text.shapes is not None
    free = [*image.shapes[0][2:], *image.shapes[1][2:], text.shapes[0][1], text.shapes[1][1]]
    assert len(set(free)) == len(free)
    assert all(size % 32 == 0 for size in free[:4])


def test_without_a_rank_there_is_nothing_to_bind() -> None:
    (binding,) = choose_bindings([_input("x", None)]).inputs
    assert binding.shapes is None


def test_a_scalar_has_no_batch() -> None:
    bindings = choose_bindings([_input("alpha", [])])
    assert bindings.inputs[0].shapes == ((), ())
    assert not bindings.relaxes_batch
