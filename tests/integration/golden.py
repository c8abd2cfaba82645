"""Shared by the golden tests: random valid solutions, runs with optimisations off, comparison."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import onnx
import onnxruntime as ort

from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution

Outputs = dict[str, np.ndarray]
Feeds = dict[str, np.ndarray]

RELATIVE, ABSOLUTE = 1e-5, 1e-6  # of the largest value of an output, and of nothing


def analysis_of(model: onnx.ModelProto) -> Analysis:
    return analyze(load_model(model.SerializeToString()))


def nothing_removed(analysis: Analysis) -> Solution:
    return Solution.of(analysis.space, {})


def random_solution(
    analysis: Analysis, seed: int, kinds: Collection[GroupKind] = tuple(GroupKind)
) -> Solution:
    """A valid solution over groups of ``kinds``, grown group by group in random order."""
    rng = np.random.default_rng(seed)
    groups = [group for group in analysis.space.groups if group.kind in kinds]
    removed: dict[str, tuple[int, ...]] = {}
    for position in rng.permutation(len(groups)):
        group = groups[position]
        count = 1 if group.units == 1 else int(rng.integers(0, group.units))
        if group.kind is GroupKind.OPERATOR and rng.random() < 0.3:
            count = 0
        units = tuple(int(unit) for unit in rng.permutation(group.units)[:count])
        candidate = Solution.of(analysis.space, {**removed, group.id: units})
        if not analysis.violations(candidate):
            removed = dict(candidate.removed)
    return Solution.of(analysis.space, removed)


def feeds_of(model: onnx.ModelProto, batch: int, seed: int = 0) -> Feeds:
    """Normal float32 or small integer feeds for every input; a fixed batch axis wins."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for entry in model.graph.input:
        first, *rest = entry.type.tensor_type.shape.dim
        shape = [first.dim_value or batch, *(dim.dim_value for dim in rest)]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        values = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 8, shape)
        feeds[entry.name] = values.astype(dtype)
    return feeds


def run(model: onnx.ModelProto, feeds: Feeds) -> Outputs:
    """Outputs by name, with all graph optimisations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def differences(expected: Outputs, actual: Outputs) -> list[str]:
    """Where ``actual`` is not ``expected``, element by element; empty if it is everywhere."""
    if list(expected) != list(actual):
        return [f"outputs are {list(actual)}, not {list(expected)}"]
    found = []
    for name, reference in expected.items():
        if reference.shape != actual[name].shape:
            found.append(f"{name}: shape {actual[name].shape}, not {reference.shape}")
            continue
        allowed = RELATIVE * float(np.abs(reference).max()) + ABSOLUTE
        difference = np.abs(reference - actual[name])
        if not (difference <= allowed).all():  # NaN is not within anything
            found.append(f"{name}: off by {float(difference.max()):.3g}, allowed {allowed:.3g}")
    return found


def assert_equal(masked: onnx.ModelProto, cut: onnx.ModelProto, context: str) -> None:
    """Both models give the same outputs, at two batch sizes where the batch is free."""
    for batch in (1, 3):
        feeds = feeds_of(masked, batch)
        found = differences(run(masked, feeds), run(cut, feeds))
        assert found == [], f"batch {batch}: {found}\n{context}"


def interface(model: onnx.ModelProto) -> Iterator[tuple[str, int, Sequence[str]]]:
    """Names, types and axes of inputs and outputs: what a cut must not change."""
    for entry in (*model.graph.input, *model.graph.output):
        tensor = entry.type.tensor_type
        axes = [dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim]
        yield entry.name, tensor.elem_type, axes
