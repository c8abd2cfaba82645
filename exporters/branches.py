"""Branches of If nodes, one by one: models in which a branch is taken whatever the input.

Random inputs may take the same side of a condition every time; a wrong cut on the other side would
go out unseen. So each branch is taken by force, the nodes around it too, in every model alike.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from exporters.draft import bodies, get_attribute

Step = tuple[str, str]  # first output of an If, and the attribute that holds the branch
Path = tuple[Step, ...]  # from the main graph inwards

_CONDITIONS = {"then_branch": True, "else_branch": False}
_INITIALIZERS_ALONE_SINCE = 4  # IR version; before it every initializer is declared as an input


def branches_of(model: onnx.ModelProto) -> list[Path]:
    """Every branch that an input could reach, outer ones first; bodies of Loop and Scan included.

    A condition that is an initializer rules one of its branches out.
    """
    known = {t.name: t for t in model.graph.initializer if len(t.dims) == 0 or list(t.dims) == [1]}
    return list(_branches(model.graph, (), known))


def _branches(
    graph: onnx.GraphProto, path: Path, known: dict[str, onnx.TensorProto]
) -> Iterator[Path]:
    for node in _ifs(graph.node):
        for attribute, condition in _CONDITIONS.items():
            value = known.get(node.input[0])
            if value is not None and bool(onnx.numpy_helper.to_array(value)) is not condition:
                continue
            step = (*path, (_key(node), attribute))
            yield step
            yield from _branches(get_attribute(node, attribute), step, known)


def taking(model: onnx.ModelProto, path: Path) -> onnx.ModelProto | None:
    """``model`` with the conditions along ``path`` fixed; None if it has no such branch."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for key, attribute in path:
        node = next((node for node in _ifs(graph.node) if key in node.output), None)
        if node is None:
            return None
        node.input[0] = f"secateur/{attribute}"
        graph = next(a.g for a in node.attribute if a.name == attribute)
    for attribute in {attribute for _, attribute in path}:
        value = np.asarray(_CONDITIONS[attribute])
        tensor = onnx.numpy_helper.from_array(value, f"secateur/{attribute}")
        result.graph.initializer.append(tensor)
        if result.ir_version < _INITIALIZERS_ALONE_SINCE:
            result.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, [])
            )
    return result


def told(path: Path) -> str:
    """A path for a reader."""
    return " in ".join(f"{attribute} of the If that makes {key!r}" for key, attribute in path[::-1])


def _ifs(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The If nodes among ``nodes`` and in loops, not those inside branches."""
    for node in nodes:
        if node.op_type == "If" and node.domain in ("", "ai.onnx"):
            yield node
        else:
            for body in bodies(node):
                yield from _ifs(body.node)


def _key(node: onnx.NodeProto) -> str:
    return next((name for name in node.output if name), "")
