"""The proof accepts what is right and, above all, refuses what is wrong."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import proof as proving
from exporters import runner
from exporters.comparison import EXACT
from exporters.errors import ProofFailedError
from exporters.masked import mask
from exporters.proof import prove
from exporters.sessions import ALL, OFF
from exporters.surgeon import shrink
from tests.unit.exporters.graphs import build, node, residual_concat


@pytest.fixture
def pair() -> tuple[onnx.ModelProto, onnx.ModelProto, onnx.ModelProto]:
    """Masked, cut, original."""
    analysis = residual_concat()
    solution = analysis.solution
    return mask(analysis, solution), shrink(analysis, solution), analysis.loaded.model


def edit(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace an initializer by what ``change`` makes of it."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def test_a_right_cut_is_proved_at_two_batch_sizes_and_both_levels(pair) -> None:
    masked, cut, original = pair
    real = {"x": np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)}

    proof = prove(masked, cut, original=original, samples=[real])

    assert proof.passed
    assert proof.batch_sizes == (1, 3, 4)
    assert (proof.samples, proof.real_samples) == (4 + 2 * 1 + 2 * 3, 4)
    assert proof.max_difference < 1e-5
    assert proof.top1_agreement == 1.0
    assert {(f.gate, f.level) for f in proof.figures} == {("G3", OFF), ("G4", ALL), ("G6", OFF)}
    assert all(f.scale > 0 for f in proof.figures)
    assert proof.notes == ()


def shifted(model: onnx.ModelProto, *names: str) -> None:
    """As if the keep indices of these weights had been off by one."""
    original = {
        t.name: numpy_helper.to_array(t) for t in residual_concat().loaded.model.graph.initializer
    }
    for name in names:
        axes = residual_concat().keep[name]
        values = original[name]
        for axis, indices in axes.items():
            last = values.shape[axis] - 1
            values = np.take(values, [min(i + 1, last) for i in indices], axis=axis)
        edit(model, name, lambda _, new=values: new)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: shifted(m, "w0"),
        lambda m: shifted(m, "m4", "var4"),
        lambda m: shifted(m, "b3"),
        lambda m: edit(m, "w2", lambda w: w[::-1]),
        lambda m: edit(m, "wf", lambda w: w[:, [1, 0, 2, 3, 4, 5]]),
        lambda m: edit(m, "b2", np.zeros_like),
        lambda m: edit(m, "s4", lambda s: s * (1 + 1e-3)),
        lambda m: edit(m, "bf", np.zeros_like),
    ],
    ids=[
        "keep index off by one",
        "statistics cut elsewhere",
        "bias cut elsewhere",
        "channels swapped in a convolution",
        "two columns swapped",
        "bias forgotten",
        "one thousandth off",
        "last bias forgotten",
    ],
)
def test_a_wrong_cut_is_refused_with_its_figures(pair, spoil) -> None:
    masked, cut, original = pair
    spoil(cut)
    with pytest.raises(ProofFailedError, match="proof failed at G3: 'y' differs") as caught:
        prove(masked, cut, original=original)
    assert caught.value.exit_code == 4
    assert caught.value.code == "verification-failed"
    failed = caught.value.proof.figures[-1]
    assert not caught.value.proof.passed
    assert not failed.passed
    assert failed.max_difference > failed.limit


def test_masking_only_the_producers_is_refused(pair) -> None:
    """The shift of the normalisation leaks through: the reference itself is wrong."""
    _, cut, original = pair
    masked = onnx.ModelProto()
    masked.CopyFrom(original)
    for name, gone in (("w0", [1, 4, 5, 6]), ("w1", [0, 2, 3, 5]), ("w3", [0, 1])):
        edit(
            masked,
            name,
            lambda w, gone=gone: np.where(
                np.isin(np.arange(len(w)), gone)[:, None, None, None], 0, w
            ).astype(np.float32),
        )
    with pytest.raises(ProofFailedError, match="G3"):
        prove(masked, cut, original=original)


def test_an_all_zero_reference_proves_nothing(pair) -> None:
    masked, cut, original = pair
    for model in (masked, cut):
        edit(model, "wf", np.zeros_like)
        edit(model, "bf", np.zeros_like)
    with pytest.raises(ProofFailedError, match="output 'y' is 0 on every input"):
        prove(masked, cut, original=original)


def test_an_all_zero_candidate_is_refused(pair) -> None:
    masked, cut, original = pair
    edit(cut, "wf", np.zeros_like)
    edit(cut, "bf", np.zeros_like)
    with pytest.raises(ProofFailedError, match="differs"):
        prove(masked, cut, original=original)


def silent_unless(op: str, **attributes: object) -> onnx.ModelProto:
    nodes = [node(op, "x", "a", **attributes), node("Relu", "a", "y")]
    return build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, {})


def test_inputs_are_drawn_again_until_the_reference_speaks() -> None:
    """Shrink with threshold 5 silences every standard normal number."""
    model = silent_unless("Shrink", lambd=5.0)
    assert prove(model, model, original=model).passed


def test_a_reference_that_is_finite_for_positive_numbers_only_is_drawn_again() -> None:
    model = silent_unless("Sqrt")
    assert prove(model, model, original=model).passed


def test_a_reference_that_is_never_finite_is_refused() -> None:
    nodes = [node("Sub", "x x", "zero"), node("Div", "x zero", "y")]
    model = build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, {})
    with pytest.raises(
        ProofFailedError,
        match="nothing was compared; the original is not finite on some random inputs",
    ):
        prove(model, model, original=model)


def test_a_cut_that_is_not_finite_is_refused(pair) -> None:
    masked, cut, original = pair
    edit(cut, "bf", lambda b: np.full_like(b, np.nan))
    with pytest.raises(ProofFailedError, match="output 'y' of the cut model is not finite"):
        prove(masked, cut, original=original)


def test_a_cut_that_does_not_run_is_refused_in_one_line(pair) -> None:
    masked, cut, original = pair
    edit(cut, "m4", lambda m: m[:-1])
    with pytest.raises(ProofFailedError, match="the cut model does not run") as caught:
        prove(masked, cut, original=original)
    assert "\n" not in str(caught.value)


def test_a_changed_interface_is_refused(pair) -> None:
    masked, cut, original = pair
    cut.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ProofFailedError, match="failed at G7: type or axes of the input 'x'"):
        prove(masked, cut, original=original)


def two_outputs(second: float) -> onnx.ModelProto:
    nodes = [node("Identity", "x", "y"), node("Mul", "x factor", "z")]
    outputs = {"y": ["n", 4], "z": ["n", 4]}
    return build({"x": ["n", 4]}, outputs, nodes, {"factor": np.float32(second)})


def test_one_silent_output_of_two_is_refused_unless_it_was_silent_before() -> None:
    with pytest.raises(ProofFailedError, match="output 'z' is 0 on every input"):
        prove(two_outputs(0), two_outputs(0), original=two_outputs(1))
    proof = prove(two_outputs(0), two_outputs(0), original=two_outputs(0))
    assert proof.notes == ("output 'z' is 0 in the original too: nothing to compare",)


def test_real_samples_are_never_replaced_by_friendlier_ones() -> None:
    model = silent_unless("Sqrt")
    bad = {"x": -np.ones((1, 4), np.float32)}
    with pytest.raises(ProofFailedError, match="not finite on real input"):
        prove(model, model, original=model, samples=[bad])


def test_a_length_of_a_free_axis_written_into_the_file_is_found() -> None:
    """Batch 1 and 3 pass; only a longer sequence shows that 8 was baked in."""

    def model(target: list[int]) -> onnx.ModelProto:
        nodes = [node("Reshape", "x target", "r"), node("Sigmoid", "r", "y")]
        shapes = {"x": ["n", "s", 4]}
        return build(shapes, {"y": ["n", "s", 4]}, nodes, {"target": np.asarray(target)})

    right, baked = model([0, -1, 4]), model([-1, 8, 4])
    assert len(prove(right, right, original=right).figures) == 4 + 1 + 2 * 5 + 1
    with pytest.raises(ProofFailedError, match=r"does not run|differs"):
        prove(right, baked, original=right)


def test_batches_that_mix_are_noted_when_the_original_mixes_too() -> None:
    nodes = [node("ReduceMean", "x", "m", axes=[0]), node("Sub", "x m", "d"), node("Exp", "d", "y")]
    model = build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, {})
    proof = prove(model, model, original=model)
    assert proof.passed
    assert proof.notes == ("the original's samples depend on the rest of their batch",)


def test_batches_that_begin_to_mix_are_refused() -> None:
    original = build({"x": ["n", 4]}, {"y": ["n", 4]}, [node("Exp", "x", "y")], {})
    nodes = [node("ReduceMean", "x", "m", axes=[0]), node("Sub", "x m", "d"), node("Exp", "d", "y")]
    mixing = build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, {})
    with pytest.raises(ProofFailedError, match="failed at G6"):
        prove(mixing, mixing, original=original)


def test_fixed_batches_are_proved_at_their_own_size() -> None:
    model = build({"x": [2, 4]}, {"y": [2, 4]}, [node("Exp", "x", "y")], {})
    proof = prove(model, model, original=model)
    assert proof.batch_sizes == (2,)
    assert {figure.gate for figure in proof.figures} == {"G3", "G4"}


class Lying:
    """ONNX Runtime as it is at its default level for some graphs: wrong."""

    def __init__(self, wrong: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.honest = runner.open_session
        self.wrong = wrong
        self.models: dict[bytes, str] = {}
        monkeypatch.setattr(runner, "open_session", self.open)
        monkeypatch.setattr(runner, "run", self.run)

    def open(self, model: onnx.ModelProto, *, level: str):
        self.last = self.honest(model, level=level)
        is_wrong = level == ALL and model.producer_name in self.wrong
        return self.last, is_wrong

    @staticmethod
    def run(session, feeds):
        honest, is_wrong = session
        values = dict(zip(["y"], honest.run(["y"], dict(feeds)), strict=True))
        return {"y": values["y"] + 1} if is_wrong else values


def named_models() -> dict[str, onnx.ModelProto]:
    models = {}
    for name in ("masked", "cut", "original"):
        model = build({"x": ["n", 4]}, {"y": ["n", 4]}, [node("Exp", "x", "y")], {})
        model.producer_name = name
        models[name] = model
    return models


def test_an_original_that_disagrees_with_itself_is_reported(monkeypatch) -> None:
    Lying({"masked", "cut", "original"}, monkeypatch)
    models = named_models()
    proof = prove(models["masked"], models["cut"], original=models["original"])
    assert proof.passed
    assert "disagrees with itself between optimisation levels" in proof.notes[0]


def test_a_cut_that_alone_disagrees_between_levels_is_refused(monkeypatch) -> None:
    Lying({"cut"}, monkeypatch)
    models = named_models()
    with pytest.raises(ProofFailedError, match="failed at G4"):
        prove(models["masked"], models["cut"], original=models["original"])


def test_another_choice_is_refused_even_within_the_level_tolerance(monkeypatch) -> None:
    model = build({"x": ["n", 4]}, {"y": ["n", 4]}, [node("Exp", "x", "y")], {})
    monkeypatch.setattr(proving, "top1", lambda *_: (1, 2))
    with pytest.raises(ProofFailedError, match="1 of 2 rows choose another class"):
        prove(model, model, original=model)


def test_sequences_and_maps_are_compared_too() -> None:
    nodes = [helper.make_node("SplitToSequence", ["x"], ["y"], name="s", axis=0, keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "seq",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    proof = prove(model, model, original=model)
    assert proof.figures[0].output in ("y[0]", "y[1]")


def test_the_tolerance_is_the_published_one() -> None:
    assert (EXACT.relative, EXACT.absolute) == (1e-5, 1e-6)


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with float16 weights, inputs and outputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*result.graph.input, *result.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return result


def test_half_precision_is_judged_in_single_precision(pair) -> None:
    masked, cut, original = (half(model) for model in pair)
    proof = prove(masked, cut, original=original)
    assert proof.passed
    assert {figure.level for figure in proof.figures} == {OFF, ALL, "all, half precision"}
    assert proof.max_difference < 1e-5


def test_a_difference_that_half_precision_would_hide_is_found(pair) -> None:
    masked, cut, original = (half(model) for model in pair)
    edit(cut, "s4", lambda s: s * np.float16(1 + 2e-3))
    with pytest.raises(ProofFailedError, match="G3"):
        prove(masked, cut, original=original)


def test_a_half_precision_file_the_runtime_cannot_run_is_noted(pair, monkeypatch) -> None:
    masked, cut, original = (half(model) for model in pair)
    real = runner.open_session

    def refuse(model: onnx.ModelProto, *, level: str):
        if model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16:
            raise RuntimeError
        return real(model, level=level)

    monkeypatch.setattr(runner, "open_session", refuse)
    proof = prove(masked, cut, original=original)
    assert proof.notes == ("ONNX Runtime does not run the half-precision original here",)


def test_a_reference_that_overflows_half_precision_is_noted(pair) -> None:
    masked, cut, original = (half(model) for model in pair)
    for model in (masked, cut, original):
        edit(model, "wf", lambda w: w * np.float16(1e4))
        edit(model, "bf", lambda b: b + np.float16(6e4))
    proof = prove(masked, cut, original=original)
    expected = "the original overflows half precision on some inputs, as the masked model does"
    assert expected in proof.notes


def test_a_reference_that_alone_overflows_half_precision_is_refused(pair) -> None:
    masked, cut, original = (half(model) for model in pair)
    for model in (masked, cut):
        edit(model, "wf", lambda w: w * np.float16(1e4))
        edit(model, "bf", lambda b: b + np.float16(6e4))
    with pytest.raises(ProofFailedError, match=r"masked model is not finite .* half precision"):
        prove(masked, cut, original=original)


def overflowing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default level the outputs of the model called ``name`` are no numbers."""
    honest = Lying({name}, monkeypatch).run

    def run(session, feeds):
        values = honest((session[0], False), feeds)
        return {"y": values["y"] * np.nan} if session[1] else values

    monkeypatch.setattr(runner, "run", run)


@pytest.mark.parametrize("name", ["cut", "masked"])
def test_what_is_not_finite_with_optimisations_on_is_refused(name: str, monkeypatch) -> None:
    overflowing(name, monkeypatch)
    models = named_models()
    models["original"].producer_name = "original"
    with pytest.raises(ProofFailedError, match=f"G4: output 'y' of the {name} model is not finite"):
        prove(models["masked"], models["cut"], original=models["original"])


def test_a_masked_model_that_does_not_run_is_said_so(pair) -> None:
    masked, cut, original = pair
    sample = {"x": np.zeros((1, 5, 8, 8), np.float32)}
    with pytest.raises(ProofFailedError, match="the masked model does not run"):
        prove(masked, cut, original=original, samples=[sample])


def test_random_inputs_that_the_original_cannot_take_are_left_out() -> None:
    """Finite on real samples only: these prove, and the proof says what it left out."""
    offset = np.full(4, 300, np.float32)
    nodes = [node("Sub", "x offset", "shifted"), node("Sqrt", "shifted", "y")]
    model = build({"x": ["n", 4]}, {"y": ["n", 4]}, nodes, {"offset": offset})
    real = {"x": np.full((2, 4), 400, np.float32) + np.arange(4, dtype=np.float32)}
    proof = prove(model, model, original=model, samples=[real])
    assert proof.passed
    assert proof.real_samples == proof.samples == 2
    assert any("not finite on some random inputs" in text for text in proof.notes)


def test_only_some_inputs_fix_their_first_axis() -> None:
    """A free one beside them gets a sample, not none: nothing is proved on empty tensors."""
    model = build({"x": ["n", 4], "s": [1, 4]}, {"y": ["n", 4]}, [node("Mul", "x s", "y")], {})
    proof = prove(model, model, original=model)
    assert proof.batch_sizes == (1,)
    assert all(figure.scale > 0 for figure in proof.figures)
