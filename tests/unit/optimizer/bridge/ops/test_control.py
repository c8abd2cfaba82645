"""If, Loop and Scan against ONNX Runtime, and what is known of them at import."""

import copy
import io
import pickle  # noqa: TID251 - data-parallel workers receive modules so
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser

from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.testing import HARD_CASES, random_control_flow_network
from graph_analysis.testing.control_flow import CASES
from optimizer.bridge.binding import bind
from optimizer.bridge.control import BatchedScanModule, IfModule, LoopModule, ScanModule
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.errors import UnsupportedOperatorsError
from tests.unit.optimizer.bridge.onnx_models import assert_same, floats, run_imported, run_ort

Feeds = Mapping[str, np.ndarray]
MODULES = (IfModule, LoopModule, ScanModule, BatchedScanModule)


def model(
    inputs: str, outputs: str, nodes: str, *, opset: int = 17, **weights: np.ndarray
) -> onnx.ModelProto:
    """A model from ONNX's textual form; ``weights`` become initializers."""
    head = f'<ir_version: 8, opset_import: ["" : {opset}]>'
    result = parser.parse_model(f"{head} graph ({inputs}) => ({outputs}) {{ {nodes} }}")
    result.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in weights.items()
    )
    return result


def check(tested: onnx.ModelProto, *feeds: Feeds) -> ImportedModule:
    """Compare with ONNX Runtime on several inputs, also after copying and pickling."""
    imported = import_model(tested)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(imported)))  # noqa: S301 - our own bytes
    for each in feeds:
        expected = run_ort(tested, each)
        assert_same(run_imported(imported, each), expected)
        assert_same(run_imported(copied, each), expected)
    return imported


def control_modules(imported: ImportedModule) -> list[str]:
    return [type(each).__name__ for each in imported.module.modules() if isinstance(each, MODULES)]


def gradients(imported: ImportedModule, feeds: Feeds) -> dict[str, float]:
    """Largest gradient of the sum of squares of all outputs, per parameter."""
    imported.module.train()
    found = imported.module(*(torch.from_numpy(feeds[name]) for name in imported.input_names))
    outputs = found if isinstance(found, tuple) else (found,)
    sum(output.square().sum() for output in outputs).backward()
    return {
        name: float(tensor.grad.abs().max())
        for name, tensor in imported.tensors.items()
        if isinstance(tensor, torch.nn.Parameter) and tensor.grad is not None
    }


# The hard cases -----------------------------------------------------------------------------------


def _samples(tested: onnx.ModelProto, *, batch: int, seeds: int = 1) -> list[Feeds]:
    shapes = {
        info.name: [dim.dim_value or batch for dim in info.type.tensor_type.shape.dim]
        for info in tested.graph.input
    }
    ones = [
        {name: floats(*shape, seed=seed) for name, shape in shapes.items()} for seed in range(seeds)
    ]
    return [*ones, *({name: -array for name, array in one.items()} for one in ones)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_hard_cases(case: object) -> None:
    tested = case()
    imported = check(tested, *_samples(tested, batch=3), *_samples(tested, batch=5))
    assert imported.batch_is_free
    weights = {name for name, _ in imported.module.named_parameters()}
    reached: set[str] = set()
    for feeds in _samples(tested, batch=3, seeds=5):
        found = gradients(imported, feeds)
        assert np.isfinite(list(found.values())).all()
        reached |= {imported.paths[name] for name in found}
    assert reached == weights


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_slice_of_the_search_space_is_found(case: object) -> None:
    analysis = analyze(load_model(case().SerializeToString()))
    imported = import_model(analysis.maskable())
    bind(analysis, imported)
    wanted = {
        slices.initializer
        for group in analysis.space.groups
        for slices in (*group.zero, *group.masks)
    }
    assert wanted
    assert wanted <= set(imported.tensors)


@pytest.mark.parametrize("seed", range(24))
def test_random_bodies(seed: int) -> None:
    tested = random_control_flow_network(seed)
    check(tested, *_samples(tested, batch=2))
    analysis = analyze(load_model(tested.SerializeToString()))
    masked = analysis.maskable()
    imported = check(masked, *_samples(masked, batch=3))
    bind(analysis, imported)


def test_one_name_in_two_bodies_is_two_weights() -> None:
    branch = (
        """b () => (float[N,3] {out}) <float[4,3] w = {{{values}}}> {{ {out} = MatMul(x, w) }}"""
    )
    numbers = np.linspace(-1, 1, 12)
    then = branch.format(out="a", values=", ".join(map(str, numbers)))
    other = branch.format(out="b", values=", ".join(map(str, -numbers)))
    tested = model(
        "float[N,4] x",
        "float[N,3] y",
        f"""total = ReduceSum <keepdims = 0> (x) zero = Constant <value_float = 0.0> ()
        c = Greater (total, zero)
        y = If <then_branch: graph = {then}, else_branch: graph = {other}> (c)""",
    )
    x = np.abs(floats(2, 4))
    imported = check(tested, {"x": x}, {"x": -x})
    assert set(imported.tensors) == {"w", "w__2"}
    np.testing.assert_array_equal(imported.weights()["w"], -imported.weights()["w__2"])


# If -----------------------------------------------------------------------------------------------

THEN_MATMUL = "t () => (float[A,B] t) { t = MatMul (x, w) }"
ELSE_SLICE = "e () => (float[C,D] e) { e = Slice (x, zero, two, one) }"


def _if(condition: str) -> str:
    return f"""zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> () {condition}
    y = If <then_branch: graph = {THEN_MATMUL}, else_branch: graph = {ELSE_SLICE}> (c)"""


def test_a_known_condition_leaves_one_branch() -> None:
    nodes = _if("r = Shape (x) l = Size (r) k = Constant <value_int = 2> () c = Equal (l, k)")
    tested = model("float[N,4] x", "float[P,Q] y", nodes, w=floats(4, 4))
    imported = check(tested, {"x": floats(3, 4)})
    assert control_modules(imported) == []
    assert not any(node.op == "call_module" for node in imported.module.graph.nodes)


def test_the_branch_not_taken_may_hold_anything() -> None:
    nodes = _if("c = Constant <value = bool {1}> ()").replace(
        "Slice (x, zero, two, one)", "Foo (x)"
    )
    tested = model("float[N,4] x", "float[P,Q] y", nodes, w=floats(4, 4))
    (found,) = run_imported(import_model(tested), {"x": floats(3, 4)})
    np.testing.assert_allclose(found, floats(3, 4) @ floats(4, 4), rtol=1e-5)


def test_a_condition_on_sizes_does_not_wait_for_the_device() -> None:
    nodes = _if("r = Shape <start = 0, end = 1> (x) s = Squeeze (r) c = Greater (s, t3)")
    tested = model("float[N,4] x", "float[P,Q] y", nodes, w=floats(4, 4), t3=np.array(3, np.int64))
    imported = check(tested, {"x": floats(3, 4)}, {"x": floats(5, 4)})
    assert control_modules(imported) == ["IfModule"]
    assert not any(node.target is torch.Tensor.tolist for node in imported.module.graph.nodes)
    (call,) = (node for node in imported.module.graph.nodes if node.op == "call_module")
    assert isinstance(_run_to(imported, call.args[0], torch.zeros(5, 4)), bool)


def _run_to(imported: ImportedModule, node: torch.fx.Node, *args: torch.Tensor) -> object:
    class Watching(torch.fx.Interpreter):
        seen: object = None

        def run_node(self, n: torch.fx.Node) -> object:
            result = super().run_node(n)
            if n is node:
                self.seen = result
            return result

    watching = Watching(imported.module)
    watching.run(*args)
    return watching.seen


def test_a_condition_that_is_data() -> None:
    nodes = _if("s = ReduceSum <keepdims = 0> (x) f = Cast <to = 1> (s) c = Cast <to = 9> (flag)")
    tested = model("float[N,4] x, int64 flag", "float[P,Q] y", nodes, w=floats(4, 4))
    x = floats(3, 4)
    imported = check(tested, {"x": x, "flag": np.array(1)}, {"x": x, "flag": np.array(0)})
    assert control_modules(imported) == ["IfModule"]


def test_branches_that_give_shapes_stay_on_the_host() -> None:
    then = "t () => (int64[2] t) { m = Constant <value_ints = [-1, 2]> () t = Identity (m) }"
    other = "e () => (int64[2] e) { n = Constant <value_ints = [-1, 4]> () e = Identity (n) }"
    nodes = f"""r = Shape <start = 0, end = 1> (x) s = Squeeze (r) c = Greater (s, three)
    shape = If <then_branch: graph = {then}, else_branch: graph = {other}> (c)
    y = Reshape (x, shape)"""
    tested = model("float[N,4] x", "float[P,Q] y", nodes, three=np.array(3, np.int64))
    check(tested, {"x": floats(3, 4)}, {"x": floats(5, 4)})


# Loop ---------------------------------------------------------------------------------------------

BODY = """b (int64 i, bool g, float[N,4] s) => (bool again, float[N,4] s2, float[N,2] o)
<float[4,2] v = {0.5, 1, -1, 0.25, 0.75, -0.5, 0.1, 1}> {
    again = Identity (g) p = MatMul (s, w) q = Tanh (p) s2 = Add (q, x) o = MatMul (s2, v) }"""
COUNTED = f'y, z = Loop <body: graph = {BODY}> (n, "", x)'
TYPES = "float[N,4] y, float[M,N,2] z"


@pytest.mark.parametrize("count", [1, 3])
def test_few_iterations_are_written_out(count: int) -> None:
    tested = model("float[N,4] x", TYPES, COUNTED, w=floats(4, 4), n=np.array(count, np.int64))
    assert control_modules(check(tested, {"x": floats(3, 4)})) == []


def test_many_iterations_are_a_module() -> None:
    tested = model("float[N,4] x", TYPES, COUNTED, w=0.1 * floats(4, 4), n=np.array(500))
    imported = check(tested, {"x": floats(3, 4)})
    assert control_modules(imported) == ["LoopModule"]
    assert set(gradients(imported, {"x": floats(3, 4)})) == {"w", "v"}


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_count_that_is_data(shape: tuple[int, ...]) -> None:
    sizes = "[1]" if shape else ""
    tested = model(f"float[N,4] x, int64{sizes} n", TYPES, COUNTED, w=floats(4, 4))
    feeds = [{"x": floats(3, 4), "n": np.full(shape, count)} for count in (2, 5, 1)]
    assert control_modules(check(tested, *feeds)) == ["LoopModule"]


def test_no_iteration_at_all() -> None:
    nodes = COUNTED.replace("float[N,2] o)", "float[3,2] o)")
    tested = model("float[3,4] x, int64 n", TYPES, nodes, w=floats(4, 4))
    check(tested, {"x": floats(3, 4), "n": np.array(0)}, {"x": floats(3, 4), "n": np.array(-2)})


def test_no_iteration_is_known_at_import() -> None:
    nodes = COUNTED.replace("float[N,2] o)", "float[3,2] o)")
    tested = model("float[3,4] x", TYPES, nodes, w=floats(4, 4), n=np.array(0))
    check(tested, {"x": floats(3, 4)})


def test_a_count_from_a_shape_does_not_wait_for_the_device() -> None:
    nodes = f"r = Shape <start = 0, end = 1> (x) n = Squeeze (r) {COUNTED}"
    tested = model("float[N,4] x", TYPES, nodes, w=floats(4, 4))
    imported = check(tested, {"x": floats(3, 4)}, {"x": floats(6, 4)})
    assert control_modules(imported) == ["LoopModule"]
    (call,) = (node for node in imported.module.graph.nodes if node.op == "call_module")
    assert _run_to(imported, call.args[0], torch.zeros(5, 4)) == 5


def test_a_condition_on_the_state_ends_the_loop() -> None:
    body = """b (int64 i, bool g, float[N,4] s) => (bool again, float[N,4] s2)
    { s2 = Mul (s, half) t = ReduceSum <keepdims = 0> (s2) again = Greater (t, one) }"""
    nodes = f"""one = Constant <value_float = 1.0> () half = Constant <value_float = 0.5> ()
    y = Loop <body: graph = {body}> ("", yes, x) """
    tested = model("float[N,4] x, bool yes", "float[N,4] y", nodes)
    feeds = [
        {"x": np.full((2, 4), size, np.float32), "yes": np.array(yes)}
        for size in (10, 1, 100)
        for yes in (True, False)
    ]
    assert control_modules(check(tested, *feeds)) == ["LoopModule"]


def test_a_while_loop_over_a_counter_is_written_out() -> None:
    body = """b (int64 i, bool g, int64 k, float[N,4] s) => (bool again, int64 k2, float[N,4] s2)
    { k2 = Add (k, one) again = Less (k2, four) s2 = Relu (s) }"""
    nodes = f"""one = Constant <value_int = 1> () four = Constant <value_int = 4> ()
    yes = Constant <value = bool {{1}}> () zero = Constant <value_int = 0> ()
    last, y = Loop <body: graph = {body}> ("", yes, zero, x)"""
    tested = model("float[N,4] x", "float[N,4] y, int64 last", nodes)
    assert control_modules(check(tested, {"x": floats(2, 4)})) == []


def test_the_step_is_an_index_and_a_number() -> None:
    body = """b (int64 i, bool g, float[N,4] s) => (bool again, float[N,4] s2)
    { again = Identity (g) row = Gather <axis = 0> (table, i) f = Cast <to = 1> (i)
      m = Mul (row, f) s2 = Add (s, m) }"""
    nodes = f'y = Loop <body: graph = {body}> (n, "", x)'
    tested = model("float[N,4] x, int64 n", "float[N,4] y", nodes, table=floats(6, 4))
    imported = check(
        tested, {"x": floats(2, 4), "n": np.array(5)}, {"x": floats(2, 4), "n": np.array(2)}
    )
    assert set(gradients(imported, {"x": floats(2, 4), "n": np.array(3)})) == {"table"}


def test_a_counter_among_the_states_slices() -> None:
    """A running position: shape arithmetic that goes from one iteration to the next."""
    body = """b (int64 i, bool g, int64[1] k, float[N,P] s)
    => (bool again, int64[1] k2, float[N,P2] s2)
    { again = Identity (g) k2 = Add (k, one) part = Slice (x, k, k2, one)
      s2 = Concat <axis = 1> (s, part) }"""
    nodes = f"""one = Constant <value_ints = [1]> () zero = Constant <value_ints = [0]> ()
    last, y = Loop <body: graph = {body}> (n, "", zero, x)"""
    nodes = nodes.replace("Slice (x, k, k2, one)", "Slice (x, k, k2, one, one)")
    tested = model("float[N,4] x, int64 n", "float[N,Q] y, int64[1] last", nodes)
    check(tested, {"x": floats(2, 4), "n": np.array(3)}, {"x": floats(2, 4), "n": np.array(0)})


def test_a_state_may_grow() -> None:
    body = """b (int64 i, bool g, float[N,P] s) => (bool again, float[N,P2] s2, float[N] o)
    { again = Identity (g) s2 = Concat <axis = 1> (s, x)
      o = ReduceSum <keepdims = 0> (s2, last) }"""
    nodes = f"""last = Constant <value_ints = [-1]> ()
    y, z = Loop <body: graph = {body}> (n, "", x)"""
    tested = model("float[N,4] x, int64 n", "float[N,Q] y, float[R,N] z", nodes)
    check(tested, {"x": floats(2, 4), "n": np.array(3)}, {"x": floats(3, 4), "n": np.array(1)})


def test_a_fixed_batch_stays_right_with_a_growing_state() -> None:
    body = """b (int64 i, bool g, float[2,P,4] s) => (bool again, float[2,P2,4] s2)
    { again = Identity (g) h = MatMul (x, w) s2 = Concat <axis = 1> (s, h) }"""
    nodes = f"""shape = Constant <value_ints = [2, -1]> ()
    l = Loop <body: graph = {body}> (n, "", x) y = Reshape (l, shape)"""
    tested = model("float[2,3,4] x, int64 n", "float[2,Q] y", nodes, w=floats(4, 4))
    check(tested, {"x": floats(2, 3, 4), "n": np.array(3)})


def test_loops_inside_loops_capture_from_all_levels() -> None:
    inner = """c (int64 j, bool h, float[N,4] t) => (bool more, float[N,4] t2)
    { more = Identity (h) a = MatMul (t, w) b = Add (a, s) d = Mul (b, x) t2 = Tanh (d) }"""
    outer = f"""b (int64 i, bool g, float[N,4] s) => (bool again, float[N,4] s2)
    {{ again = Identity (g) s2 = Loop <body: graph = {inner}> (n, "", x) }}"""
    nodes = f'y = Loop <body: graph = {outer}> (n, "", x)'
    tested = model("float[N,4] x, int64 n", "float[N,4] y", nodes, w=floats(4, 4))
    feeds = {"x": floats(2, 4), "n": np.array(3)}
    imported = check(tested, feeds)
    assert control_modules(imported) == ["LoopModule", "LoopModule"]
    assert gradients(imported, feeds)["w"] > 0


def test_gradients_of_a_loop_equal_finite_differences() -> None:
    nodes = COUNTED.replace("float[", "double[")
    tested = model("double[N,4] x, int64 n", TYPES.replace("float[", "double["), nodes)
    tested.graph.initializer.append(numpy_helper.from_array(floats(4, 4, dtype=np.float64), "w"))
    module = import_model(tested).module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}
    x = torch.from_numpy(floats(2, 4, dtype=np.float64)).requires_grad_()
    parameters = dict(module.named_parameters())
    assert len(parameters) == 2

    def run(x: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        swapped = dict(zip(parameters, values, strict=True))
        results: tuple[torch.Tensor, ...] = torch.func.functional_call(
            module, swapped, (x, torch.tensor(3))
        )
        return results

    assert torch.autograd.gradcheck(run, (x, *parameters.values()))


def test_a_state_that_starts_as_a_weight_is_one() -> None:
    body = """b (int64 i, bool g, float[4] s) => (bool again, float[4] s2)
    { again = Identity (g) p = Mul (s, x) s2 = Tanh (p) }"""
    nodes = f'l = Loop <body: graph = {body}> (n, "", first) y = Add (l, x)'
    first = floats(4)
    tested = model("float[4] x, int64 n", "float[4] y", nodes, first=first)
    imported = check(tested, {"x": floats(4, seed=1), "n": np.array(2)})
    assert [name for name, _ in imported.module.named_parameters()] == ["first"]


# What is refused ----------------------------------------------------------------------------------


def test_unsupported_operators_in_bodies_are_all_named() -> None:
    body = """b (int64 i, bool g, float[N,4] s) => (bool again, float[N,4] s2)
    { again = Identity (g) a = Foo (s) b = Bar (a) s2 = Relu (b) }"""
    nodes = f'y = Loop <body: graph = {body}> (n, "", x) z = Baz (y)'
    tested = model("float[N,4] x, int64 n", "float[N,4] z", nodes)
    with pytest.raises(UnsupportedOperatorsError) as caught:
        import_model(tested)
    assert [item.op_type for item in caught.value.operators] == ["Foo", "Bar", "Baz"]
    assert all(len(item.nodes) == 1 for item in caught.value.operators)


def test_a_state_that_changes_its_type_is_refused() -> None:
    body = """b (int64 i, bool g, float[N,4] s) => (bool again, double[N,4] s2)
    { again = Identity (g) s2 = Cast <to = 11> (s) }"""
    nodes = f'y = Loop <body: graph = {body}> (n, "", x)'
    tested = model("float[N,4] x, int64 n", "float[N,4] y", nodes)
    with pytest.raises(UnsupportedOperatorsError, match=r"torch\.float32 or torch\.float64"):
        import_model(tested)


def test_local_functions_are_inlined() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    graph (float[N,4] x) => (float[N,4] y) <float[4,4] w = {0}> { y = own.Twice (x, w) }
    <domain: "own", opset_import: ["" : 17]>
    Twice (a, b) => (d) { c = MatMul (a, b) d = MatMul (c, b) }"""
    tested = parser.parse_model(text)
    tested.graph.initializer[0].CopyFrom(numpy_helper.from_array(floats(4, 4), "w"))
    imported = check(tested, {"x": floats(2, 4)})
    assert set(gradients(imported, {"x": floats(2, 4)})) == {"w"}


def test_a_training_step_moves_weights_of_bodies() -> None:
    tested = model("float[N,4] x, int64 n", TYPES, COUNTED, w=0.2 * floats(4, 4))
    imported = import_model(tested)
    before = imported.weights()
    optimizer = torch.optim.SGD(imported.module.parameters(), lr=0.01)
    x, losses = torch.from_numpy(floats(8, 4)), []
    for _ in range(2):
        y, z = imported.module(x, torch.tensor(3))
        loss = y.square().mean() + z.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all((imported.weights()[name] != before[name]).any() for name in ("w", "v"))


def test_state_dicts_fit() -> None:
    tested = CASES[0]()
    one, other = import_model(tested), import_model(tested)
    for parameter in one.module.parameters():
        parameter.data.mul_(0.5)
    saved = io.BytesIO()
    torch.save(one.module.state_dict(), saved)  # noqa: TID251 - a format of the user's
    saved.seek(0)
    other.module.load_state_dict(torch.load(saved))  # noqa: TID251
    (feeds, _) = _samples(tested, batch=2)
    assert_same(run_imported(other, feeds), run_imported(one, feeds))


@pytest.mark.parametrize(
    "tested",
    [
        HARD_CASES["scan_rnn"](),
        HARD_CASES["loop_stacks"](),
        model(
            "float[N,4] x",
            TYPES,
            f"r = Shape <start = 0, end = 1> (x) n = Squeeze (r) {COUNTED}",
            w=floats(4, 4),
        ),
    ],
    ids=["scan", "written out", "count of a shape"],
)
def test_what_needs_no_data_compiles_without_breaks(tested: onnx.ModelProto) -> None:
    imported = import_model(tested)
    (feeds, _) = _samples(tested, batch=3)
    arguments = [torch.from_numpy(feeds[name]) for name in imported.input_names]
    compiled = torch.compile(imported.module, backend="aot_eager", fullgraph=True)
    for one, other in zip(compiled(*arguments), imported.module(*arguments), strict=True):
        torch.testing.assert_close(one, other)


def test_bodies_too_deep_are_refused() -> None:
    depth = 9
    body = "a9 () => (float[N,4] t9) { t9 = Neg (x) }"
    for level in range(depth - 1, -1, -1):
        body = f"""a{level} () => (float[N,4] t{level}) {{ t{level} = If <then_branch: graph =
        {body}, else_branch: graph = z{level} () => (float[N,4] v{level}) {{ v{level} = Abs (x) }}>
        (c) }}"""
    nodes = body.split("{", 1)[1].rsplit("}", 1)[0]
    tested = model("float[N,4] x, bool c", "float[N,4] t0", nodes)
    with pytest.raises(UnsupportedOperatorsError, match="deeper than 8"):
        import_model(tested)


def test_bodies_hold_no_tensors_and_their_constants_can_be_loaded() -> None:
    """A constant of a body that is no weight is one buffer of the module around."""
    nodes = _if("c = Cast <to = 9> (flag)").replace("Slice (x, zero, two, one)", "Max (x, bound)")
    feeds = {"x": floats(3, 4), "flag": np.array(0)}
    bound = np.linspace(-1, 1, 4, dtype=np.float32)
    tested = model("float[N,4] x, int64 flag", "float[P,Q] y", nodes, w=floats(4, 4), bound=bound)
    imported = check(tested, feeds)
    (inner,) = (each for each in imported.module.modules() if isinstance(each, IfModule))
    assert not inner.state_dict()
    imported.load_weights({"bound": bound + 3})
    assert_same(run_imported(imported, feeds), [np.maximum(feeds["x"], bound + 3)])
