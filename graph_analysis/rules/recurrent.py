"""LSTM, GRU, RNN: one hidden unit is a row of every gate, a column of R, and a place in the states.

Shape letters: S steps, B batch, D directions, I inputs, G gates, H hidden units.
"""

from collections.abc import Callable, Mapping, Sequence

from graph_analysis.labels import Axes, Axis, Labelling
from graph_analysis.trace_graph import STATE_SLOTS, TraceGraph, Vertex

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_BIAS, _PEEPHOLES = 3, 7
_DEFAULTS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
_ZERO_AT_ZERO = frozenset(
    {"relu", "tanh", "leakyrelu", "thresholdedrelu", "scaledtanh", "elu", "softsign"}
)


def recurrent(labelling: Labelling, vertex: Vertex) -> list[Axes]:
    """Ties what one unit consists of; all tensors keep H last, whatever the layout.

    1. X [S, B, I] and W [D, G*H, I]: input features go together with W's last axis.
    2. R [D, G*H, H]: its last axis is the units. A unit has one row of W and R per gate, two of B
       [D, 2*G*H], and three of P [D, 3*H]. The directions share one H: it is cut from all of them.
    3. An initial state that is zero is no state at all: it ties nothing, the surgeon leaves it out.
       Every other one is cut with the units, or holds them if it cannot be.
    4. Nobody but R's columns and the readers of the outputs sees a unit, so without these it has
       no effect, whatever the activations make of zero.
    """
    x, weight, recurrence = (labelling.of(name) for name in vertex.inputs[:3])
    gates, units = GATES[vertex.op_type], recurrence[2]
    for axis in x[:2]:
        labelling.freeze(axis, f"{vertex.name!r} runs along it")
    labelling.tie(x[2], weight[2], f"{vertex.name!r}: its input features stay")
    blocks = [(weight, gates), (recurrence, gates)]
    blocks += [
        (labelling.of(vertex.inputs[slot]), count)
        for slot, count in ((_BIAS, 2 * gates), (_PEEPHOLES, 3))
        if _has(vertex, slot)
    ]
    for axes, count in blocks:
        labelling.freeze(axes[0], f"{vertex.name!r} keeps its directions")
        _tie_blocks(labelling, vertex, axes[1], count, units)
    for name in initial_states(vertex):
        if name not in labelling.graph.zeros:
            _tie_state(labelling, vertex, name, units)
    labelling.note_born(vertex.inputs[1], 1, vertex)
    labelling.note_born(vertex.inputs[2], 1, vertex)
    return [[None, None, None, units], [None, None, units], [None, None, units]]


def initial_states(vertex: Vertex) -> Sequence[str]:
    """Names of the initial states that the vertex is given."""
    return [vertex.inputs[slot] for slot in STATE_SLOTS[vertex.op_type] if _has(vertex, slot)]


def is_silent_without_weights(graph: TraceGraph, vertex: Vertex) -> bool:
    """Whether all outputs are zero once every weight of the vertex is.

    Gates are then f(0) in each step. LSTM: c = f(0) c + f(0) g(0), h = f(0) h(c). GRU:
    h = (1 - f(0)) g(0) + f(0) h. RNN: h = f(0). From a zero state all stay zero if the last
    activations named here map 0 to 0; a state that is a weight is zeroed with the rest.
    """
    if vertex.op_type not in GATES:
        return False
    if not all(name in graph.weights | graph.zeros for name in initial_states(vertex)):
        return False
    if not all(name in graph.weights for name in vertex.inputs[1:4] if name):
        return False
    defaults = _DEFAULTS[vertex.op_type]
    names = [_text(name) for name in vertex.attributes.get("activations", defaults)]
    sets = [names[start : start + len(defaults)] for start in range(0, len(names), len(defaults))]
    return all(name.lower() in _ZERO_AT_ZERO for each in sets for name in (each[1:] or each))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _has(vertex: Vertex, slot: int) -> bool:
    return len(vertex.inputs) > slot and bool(vertex.inputs[slot])


def _tie_blocks(labelling: Labelling, vertex: Vertex, axis: Axis, count: int, units: Axis) -> None:
    reason = f"{vertex.name!r}: its hidden units stay"
    if axis is None or units is None:
        labelling.tie(axis, units, reason)
        return
    for block in axis.reshape(count, -1):
        labelling.tie(units, block, reason)


def _tie_state(labelling: Labelling, vertex: Vertex, name: str, units: Axis) -> None:
    state = labelling.of(name)
    for axis in state[:2]:
        labelling.freeze(axis, f"{vertex.name!r} keeps its directions and batch")
    is_input = name in labelling.graph.inputs
    what = "is a graph input" if is_input else "keeps its width"
    labelling.tie(state[2], units, f"initial state {name!r} of {vertex.name!r} {what}")


RULES: Mapping[str, Callable[[Labelling, Vertex], list[Axes]]] = dict.fromkeys(GATES, recurrent)
