"""The index from classes to places, and prices by it: equal to a walk over the whole model."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from graph_analysis.loading import load_model
from graph_analysis.multiplications import Product
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.places import mask_places, ranges, weight_places
from graph_analysis.pricing import ProductIndex
from graph_analysis.search_space import Group
from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES


def _analysis(case: str) -> Analysis:
    return analyze(load_model(HARD_CASES[case]().SerializeToString()))


def _choices(analysis: Analysis, count: int) -> Iterator[Solution]:
    """Random choices of units and structures, valid or not."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        removed = {
            group.id: tuple(np.flatnonzero(rng.random(group.units) < 0.4).tolist())
            for group in analysis.space.groups
            if rng.random() < 0.5
        }
        yield Solution(space="", removed={key: units for key, units in removed.items() if units})


def _walked(analysis: Analysis, solution: Solution) -> tuple[int, int, int]:
    """Multiply-accumulates, parameters and bytes, vertex by vertex and weight by weight."""
    gone, removed = analysis.gone(solution), analysis.survivors(solution).removed
    costs, consumers = analysis.costs, analysis.graph.consumers
    macs = sum(
        product.count(gone)
        for index, products in costs.macs.items()
        if index not in removed
        for product in products
    )
    left = {
        name: product.count(gone)
        for name, product in costs.elements.items()
        if not consumers.get(name) or any(i not in removed for i, _ in consumers[name])
    }
    parameters = sum(n for name, n in left.items() if name in costs.parameters)
    return macs, parameters, sum(n * costs.item_bytes[name] for name, n in left.items())


@pytest.mark.parametrize("case", HARD_CASES)
def test_what_remains_costs_the_same_by_index_as_by_a_walk(case: str) -> None:
    analysis = _analysis(case)
    for solution in _choices(analysis, 5):
        found = analysis.macs(solution), analysis.parameters(solution), analysis.bytes(solution)
        assert found == _walked(analysis, solution)


@pytest.mark.parametrize("case", HARD_CASES)
def test_the_price_of_a_unit_or_structure_is_what_the_whole_lacks_without_it(case: str) -> None:
    analysis = _analysis(case)
    whole = _walked(analysis, Solution(space="", removed={}))
    for group in analysis.space.groups:
        left = _walked(analysis, Solution(space="", removed={group.id: (0,)}))
        assert (group.macs, group.parameters) == (whole[0] - left[0], whole[1] - left[1])


@pytest.mark.parametrize("case", HARD_CASES)
def test_every_position_of_a_unit_is_in_its_slices_and_masks(case: str) -> None:
    analysis = _analysis(case)
    parts = analysis.classes.crossings
    owners = {
        int(crossing): (int(row), int(column))
        for crossing, row, column in zip(parts.crossing, parts.rows, parts.columns, strict=True)
    }
    axes = [
        (name, axis, labels)
        for name in analysis.graph.initializers
        for axis, labels in enumerate(analysis.labelling.axes.get(name, []))
    ]
    axes += [(mask.name, mask.axis, labels) for mask, labels in analysis.labelling.masks]
    wanted: dict[int, set[tuple[str, int, int]]] = defaultdict(set)
    for name, axis, labels in axes:
        found = analysis.classes.of(labels)
        for position, unit in enumerate([] if found is None else found.tolist()):
            for owner in owners.get(unit, (unit,)):
                wanted[owner].add((name, axis, position))
    for entry in analysis.node_groups:
        for number, unit in enumerate(entry.classes):
            assert _occupied(entry.group, number) == wanted[unit]


def _occupied(group: Group, unit: int) -> set[tuple[str, int, int]]:
    return {
        (slices.initializer, slices.axis, position)
        for slices in (*group.cut, *group.masks)
        for position in slices.unit_indices[unit]
    }


@pytest.mark.parametrize("case", HARD_CASES)
def test_classes_together_lie_where_each_of_them_does(case: str) -> None:
    analysis = _analysis(case)
    for places in (
        weight_places(analysis.labelling, analysis.classes),
        mask_places(analysis.labelling, analysis.classes),
    ):
        units = np.unique(places.unit)[::2]
        each = places.of_each(units.tolist()[::-1])
        together = dict(places.of(units))
        assert list(each) == list(together)
        for place, where in each.items():
            assert tuple(sorted({p for one in where for p in one})) == together[place]


def test_nothing_lies_nowhere() -> None:
    analysis = _analysis(next(iter(HARD_CASES)))
    places = weight_places(analysis.labelling, analysis.classes)
    nothing = np.zeros(0, np.int64)
    assert not list(places.of(nothing))
    assert not places.of_each([])
    assert ranges(places.unit, nothing).size == 0


def test_a_product_is_counted_beyond_64_bits_and_loses_only_what_is_touched() -> None:
    axis = np.array([3, -1, 4, 4], np.int64)
    products = {
        "a": (Product(factor=1 << 70, axes=(axis, axis)), Product(factor=5, axes=())),
        "b": (Product(factor=2, axes=(np.array([7, 8], np.int64),)),),
    }
    index = ProductIndex(products)
    gone = np.zeros(10, bool)
    assert index.count(gone) == {"a": (16 << 70) + 5, "b": 4}
    gone[4] = True
    assert index.count(gone) == {"a": (4 << 70) + 5, "b": 4}
    assert index.lost(np.array([4])) == {"a": 12 << 70}
    assert index.lost(np.array([5])) == {}


def test_an_index_without_axes_counts_the_factors() -> None:
    index = ProductIndex({"a": (Product(factor=3, axes=()),)})
    assert index.count(np.zeros(1, bool)) == {"a": 3}
    assert index.lost(np.array([1])) == {}


def test_a_weight_that_a_remaining_vertex_reads_too_is_still_counted() -> None:
    """The branch's kernel is that of the trunk: only its bias of 16 goes."""
    analysis = analyze(load_model(HARD_CASES["branch_shares_its_weight"]().SerializeToString()))
    (structure,) = analysis.structures
    removed = Solution(space="", removed={structure.group.id: (0,)})
    nothing = Solution(space="", removed={})
    assert structure.group.parameters == 16
    assert analysis.bytes(nothing) - analysis.bytes(removed) == 4 * 16
