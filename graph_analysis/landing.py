"""The end game of a selection: from a choice that meets its budget to one that meets it closely.

Works on numbers only: how many units of each group go, out of ``options`` (all counts, or those
that keep a multiple), and what a choice costs. Nothing here can make a choice invalid, because
every part of what a walk lets go is valid (``growth``).

1. Fill up: what went last comes back first, wherever it still fits.
2. Exchange: something comes back and something else goes instead, where the two differ by what is
   left of the budget; of those that land closely, the one that departs least from the order.
3. Where the budget is missed by more than 1 % of the whole: one structure stays that would have
   gone, or goes that would have stayed, and the order is gone along with that settled; where that
   does not help, so it is done with the width of one node group.
4. In a small network, every combination there is.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import product
from math import prod

import numpy as np

from graph_analysis.growth import Growth

Counts = dict[str, int]
TOLERANCE = 0.01  # of the whole: a budget that is met so closely is met
_CLOSE = 0.01  # of the budget: so closely, and nothing is tried any more
_MOST_STRUCTURES = 64  # that are settled one way and the other
_MOST_WIDTHS = 128  # of node groups that are settled
_MOST_MOVES = 1200  # that are paired with each other
_NEAR_OPTIONS = 4  # that one exchange tries in turn; further ones are 1.5 times as far each
_TRIED = 64  # pairs that are counted exactly in one round
_ROUNDS = 8


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may remain.

    Attributes:
        whole: What there was.
        ratio: The share of it that may remain.
    """

    whole: float
    ratio: float

    @property
    def most(self) -> float:
        """What may remain, to rounding; :meth:`fits` is exact."""
        return self.ratio * self.whole

    @property
    def least(self) -> float:
        """What must remain for the budget to be met closely."""
        return (1 - _CLOSE) * self.most

    def is_met(self, cost: float) -> bool:
        """Whether it is met: within 1 % of the whole, and not exceeded."""
        return cost >= self.most - TOLERANCE * self.whole and self.fits(cost)

    def fits(self, cost: float) -> bool:
        """Whether the budget is not exceeded."""
        return cost / self.whole <= self.ratio

    def is_near(self, cost: float) -> bool:
        """Whether it is met closely: within 1 % of itself."""
        return self.least <= cost and self.fits(cost)


@dataclass(kw_only=True)
class Landing:
    """Moves a choice closer to its budget.

    Attributes:
        growth: The order, and what may go.
        step: Node group -> number that its kept units are a multiple of.
        cost: Counts -> what remains.
        structures: Groups that are removal structures.
        budget: To be met.
        cut: Place in the order up to which everything would go if units were infinitely small.
        worth: Group id -> cost of one of its units; departing from the order by it weighs as much.
        dead: Counts -> groups that are gone with structures, whatever is counted for them.
    """

    growth: Growth
    step: Mapping[str, int]
    cost: Callable[[Counts], float]
    structures: Collection[str]
    budget: Budget
    cut: int
    worth: Mapping[str, float]
    dead: Callable[[Counts], frozenset[str]]
    _options: dict[str, list[int]] = field(default_factory=dict)

    def land(self, counts: Counts) -> tuple[Counts, float]:
        """A choice within the budget, at least as near as ``counts``, which must be within it."""
        start = dict(counts)
        counts, cost = self._fill(start, self.cost(start))
        for _ in range(_ROUNDS):
            if self.budget.is_near(cost):
                return counts, cost
            found = self._exchange(counts, cost)
            if found is None and not self.budget.is_met(cost):
                found = self._settled(cost, self._both_ways()) or self._settled(
                    cost, self._widths(counts)
                )
            if found is None:
                break
            counts, cost = self._fill(*found)
        return counts, cost

    def land_exhaustively(self, counts: Counts, most: int) -> tuple[Counts, float]:
        """The best of all combinations, where there are at most so many; else ``counts``.

        It need not resemble ``counts`` at all, so it is for budgets that cannot be met otherwise.
        """
        cost = self.cost(counts)
        keys = list(self.growth.units)
        options = [self._of(key) for key in keys]
        if prod(len(own) for own in options) > most:
            return counts, cost
        near: list[tuple[float, Counts, float]] = []
        for chosen in product(*options):
            other = dict(zip(keys, chosen, strict=True))
            found = self.cost(other)
            if self.budget.is_met(found):
                near.append((self._departure(other), other, found))
            elif self.budget.fits(found) and found > cost:
                counts, cost = other, found
        if near:
            _, counts, cost = min(near, key=lambda entry: (entry[0], -entry[2]))
        return counts, cost

    def _of(self, key: str) -> list[int]:
        if key not in self._options:
            self._options[key] = self.growth.options(key, self.step.get(key, 1))
        return self._options[key]

    def _fill(self, counts: Counts, cost: float) -> tuple[Counts, float]:
        """Let come back what went last, again and again, wherever it fits.

        What does not fit once never fits later: the rest only grows.
        """
        counts, dead = dict(counts), self.dead(counts)
        places = self.growth.places
        left = [(-places[k][n - 1], k) for k, n in counts.items() if n and k not in dead]
        heapify(left)
        while left:
            _, key = heappop(left)
            own = self._of(key)
            less = own[own.index(counts[key]) - 1]
            other = {**counts, key: less}
            found = self.cost(other)
            if not self.budget.fits(found):
                continue
            counts, cost = other, found
            if less:
                heappush(left, (-places[key][less - 1], key))
            if dead and key in self.structures:  # others may be alive again
                alive = dead - (dead := self.dead(counts))
                for other_key in sorted(alive):
                    if counts.get(other_key):
                        heappush(left, (-places[other_key][counts[other_key] - 1], other_key))
        return counts, cost

    def _exchange(self, counts: Counts, cost: float) -> tuple[Counts, float] | None:
        """One group gives back and another gives, so that less of the budget is left."""
        moves = self._moves(counts, is_met=self.budget.is_met(cost))
        deltas = np.array([self.cost({**counts, k: n}) - cost for k, n in moves])
        departures = self._departures(counts, moves)
        more, less = np.flatnonzero(deltas > 0), np.flatnonzero(deltas < 0)
        ahead = cost + deltas[more][:, None] + deltas[less][None, :]
        apart = departures[more][:, None] + departures[less][None, :]
        names = np.array([key for key, _ in moves], object)
        other_group = names[more][:, None] != names[less][None, :]
        fits = (ahead <= self.budget.most) & (ahead > cost) & other_group
        rows, columns = np.nonzero(fits)
        found, away = ahead[rows, columns], apart[rows, columns]
        is_far = found < self.budget.least
        order = np.lexsort((columns, rows, np.where(is_far, -found, away), is_far))
        best: tuple[Counts, float] | None = None
        for number in order[:_TRIED].tolist():
            given, taken = moves[more[rows[number]]], moves[less[columns[number]]]
            other = {**counts, given[0]: given[1], taken[0]: taken[1]}
            exact = self.cost(other)
            if self.budget.is_near(exact):
                return other, exact
            if self.budget.fits(exact) and exact > (best[1] if best else cost):
                best = other, exact
        return best

    def _both_ways(self) -> list[tuple[str, int]]:
        """Structures, gone and not."""
        keys = [key for key in self.growth.units if key in self.structures]
        return [(key, goes) for key in keys[:_MOST_STRUCTURES] for goes in (0, 1)]

    def _widths(self, counts: Counts) -> list[tuple[str, int]]:
        """Options of node groups, next to what is taken first."""
        moves = self._moves(counts, is_met=False)
        return [move for move in moves if move[0] not in self.structures][:_MOST_WIDTHS]

    def _settled(
        self, cost: float, settled: Sequence[tuple[str, int]]
    ) -> tuple[Counts, float] | None:
        """The best of what comes of settling one group first; None if none is better."""
        found = []
        for key, goes in settled:
            counts = self._shortest(key, goes)
            if counts is not None:
                counts, other = self._fill(counts, self.cost(counts))
                if other > cost:
                    found.append((self.budget.is_met(other), other, counts))
        if not found:
            return None
        met = [entry for entry in found if entry[0]]
        if met:
            _, other, counts = min(met, key=lambda entry: self._departure(entry[2]))
        else:
            _, other, counts = max(found, key=lambda entry: entry[1])
        return counts, other

    def _shortest(self, key: str, goes: int) -> Counts | None:
        """The shortest prefix of the order that fits with one group settled."""

        def prefix(count: int) -> Counts:
            return {**self.growth.counts(count, self.step), key: goes}

        high = len(self.growth.order)
        if not self.budget.fits(self.cost(prefix(high))):
            return None
        return prefix(smallest(high, lambda n: self.budget.fits(self.cost(prefix(n)))))

    def _moves(self, counts: Counts, *, is_met: bool) -> list[tuple[str, int]]:
        """Options of single groups beside those that are taken.

        Of node groups only, and next to what is taken, where the budget is met and could only be
        met a little better: that is not worth another structure, or far from the order.
        """
        dead = self.dead(counts)
        found: list[tuple[int, str, int]] = []
        for key in self.growth.units:
            if key in dead or (is_met and key in self.structures):
                continue
            own = self._of(key)
            at = own.index(counts.get(key, 0))
            for distance in _distances(min(len(own), _NEAR_OPTIONS) if is_met else len(own)):
                places = (at - distance, at + distance)
                found += [(distance, key, own[n]) for n in places if 0 <= n < len(own)]
        found.sort(key=lambda move: move[0])
        return [(key, option) for _, key, option in found[:_MOST_MOVES]]

    def _departures(self, counts: Counts, moves: Sequence[tuple[str, int]]) -> np.ndarray:
        own = [self._departure_of(k, n) - self._departure_of(k, counts.get(k, 0)) for k, n in moves]
        return np.array(own, np.float64)

    def _departure(self, counts: Counts) -> float:
        """How far a choice is from the order: 0 if everything goes up to the cut, nothing after."""
        return sum(self._departure_of(key, counts.get(key, 0)) for key in self.growth.units)

    def _departure_of(self, key: str, goes: int) -> float:
        away = [self.cut - place for place in self.growth.places[key]]
        ranks = sum(-n for n in away[:goes] if n < 0) + sum(n for n in away[goes:] if n > 0)
        return ranks * self.worth[key]


def _distances(length: int) -> list[int]:
    """1, 2, 3, ..., then growing by half, up to ``length``."""
    found, distance = [], 1
    while distance < length:
        found.append(distance)
        distance = max(distance + 1, distance * 3 // 2 if distance >= _NEAR_OPTIONS else 0)
    return found


def smallest(high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number up to ``high``, where it holds, for which it holds."""
    low = 0
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _near_integer(value: float) -> float:
    """The integer that a product of a share and a whole was meant to be, if it is next to one."""
    return float(round(value)) if abs(value - round(value)) < 1e-6 * max(1.0, value) else value
