"""How labels pass a reshape: block by block of axes with equal products, in row-major order."""

from collections.abc import Sequence

import numpy as np

from graph_analysis.labels import Axes, Labelling
from graph_analysis.rules.batching import merges_batch
from graph_analysis.rules.unbinding import taken_apart
from graph_analysis.trace_graph import Vertex

Block = tuple[list[int], list[int]]  # axes before, axes after
_MOST = 1 << 20  # positions of two merged axes; beyond it labels cost more than they bring


def regroup(labelling: Labelling, vertex: Vertex, source: str, target: str) -> Axes:
    """Labels of ``target``, a row-major reshape of ``source``.

    1. An axis that keeps its length keeps its labels.
    2. Merged axes: every merged position carries the label of the one labelled axis.
    3. Split axes: the labels must follow one of the parts. At the end of the tensor that is the
       last part but one (heads times head size), elsewhere the last one (channel shuffle), parts
       that are taken apart behind it (query, key, value) left out of account; labels that differ
       along the other parts are tied.
    4. Two labelled axes merged, and nothing else: a position goes when either of its two does.
    5. More than that merged, or a labelled axis merged with one of free length, stay; but a batch
       in front of it may be merged (``batching``).
    """
    graph = labelling.graph
    x = labelling.of(source)
    before, after = graph.shape(source) or (), graph.shape(target) or ()
    out: Axes = [None] * len(after)
    for old, new in _blocks(before, after):
        labelled = [axis for axis in old if x[axis] is not None]
        free = any(axis in graph.free.get(source, ()) for axis in old) or any(
            axis in graph.free.get(target, ()) for axis in new
        )
        if not labelled:
            continue
        if free and merges_batch(labelling, vertex, source, target, old, new):
            free = False
            labelling.tiled.update((target, a) for a in new if a in graph.free.get(target, ()))
        if [before[a] for a in old if before[a] > 1] == [after[a] for a in new if after[a] > 1]:
            pairs = zip(
                [a for a in old if before[a] > 1], [a for a in new if after[a] > 1], strict=True
            )
            for left, right in pairs:
                out[right] = x[left]
        elif _is_crossing(labelled, before, after, (old, new)) and not free:
            rows, columns = (x[axis] for axis in labelled)
            assert rows is not None  # chosen above
            assert columns is not None
            target_axis = next(axis for axis in new if after[axis] > 1)
            out[target_axis] = labelling.cross(rows, columns).ravel()
        elif len(labelled) > 1 or free:
            why = "merges it with an axis of free length" if free else "merges two prunable axes"
            for axis in labelled:
                labelling.freeze(x[axis], f"{vertex.name!r} {why}")
        else:
            _move(labelling, x, before, target, (old, new), out)
    return out


def _is_crossing(
    labelled: Sequence[int], before: Sequence[int], after: Sequence[int], block: Block
) -> bool:
    """Two labelled axes, alone in their block, become one axis of moderate length."""
    old, new = block
    whole = [axis for axis in old if before[axis] > 1]
    merged = [after[axis] for axis in new if after[axis] > 1]
    return (
        len(labelled) == 2 and whole == list(labelled) and merged[:-1] == [] and merged[0] <= _MOST
    )


def _move(
    labelling: Labelling,
    x: Axes,
    before: Sequence[int],
    target: str,
    block: Block,
    out: Axes,
) -> None:
    old, new = block
    after = labelling.graph.shape(target) or ()
    labelled = next(axis for axis in old if x[axis] is not None)
    view = [before[axis] if axis == labelled else 1 for axis in old]
    labels = x[labelled]
    assert labels is not None  # chosen above
    full = np.broadcast_to(labels.reshape(view), [before[axis] for axis in old])
    grid = full.reshape([after[axis] for axis in new])
    varying = [
        place
        for place in range(len(new))
        if grid.shape[place] > 1 and (grid != grid.take([0], axis=place)).any()
    ]
    if not varying:
        labelling.freeze(labels, "a reshape leaves it no axis of its own")
        return
    parts = varying
    keep = parts[-1]
    if len(parts) > 1:
        at_end = new[-1] == len(after) - 1
        whole = [place for place in parts if not taken_apart(labelling.graph, target, new[place])]
        keep = whole[-2] if at_end and len(whole) > 1 else (whole or parts)[-1]
        rows = np.moveaxis(grid, keep, 0).reshape(grid.shape[keep], -1)
        labelling.tie_all(rows)
        if at_end and len(whole) > 1:
            labelling.heads.append(rows[:, 0])
    axis_labels = np.moveaxis(grid, keep, 0).reshape(grid.shape[keep], -1)[:, 0]
    out[new[keep]] = axis_labels


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[Block]:
    blocks: list[Block] = []
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [], []
        left = right = 1
        if i < len(before):
            old.append(i)
            left = before[i]
            i += 1
        if j < len(after):
            new.append(j)
            right = after[j]
            j += 1
        while left != right:
            if left < right and i < len(before):
                left *= before[i]
                old.append(i)
                i += 1
            elif j < len(after):
                right *= after[j]
                new.append(j)
                j += 1
            else:
                break
        blocks.append((old, new))
    return blocks
