"""What a picture of the segment graph shows: boxes, links, and repeats shown once.

A value without coordinates: a layout places it, ``svg`` draws it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate

import numpy as np

from graph_analysis.operator_names import joint_name, segment_steps
from graph_analysis.outcome import SegmentOutcome, State, outcomes, weights_of
from graph_analysis.pipeline import Analysis
from graph_analysis.repeats import Run, runs_of
from graph_analysis.search_space import GroupKind
from graph_analysis.segments import Segment
from graph_analysis.solution import Solution

_UNFOLDED_MAX = 20  # boxes; a graph this small is shown in full
_REFUSED = "not erased alone: "
Link = tuple[int, int]


class Fate(StrEnum):
    """What may happen to a box."""

    ERASED = "erased"  # may go whole, by itself
    HEADS = "heads"  # some of its heads may go
    CHANNELS = "channels"  # some of its channels may go
    STAYS = "stays"  # has parameters, none of which may go
    PLAIN = "plain"  # has no parameters
    JOINT = "joint"
    END = "end"  # an input or output of the model
    GONE = "gone"  # with a solution: none of it is left
    NARROWER = "narrower"  # with a solution: something of it went


@dataclass(frozen=True, kw_only=True)
class Box:
    """One segment, or all repetitions of one.

    Attributes:
        fate: What may happen to it.
        is_within: Whether some removal structure takes it along, as itself or as a part.
        steps: Its operators in words, in order.
        about: What a tooltip says, line by line.
        parameters: Parameters of one repetition, least and most.
        macs: Multiply-accumulates of all repetitions, per sample.
    """

    fate: Fate
    steps: tuple[str, ...]
    about: tuple[str, ...] = ()
    parameters: tuple[int, int] = (0, 0)
    macs: int = 0
    is_within: bool = False
    left: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Boxes that are there ``times`` times, one behind the other."""

    boxes: tuple[int, ...]
    times: int


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Boxes in the order of the model and the links between them.

    ``returning`` links go to the next repetition of a repeat.
    """

    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    returning: tuple[Link, ...]
    repeats: tuple[Repeat, ...]


def outline(
    analysis: Analysis, solution: Solution | None = None, *, unfolded_max: int = _UNFOLDED_MAX
) -> Outline:
    """The segment graph of an analysis, repeats folded where it has more boxes than that.

    Args:
        analysis: Of the model.
        solution: Boxes show what it did to them, instead of what may happen to them.
        unfolded_max: Boxes.
    """
    segments = analysis.segments.segments
    boxes = list(_boxes(analysis))
    if solution is not None:
        pairs = zip(boxes, outcomes(analysis, solution), strict=True)
        boxes = [_decided(box, outcome) for box, outcome in pairs]
    number = {segment.id: place for place, segment in enumerate(segments)}
    links = [(number[s.id], number[target]) for s in segments for target in s.outputs]
    ends, end_links = _ends(analysis, len(boxes))
    runs = []
    if len(segments) > unfolded_max:
        runs = runs_of(
            [(box.fate, box.is_within, box.steps) for box in boxes],
            _alike(links),
            _seams(links, len(boxes)),
        )
    return _folded([*boxes, *ends], sorted({*links, *end_links}), runs)


def _boxes(analysis: Analysis) -> Iterator[Box]:
    graph, costs = analysis.graph, analysis.costs
    nothing = np.zeros(len(analysis.classes.class_of) + 1, bool)
    kinds: dict[str, set[GroupKind]] = defaultdict(set)
    for entry in analysis.node_groups:
        for slices in entry.group.cut:
            kinds[slices.initializer].add(entry.group.kind)
    covers = _covers(analysis)
    refused = {entry.segment: entry.reason for entry in analysis.refused}
    for segment in analysis.segments.segments:
        members = [member for piece in segment.pieces for member in piece.members]
        weights = weights_of(analysis, segment)
        inside = {member.index for member in members}
        structures = [cover for cover in covers if cover.vertices >= inside]
        parameters = sum(costs.elements[name].count(nothing) for name in weights)
        yield Box(
            fate=_fate(
                segment,
                [kinds[name] for name in weights],
                is_structure=any(cover.vertices <= inside for cover in structures),
            ),
            is_within=bool(structures),
            steps=(joint_name(segment.pieces[0]),)
            if segment.joint
            else segment_steps(graph, segment),
            about=(
                ", ".join([segment.id, *(f"goes with {cover.key}" for cover in structures)]),
                *([f"{_REFUSED}{refused[segment.id]}"] if segment.id in refused else []),
                *_vertex_lines([f"{m.op_type} {m.name}" for m in members]),
            ),
            parameters=(parameters, parameters),
            macs=sum(
                product.count(nothing) for m in members for product in costs.macs.get(m.index, ())
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _Cover:
    """A removal structure, and those of the vertices that die with it which segments hold."""

    key: str
    vertices: frozenset[int]


def _covers(analysis: Analysis) -> list[_Cover]:
    """All structures in which something dies, the most specific first."""
    shown = {m.index for piece in analysis.segments.pieces for m in piece.members}
    found = [
        _Cover(key=entry.group.id, vertices=entry.vertices & shown) for entry in analysis.structures
    ]
    found = [cover for cover in found if cover.vertices]
    return sorted(found, key=lambda cover: (len(cover.vertices), cover.key))


def _fate(segment: Segment, kinds: Sequence[Set[GroupKind]], *, is_structure: bool) -> Fate:
    if segment.joint:
        return Fate.JOINT
    if is_structure:
        return Fate.ERASED
    if not kinds:
        return Fate.PLAIN
    if any(GroupKind.HEAD in found for found in kinds):
        return Fate.HEADS
    return Fate.CHANNELS if any(kinds) else Fate.STAYS


def _decided(box: Box, outcome: SegmentOutcome) -> Box:
    """A box as a solution has left it."""
    fate = Fate.STAYS if box.parameters[1] else Fate.PLAIN
    if outcome.state is State.ERASED:
        fate = Fate.GONE
    elif box.fate is Fate.JOINT:
        fate = Fate.JOINT
    elif outcome.state is State.NARROWER:
        fate = Fate.NARROWER
    kept = [line for line in box.about[1:] if not line.startswith(_REFUSED)]
    before, after = outcome.macs
    about = (outcome.id, *([f"{before:,} MACs before, {after:,} after"] if before else []), *kept)
    left = outcome.parameters[1]
    return replace(box, fate=fate, about=about, is_within=False, left=(left, left))


def _vertex_lines(names: Sequence[str], shown: int = 24) -> list[str]:
    more = len(names) - shown
    return [*names[:shown], *([f"... and {more} more"] if more > 0 else [])]


def _ends(analysis: Analysis, first: int) -> tuple[list[Box], list[Link]]:
    """Boxes for the inputs and outputs that segments use, and their links."""
    graph = analysis.graph
    boxes: list[Box] = []
    links: list[Link] = []
    readers: dict[str, list[int]] = {name: [] for name in graph.inputs}
    writer: dict[str, int] = {}
    for place, segment in enumerate(analysis.segments.segments):
        for piece in segment.pieces:
            for name in piece.inputs:
                if name in readers:
                    readers[name].append(place)
            writer.update((name, place) for m in piece.members for name in m.outputs)
    for name, places in readers.items():
        if places:
            links += [(first + len(boxes), place) for place in places]
            boxes.append(_end("input", name, analysis))
    for name in dict.fromkeys(graph.outputs):
        if name in writer:
            links.append((writer[name], first + len(boxes)))
            boxes.append(_end("output", name, analysis))
    return boxes, links


def _end(kind: str, name: str, analysis: Analysis) -> Box:
    shape = analysis.graph.shape(name)
    lengths = "x".join(map(str, shape)) if shape is not None else "shape unknown"
    return Box(fate=Fate.END, steps=(name,), about=(f"{kind} {name}", lengths))


def _alike(links: Sequence[Link]) -> Callable[[Run], Run | None]:
    """Cuts a run to the repetitions that have the same links inside and follow each other."""
    after: dict[int, list[int]] = {}
    for source, target in links:
        after.setdefault(source, []).append(target)

    def fit(run: Run) -> Run | None:
        starts = range(run.start, run.stop, run.period)
        shapes = [_inside(after, first, run.period) for first in starts]
        joined = [_is_joined(after, first, run.period) for first in starts]
        first, stop = max(_spans(shapes, joined), key=lambda span: span[1] - span[0])
        if stop - first < 2:
            return None
        return Run(start=run.start + first * run.period, period=run.period, times=stop - first)

    return fit


def _seams(links: Sequence[Link], count: int) -> list[int]:
    """How many boxes before each box are read at or behind it: few between two blocks."""
    last: dict[int, int] = {}
    for source, target in links:
        last[source] = max(last.get(source, 0), target)
    change = [0] * (count + 1)
    for source, target in last.items():
        if target > source:
            change[source + 1] += 1
            change[target + 1] -= 1
    return list(accumulate(change[:-1]))


def _is_joined(after: Mapping[int, Sequence[int]], first: int, period: int) -> bool:
    """Whether the repetition from ``first`` on reads from the one before."""
    before = range(first - period, first)
    return any(first <= t < first + period for source in before for t in after.get(source, ()))


def _inside(after: Mapping[int, Sequence[int]], first: int, period: int) -> frozenset[Link]:
    return frozenset(
        (step, target - first)
        for step in range(period)
        for target in after.get(first + step, ())
        if first <= target < first + period
    )


def _spans(shapes: Sequence[object], joined: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Stretches of equal ``shapes``, each but the first joined to the one before."""
    start = 0
    for place in range(1, len(shapes) + 1):
        if place == len(shapes) or shapes[place] != shapes[start] or not joined[place]:
            yield start, place
            start = place


def _folded(boxes: Sequence[Box], links: Sequence[Link], runs: Sequence[Run]) -> Outline:
    home = dict(enumerate(range(len(boxes))))  # box -> the box that shows it
    turn: dict[int, tuple[int, int]] = {}  # box -> its run and repetition
    for number, run in enumerate(runs):
        for place in range(run.start, run.stop):
            home[place] = run.start + (place - run.start) % run.period
            turn[place] = number, (place - run.start) // run.period
    shown = sorted(set(home.values()))
    rank = {place: order for order, place in enumerate(shown)}
    ahead: set[Link] = set()
    onward: set[Link] = set()
    for source, target in links:
        link = rank[home[source]], rank[home[target]]
        crosses = source in turn and target in turn and turn[source][0] == turn[target][0]
        (onward if crosses and turn[source] != turn[target] else ahead).add(link)
    members: dict[int, list[Box]] = {place: [] for place in shown}
    for place, box in enumerate(boxes):
        members[home[place]].append(box)
    return Outline(
        boxes=tuple(_merged(members[place]) for place in shown),
        links=tuple(sorted(ahead)),
        returning=tuple(sorted(_unsaid(onward - ahead, ahead, runs, rank))),
        repeats=tuple(
            Repeat(
                boxes=tuple(rank[run.start + step] for step in range(run.period)), times=run.times
            )
            for run in runs
        ),
    )


def _unsaid(
    onward: set[Link], ahead: set[Link], runs: Sequence[Run], rank: Mapping[int, int]
) -> Iterator[Link]:
    """Links to the next repetition that "n times" alone does not say.

    It says that what leaves the last repetition also enters the next, where the first is entered.
    """
    block = {
        rank[run.start + step]: number
        for number, run in enumerate(runs)
        for step in range(run.period)
    }
    entered = {target for source, target in ahead if block.get(source) != block.get(target)}
    left = {source for source, target in ahead if block.get(source) != block.get(target)}
    return (
        (source, target) for source, target in onward if not (source in left and target in entered)
    )


def _merged(boxes: Sequence[Box]) -> Box:
    first = boxes[0]
    if len(boxes) == 1:
        return first
    counts = [count for box in boxes for count in box.parameters]
    left = [count for box in boxes for count in box.left or ()]
    return Box(
        fate=first.fate,
        steps=first.steps,
        about=(f"{len(boxes)} of these: " + "; ".join(b.about[0] for b in boxes), *first.about[1:]),
        parameters=(min(counts), max(counts)),
        macs=sum(box.macs for box in boxes),
        is_within=first.is_within,
        left=(min(left), max(left)) if left else None,
    )
