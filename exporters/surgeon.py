"""The surgeon: the working copy of a model and a solution in, the smaller model out.

Steps, each in a module of its own and in this order:

1. a draft without weights, trained values beside it (``draft``, ``weights``);
2. structures out, joints spliced (``erasing``), the dead after them (``cleanup``);
3. sizes, bounds, indices and counts rewritten (``constants``, ``positions``, ``attributes``,
   ``heads``);
4. initializers sliced (``weights``), annotations made true (``cleanup``);
5. bodies of If, Loop and Scan, which lay flat until now, put back (``graph_analysis.folding``);
6. the result checked: valid, of the predicted shapes, same interface (``checks``).

Which tensor loses which positions is decided by ``graph_analysis``; nothing is decided here.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from exporters import attributes, checks, cleanup, constants, erasing, heads, positions
from exporters import weights as tensors
from exporters.draft import Draft
from exporters.errors import SurgeryError
from exporters.operands import Operands
from exporters.shape_values import ShapeArithmetic
from graph_analysis.effects import Effects
from graph_analysis.errors import SolutionError
from graph_analysis.folding import fold
from graph_analysis.pipeline import Analysis
from graph_analysis.settings import only_settings, operations_of
from graph_analysis.solution import Solution

_INITIALIZERS_ALONE_SINCE = 4  # IR version; before it every initializer is declared as an input


def shrink(
    analysis: Analysis,
    solution: Solution,
    weights: Mapping[str, npt.NDArray[np.generic]] | None = None,
) -> onnx.ModelProto:
    """The model without what ``solution`` removes. Neither argument is changed.

    Opset, IR version, metadata, doc strings, names and dynamic axes are those of the file; a
    solution that removes nothing gives back the working copy unchanged, but for ``weights``;
    un-shared copies that are still equal share one tensor again.

    Args:
        analysis: Of the model that the solution was found for.
        solution: What is removed.
        weights: Trained values by initializer name, in the shapes and types *before* the cut.

    Raises:
        SolutionError: The solution belongs to another search space, or is not valid in it.
        SurgeryError: The graph cannot be cut so, or the result fails a check; nothing is returned.
    """
    draft = operate(analysis, solution, weights)
    bodies = analysis.loaded.bodies
    cleanup.update_annotations(draft, analysis.loaded.generated_names)
    cleanup.share_equal(draft, analysis.loaded.copies)
    result = fold(assemble(draft), bodies)
    _check(analysis.loaded.model, result, draft)
    return result


def operate(
    analysis: Analysis,
    solution: Solution,
    weights: Mapping[str, npt.NDArray[np.generic]] | None = None,
) -> Draft:
    """Steps 1 to 4: the draft of the cut model, flat, its initializers sliced.

    Raises:
        SolutionError: The solution belongs to another search space, or is not valid in it.
        SurgeryError: The graph cannot be cut so.
    """
    solution.check(analysis.space)
    violations = analysis.violations(solution)
    if violations:
        msg = f"the solution is not valid: {'; '.join(violations[:3])}"
        raise SolutionError(msg)
    effects = analysis.effects(solution)
    whole = analysis.effects(Solution(space=solution.space, removed={}))
    source = analysis.loaded.flat
    draft = _draft(source, effects, whole, weights, analysis.graph.zeros)
    draft.free = analysis.graph.free
    erasing.erase(draft, effects.removed_nodes, effects.splices, effects.dropped)
    cleanup.remove_dead(draft)
    _rewrite(draft)
    cleanup.remove_dead(draft)
    _slice(draft)
    return draft


def _draft(
    source: onnx.ModelProto,
    effects: Effects,
    whole: Effects,
    weights: Mapping[str, npt.NDArray[np.generic]] | None,
    zeros: frozenset[str],
) -> Draft:
    model = tensors.copy_without(source, "initializer", "node")
    nodes = []
    for node in source.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        nodes.append(copy)
    return Draft(
        model=model,
        nodes=nodes,
        initializers=tensors.trained(source, weights),
        keep={name: dict(axes) for name, axes in effects.keep.items() if axes},
        shapes={name: tuple(shape) for name, shape in effects.shapes.items()},
        shapes_before={name: tuple(shape) for name, shape in whole.shapes.items()},
        origin={node.name: node for node in source.graph.node},
        zeros=zeros,
    )


def _settings(draft: Draft) -> set[str]:
    """Tensors that only settings are made from."""
    graph = draft.model.graph
    inputs = {value.name for value in graph.input} - draft.initializers.keys()
    outputs = [value.name for value in graph.output]
    return only_settings(operations_of(draft.origin.values()), inputs, outputs)


def _rewrite(draft: Draft) -> None:
    """Step 3: collect what every node needs, then grant it all at once."""
    if not draft.keep and len(draft.nodes) == len(draft.origin):
        return
    arithmetic = ShapeArithmetic(draft.model.opset_import, draft.model.ir_version)
    known = constants.small_constants(draft.initializers, _settings(draft))
    draft.before = arithmetic.values(draft.origin.values(), known, draft.shapes_before)
    draft.after = arithmetic.values(draft.nodes, known, draft.shapes)
    operands = Operands(draft)
    standard = (constants.RULES, positions.RULES, attributes.RULES, heads.RULES)
    tables = {
        "": standard,
        "ai.onnx": standard,
        "com.microsoft": (attributes.FUSED, heads.MICROSOFT),
    }
    for node in list(draft.nodes):
        if node.name not in draft.origin:
            continue
        constants.freeze_data(operands, node)
        for table in tables.get(node.domain, ()):
            if node.op_type in table:
                table[node.op_type](operands, node)
    operands.grant()


def _slice(draft: Draft) -> None:
    """Step 4: the initializers that lose positions, from their own bytes."""
    sparse = {tensor.values.name for tensor in draft.model.graph.sparse_initializer}
    for name, axes in draft.keep.items():
        if name in sparse:
            msg = f"initializer {name!r} is sparse and cannot be cut"
            raise SurgeryError(msg, param=name)
        if name in draft.initializers:
            draft.initializers[name] = tensors.take(draft.initializers[name], axes)


def assemble(draft: Draft) -> onnx.ModelProto:
    """The model of a finished draft; takes the draft's own nodes and tensors."""
    graph = draft.model.graph
    graph.node.extend(draft.nodes)
    graph.initializer.extend(draft.initializers.values())
    if draft.model.ir_version < _INITIALIZERS_ALONE_SINCE:
        declared = {value.name for value in graph.input}
        graph.input.extend(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in graph.initializer
            if tensor.name not in declared
        )
    return draft.model


def _check(source: onnx.ModelProto, result: onnx.ModelProto, draft: Draft) -> None:
    """Step 6."""
    checks.check_interface(source, result)
    checks.check_valid(source, result)
    inputs = {value.name: draft.shapes[value.name] for value in result.graph.input
              if value.name in draft.shapes}  # fmt: skip
    checks.check_shapes(result, draft.shapes, inputs)
