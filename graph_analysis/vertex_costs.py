"""What every operator costs, of the model and of any solution of it, without building it."""

from dataclasses import dataclass

from graph_analysis.pipeline import Analysis
from graph_analysis.solution import Solution


@dataclass(frozen=True, kw_only=True)
class VertexCost:
    """The costs of one operator that remains.

    Attributes:
        name: Of the node in the normalised model.
        op_type: Of the node.
        macs: Multiply-accumulates per sample.
        parameters: Weight elements of the initializers that it reads first.
        bytes: Of those initializers, and of the others that it reads first.
        activation_bytes: What it writes, as ``activations`` counts it.
    """

    name: str
    op_type: str
    macs: int
    parameters: int
    bytes: int
    activation_bytes: int


def vertex_costs(analysis: Analysis, solution: Solution) -> tuple[VertexCost, ...]:
    """Costs of all operators that remain, in the order of the model.

    An initializer that several operators read belongs to the first, so that the costs add up to
    those of the model, but for an initializer that nobody reads and for the copy that an output
    needs when its joint is spliced out.
    """
    graph, costs = analysis.graph, analysis.costs
    gone, remaining = analysis.gone(solution), analysis.survivors(solution)
    written = analysis.activation_bytes(solution).by_vertex
    counted: set[str] = set()
    found = []
    for vertex in graph.vertices:
        if vertex.index in remaining.removed:
            continue
        own = [n for n in dict.fromkeys(vertex.inputs) if n in costs.elements and n not in counted]
        counted.update(own)
        elements = {name: costs.elements[name].count(gone) for name in own}
        found.append(
            VertexCost(
                name=vertex.name,
                op_type=vertex.op_type,
                macs=sum(product.count(gone) for product in costs.macs.get(vertex.index, ())),
                parameters=sum(elements[name] for name in own if name in costs.parameters),
                bytes=sum(elements[name] * costs.item_bytes[name] for name in own),
                activation_bytes=written[vertex.index],
            )
        )
    return tuple(found)
