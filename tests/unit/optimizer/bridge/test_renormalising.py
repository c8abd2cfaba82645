import copy
import pickle  # noqa: TID251 - data-parallel workers receive modules so
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from exporters.masked import mask
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.testing import HARD_CASES
from optimizer.bridge.binding import bind
from optimizer.bridge.folding import InsertedNorm
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.renormalising import is_folded, renormalise
from optimizer.h2spg.units import fill_zero
from tests.unit.optimizer.bridge.folded_networks import (
    RGB,
    batches,
    conv,
    folded_network,
    head,
    removable,
)
from tests.unit.optimizer.bridge.onnx_models import (
    assert_same,
    floats,
    model_of,
    run_imported,
    run_ort,
)


def renormalised(model: onnx.ModelProto) -> ImportedModule:
    imported = import_model(model)
    renormalise(imported, batches())
    return imported


def norms(imported: ImportedModule) -> list[InsertedNorm]:
    return [part for part in imported.module.modules() if isinstance(part, InsertedNorm)]


def with_weights(model: onnx.ModelProto, imported: ImportedModule) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weights = imported.weights()
    for proto in changed.graph.initializer:
        proto.CopyFrom(numpy_helper.from_array(weights[proto.name], proto.name))
    return changed


def train_steps(imported: ImportedModule, count: int = 12, lr: float = 0.02) -> None:
    imported.module.train()
    optimizer = torch.optim.SGD(imported.module.parameters(), lr=lr, momentum=0.9)
    for (x,) in batches(count, seed=50):
        optimizer.zero_grad()
        (imported.module(x) - x.mean((2, 3)).repeat(1, 2)[:, :4]).square().mean().backward()
        optimizer.step()
    imported.module.eval()


def test_in_evaluation_nothing_changes() -> None:
    model, feeds = folded_network(), {"x": floats(5, 3, 8, 8)}
    imported = renormalised(model)
    assert [one.weight for one in imported.insertions] == [
        f"{name}.w" for name in ("plain", "depthwise", "grouped", "up", "sized")
    ]
    assert [len(norm.gamma) for norm in norms(imported)] == [8, 8, 12, 8, 6]
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
    before, after = import_model(model).weights(), imported.weights()
    assert set(before) == set(after)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-5, atol=1e-5)


def test_the_statistics_are_those_of_the_data() -> None:
    """A training step on the very data it was measured on returns what evaluation returns."""
    imported, data = import_model(folded_network()), batches(1, size=24)
    renormalise(imported, data)
    with torch.no_grad():
        expected = imported.module.eval()(*data[0])
        actual = imported.module.train()(*data[0])
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_after_training_the_folded_file_is_what_was_trained() -> None:
    model, feeds = folded_network(), {"x": floats(5, 3, 8, 8)}
    imported = renormalised(model)
    before = run_imported(imported, feeds)
    train_steps(imported)
    trained = run_imported(imported, feeds)
    assert not np.allclose(before[0], trained[0], atol=0.05)
    norm = norms(imported)[0]
    assert not torch.allclose(norm.gamma.square(), norm.variance, rtol=0.01)
    assert_same(trained, run_ort(with_weights(model, imported), feeds))


def test_every_weight_and_every_norm_gets_a_gradient() -> None:
    imported = renormalised(folded_network())
    (x,) = batches(1)[0]
    imported.module.train()(x).square().sum().backward()
    gradients = {name: p.grad for name, p in imported.module.named_parameters()}
    assert sum(name.endswith("gamma") for name in gradients) == 5
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.any(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_trains_it(dtype: torch.dtype) -> None:
    imported = renormalised(folded_network())
    (x,) = batches(1)[0]
    with torch.autocast("cpu", dtype=dtype):
        output = imported.module.train()(x)
    assert output.dtype == dtype
    output.float().square().mean().backward()
    for name, parameter in imported.module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_copies_and_pickles_keep_the_norms() -> None:
    imported, feeds = renormalised(folded_network()), {"x": floats(4, 3, 8, 8)}
    pickled = pickle.loads(pickle.dumps(imported))  # noqa: S301
    for other in (copy.deepcopy(imported), pickled):
        train_steps(other, 2)
        assert len(norms(other)) == 5
        assert_same(
            run_imported(other, feeds), run_ort(with_weights(folded_network(), other), feeds)
        )
        assert not np.allclose(run_imported(other, feeds)[0], run_imported(imported, feeds)[0])


def test_weights_of_the_file_are_not_loaded_into_another_parametrisation() -> None:
    imported = renormalised(folded_network())
    with pytest.raises(ValueError, match="inserted normalisations"):
        imported.load_weights(imported.weights())
    with pytest.raises(ValueError, match="before"):
        renormalise(imported, batches())


def test_a_dead_channel_stays_dead_and_finite() -> None:
    model = folded_network()
    for proto in model.graph.initializer:
        if proto.name in ("plain.w", "plain.b"):
            array = numpy_helper.to_array(proto).copy()
            array[3] = 0 if proto.name == "plain.w" else -5.0
            proto.CopyFrom(numpy_helper.from_array(array, proto.name))
    imported, feeds = renormalised(model), {"x": floats(4, 3, 8, 8)}
    assert norms(imported)[0].variance[3] == 0
    assert_same(run_imported(imported, feeds), run_ort(model, feeds))
    train_steps(imported, 3)
    assert all(np.isfinite(array).all() for array in imported.weights().values())
    assert_same(run_imported(imported, feeds), run_ort(with_weights(model, imported), feeds))


def refused(nodes: Sequence[onnx.NodeProto], **shapes: tuple[int, ...]) -> dict[str, int]:
    weights = {name.replace("_", "."): floats(*shape) for name, shape in shapes.items()}
    imported = import_model(model_of(nodes, {"x": RGB}, ["y"], weights))
    done = renormalise(imported, batches())
    assert len(done.inserted) == len(norms(imported)) == len(imported.insertions)
    feeds = {"x": floats(3, 3, 8, 8)}
    assert_same(
        run_imported(imported, feeds),
        run_ort(model_of(nodes, {"x": RGB}, ["y"], weights), feeds),
    )
    return dict(done.left)


def test_without_a_bias_there_is_nothing_to_fold_a_shift_into() -> None:
    nodes = [conv("x", "one", "a", bias=False), *head("a")]
    assert refused(nodes, one_w=(4, 3, 1, 1), head_w=(4, 2)) == {"without a bias": 1}


def test_a_weight_or_bias_that_others_use_is_left_alone() -> None:
    nodes = [conv("x", "one", "a"), conv("a", "one", "b"), *head("b")]
    left = refused(nodes, one_w=(3, 3, 1, 1), one_b=(3,), head_w=(3, 2))
    assert left == {"with shared or computed weights": 2}


def test_a_weight_behind_a_transpose_is_left_alone() -> None:
    nodes = [
        helper.make_node("Transpose", ["one.w"], ["w"], perm=[3, 2, 0, 1]),
        helper.make_node("Conv", ["x", "w", "one.b"], ["a"]),
        *head("a"),
    ]
    left = refused(nodes, one_w=(1, 1, 3, 4), one_b=(4,), head_w=(4, 2))
    expected = {"with shared or computed weights": 1}
    assert left in (
        expected,
        {},
    )  # where the importer moves the weight itself, nothing is in the way


def test_a_weight_behind_an_identity_is_its_own() -> None:
    nodes = [
        helper.make_node("Identity", ["one.w"], ["w"]),
        helper.make_node("Conv", ["x", "w", "one.b"], ["a"]),
        *head("a"),
    ]
    assert refused(nodes, one_w=(4, 3, 1, 1), one_b=(4,), head_w=(4, 2)) == {}


def test_the_last_layer_is_left_alone() -> None:
    nodes = [
        conv("x", "one", "a"),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "two", "c"),
        helper.make_node("Sigmoid", ["c"], ["y"]),
    ]
    left = refused(nodes, one_w=(4, 3, 1, 1), one_b=(4,), two_w=(2, 4, 1, 1), two_b=(2,))
    assert left == {"right before an output": 1}


def test_a_gate_is_left_alone() -> None:
    """One value per channel and sample: its batch statistics are those of the batch's content."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        conv("p", "gate", "g"),
        helper.make_node("Mul", ["x", "g"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        *head("b"),
    ]
    weights = {"gate.w": floats(3, 3, 1, 1), "gate.b": floats(3), "head.w": floats(3, 2)}
    imported = import_model(model_of(nodes, {"x": RGB}, ["y"], weights))
    assert renormalise(imported, batches(size=32)).left == {"with one value per channel": 1}


def test_batches_of_few_values_are_not_measured() -> None:
    imported = import_model(folded_network())
    done = renormalise(imported, [[x[:1] for x in batches(1)[0]]])
    assert done.left == {}  # 64 values of one sample, 16 where it is smallest
    tiny = import_model(
        model_of(
            [conv("x", "one", "a"), *head("a")],
            {"x": ("n", 3, 2, 2)},
            ["y"],
            {"one.w": floats(4, 3, 1, 1), "one.b": floats(4), "head.w": floats(4, 2)},
        )
    )
    done = renormalise(tiny, [[torch.randn(3, 3, 2, 2)]])
    assert (done.inserted, done.left) == ((), {"with too few values in a batch": 1})
    assert "1 with too few values" in str(done)


NORMS = {
    "batch": [helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"])],
    "instance": [helper.make_node("InstanceNormalization", ["a", "s", "s"], ["b"])],
    "layer": [
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("LayerNormalization", ["t", "s"], ["u"]),
        helper.make_node("Transpose", ["u"], ["b"], perm=[0, 3, 1, 2]),
    ],
    "written out": [
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["a", "m"], ["d"]),
        helper.make_node("Mul", ["d", "d"], ["q"]),
        helper.make_node("ReduceMean", ["q"], ["v"], axes=[1], keepdims=1),
        helper.make_node("Sqrt", ["v"], ["r"]),
        helper.make_node("Div", ["d", "r"], ["b"]),
    ],
}


@pytest.mark.parametrize("kind", list(NORMS))
def test_what_is_normalised_already_is_left_alone(kind: str) -> None:
    nodes = [conv("x", "one", "a"), *NORMS[kind], *head("b")]
    weights = {
        "one.w": floats(4, 3, 1, 1),
        "one.b": floats(4),
        "head.w": floats(4, 2),
        "s": np.ones(4, np.float32),
    }
    imported = import_model(model_of(nodes, {"x": RGB}, ["y"], weights))
    assert not is_folded(imported)
    assert renormalise(imported, batches()).left == {"in front of a normalisation": 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("residual_add_folded", True), ("residual_add", False), ("layernorm_mlp", False)],
)
def test_a_folded_graph_is_told_from_others(name: str, expected: bool) -> None:
    loaded = load_model(HARD_CASES[name]().SerializeToString())
    assert is_folded(import_model(analyze(loaded).maskable())) == expected


def test_a_folded_network_is_told_from_others() -> None:
    assert is_folded(import_model(folded_network()))


@pytest.mark.parametrize("seed", range(4))
def test_a_removed_unit_is_silent_in_training_and_exactly_zero_when_folded(seed: int) -> None:
    loaded = load_model(removable().SerializeToString())
    analysis = analyze(loaded)
    imported = import_model(analysis.maskable())
    renormalise(imported, batches())
    assert len(norms(imported)) == 5
    binding = bind(analysis, imported)
    layout = binding.layout()
    train_steps(imported, 3)
    rng = np.random.default_rng(seed)
    order = rng.permutation(binding.num_units)
    saliency = torch.from_numpy(order.astype(np.float64))
    nothing = torch.zeros(binding.num_units, dtype=torch.bool)
    removed = binding.chooser(0.4)(saliency, nothing, 1.0)
    assert removed.any()
    with torch.no_grad():
        fill_zero(layout.tensors, layout.positions(removed))
    folded = {name: torch.from_numpy(array) for name, array in imported.weights().items()}
    solution = binding.solution(removed)
    for key, units in solution.removed.items():
        for slices in analysis.space.group_by_id[key].zero:
            for unit in units:
                index = torch.tensor(slices.unit_indices[unit])
                assert not folded[slices.initializer].index_select(slices.axis, index).any()
    feeds = {"x": floats(4, 3, 8, 8, seed=seed)}
    masked = mask(analysis, solution, imported.weights())
    assert_same(run_imported(imported, feeds), run_ort(masked, feeds))


def test_the_gamma_of_a_removed_channel_goes_with_it() -> None:
    """Without its own slices it would keep a removed channel alive: a shifted constant."""
    loaded = load_model(removable().SerializeToString())
    analysis = analyze(loaded)
    imported = import_model(analysis.maskable())
    before = len(bind(analysis, imported).slices())
    renormalise(imported, batches())
    slices = bind(analysis, imported).slices()
    gammas = {id(norm.gamma) for norm in norms(imported)}
    own = [entry for entry in slices if id(entry.parameter) in gammas]
    assert len(slices) == before + len(own)
    assert {id(entry.parameter) for entry in own} == gammas
    tensors = imported.tensors
    for insertion, norm in zip(imported.insertions, norms(imported), strict=True):
        of_gamma = [e.unit_of_position.tolist() for e in own if e.parameter is norm.gamma]
        of_bias = [
            e.unit_of_position.tolist() for e in slices if e.parameter is tensors[insertion.bias]
        ]
        assert of_gamma == of_bias
