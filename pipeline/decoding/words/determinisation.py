"""Determinisation: a lattice with the same word sequences, each as one path of few states.

In:   a lattice, a beam.   Out: a lattice whose arcs all have words.
Not here: where lattices come from (graph_search.py), what is done with them (lattices.py).
"""

import math
from collections.abc import Mapping
from heapq import heapify, heappop, heappush

from pipeline.decoding.words.lattices import DIGITS, NO_PATHS, Arc, Cost, Lattice

# Arcs that are followed before the rest is left out, about half a second of work: only a network
# that is unsure of everything needs more, and its lattice has the best paths all the same.
MAX_ARCS = 200_000
CLOSE = 0.01  # nats: of two paths this close the longer one is followed first, so that one ends
NO_COST: Cost = (0.0, 0.0)


def word_lattice(lattice: Lattice, beam: float) -> Lattice:
    """Return the word sequences of a lattice that cost at most `beam` nats more than the best.

    Every arc has a word, each word sequence is one path with the cost of its cheapest one, and
    states with the same continuations are one state. Of dearer sequences some remain, a few of them
    with the cost of another of their paths.
    Costs are rounded to DIGITS and stand as early as possible: the rest of the best path costs 0.
    """
    return _merge(_Determiniser(lattice, beam).run())


Subset = tuple[tuple[int, Cost], ...]  # states with what each costs more than the cheapest of them


class _Determiniser:
    """Joins the paths with the same words: a state is the set of states that they can be in.

    Like Kaldi's pruned determinisation (Povey et al., ICASSP 2012), the best path first: when a
    state is taken from the queue, no way to it is left that is cheaper by more than CLOSE.
    """

    def __init__(self, lattice: Lattice, beam: float) -> None:
        self._lattice = lattice
        self._order = list(lattice.states())
        self._places = {state: place for place, state in enumerate(self._order)}
        self._rest: dict[int, float] = {}  # the cheapest cost from a state to the end
        words: dict[int, int] = {}  # at most, from a state to the end
        for state in reversed(self._order):
            arcs = lattice.arcs.get(state, ())
            ends = [sum(lattice.finals[state])] if state in lattice.finals else []
            ends += [sum(cost) + self._rest[end] for end, _, cost in arcs]
            self._rest[state] = min(ends, default=math.inf)
            words[state] = max((words[end] + bool(word) for end, word, _ in arcs), default=0)
        # Each word's cost is rounded, and no path may be lost by that.
        self._best = self._rest[lattice.start] + CLOSE + 10**-DIGITS * (1 + words[lattice.start])
        self._limit = self._best + beam
        self._arcs = 0  # that were followed

    def run(self) -> Lattice:
        arcs: dict[int, list[Arc]] = {}
        finals: dict[int, Cost] = {}
        numbers: dict[Subset, int] = {}
        done: set[int] = set()
        start: Subset = ((self._lattice.start, NO_COST),)
        numbers[start] = 0
        queue = [(0.0, 0, 0.0, 0, start)]
        is_best_found = False
        while queue and (self._arcs < MAX_ARCS or not is_best_found):
            _, depth, before, number, subset = heappop(queue)
            if number in done:
                continue
            done.add(number)
            final, following = self._follow(subset, before)
            if final is not None:
                finals[number] = final
                is_best_found |= before + sum(final) <= self._best
            for word, reached in following.items():
                common, target = _normalise(reached)
                end = numbers.setdefault(target, len(numbers))
                arcs.setdefault(number, []).append((end, word, common))
                if end not in done:
                    total = before + sum(common)
                    estimate = total + min(sum(cost) + self._rest[each] for each, cost in target)
                    heappush(queue, (estimate // CLOSE, depth - 1, total, end, target))
        return Lattice(0, arcs, finals)

    def _follow(
        self, subset: Subset, before: float
    ) -> tuple[Cost | None, dict[int, dict[int, Cost]]]:
        """Return the cost of ending here, and the states that each next word leads to."""
        costs = dict(subset)
        queue = [self._places[state] for state in costs]
        heapify(queue)
        final: Cost | None = None
        following: dict[int, dict[int, Cost]] = {}
        while queue:
            state = self._order[heappop(queue)]
            so_far = costs[state]
            if state in self._lattice.finals:
                total = _add(so_far, self._lattice.finals[state])
                if before + sum(total) <= self._limit and (final is None or _is_less(total, final)):
                    final = total
            for end, word, cost in self._lattice.arcs.get(state, ()):
                self._arcs += 1
                total = _add(so_far, cost)
                if before + sum(total) + self._rest[end] > self._limit:
                    continue
                reached = following.setdefault(word, {}) if word else costs
                if end not in reached and not word:
                    heappush(queue, self._places[end])
                if end not in reached or _is_less(total, reached[end]):
                    reached[end] = total
        return final, following


def _normalise(reached: Mapping[int, Cost]) -> tuple[Cost, Subset]:
    """Return the cost that all these states share, and the states with the rounded rest."""
    common = min(reached.values(), key=sum)
    subset = ((state, _round(_subtract(cost, common))) for state, cost in reached.items())
    return common, tuple(sorted(subset))


def _merge(lattice: Lattice) -> Lattice:
    """Return the lattice with costs as early as possible, and equal states merged and renumbered.

    From the last state to the first: states are equal if they have the same arcs to equal states.
    """
    rest: dict[int, Cost] = {}  # of each state: what its cheapest continuation costs
    merged: dict[int, int] = {}
    seen: dict[tuple[Cost | None, tuple[Arc, ...]], int] = {}
    for state in reversed(list(lattice.states())):
        arcs = [
            (merged[end], word, _add(cost, rest[end]))
            for end, word, cost in lattice.arcs.get(state, ())
            if end in merged
        ]
        final = lattice.finals.get(state)
        costs = [cost for _, _, cost in arcs] + ([final] if final is not None else [])
        if not costs:  # no way to the end: it was left out
            continue
        # What the start's continuation costs has no earlier place, so it stays.
        best = NO_COST if state == lattice.start else _round(min(costs, key=sum))
        rest[state] = best
        pushed = tuple(sorted((end, w, _round(_subtract(cost, best))) for end, w, cost in arcs))
        ending = None if final is None else _round(_subtract(final, best))
        merged[state] = seen.setdefault((ending, pushed), state)
    if lattice.start not in merged:
        return NO_PATHS
    kept = {state: key for key, state in seen.items()}
    chosen = Lattice(
        lattice.start,
        {state: arcs for state, (_, arcs) in kept.items()},
        {state: final for state, (final, _) in kept.items() if final is not None},
    )
    return _renumber(chosen)


def _renumber(lattice: Lattice) -> Lattice:
    """Return the lattice with the numbers 0, 1, … of its states in topological order."""
    numbers = {state: number for number, state in enumerate(lattice.states())}
    arcs = {
        number: [(numbers[end], word, cost) for end, word, cost in lattice.arcs[state]]
        for state, number in numbers.items()
    }
    finals = {numbers[state]: cost for state, cost in lattice.finals.items() if state in numbers}
    return Lattice(0, arcs, finals)


def _add(one: Cost, other: Cost) -> Cost:
    return one[0] + other[0], one[1] + other[1]


def _subtract(one: Cost, other: Cost) -> Cost:
    return one[0] - other[0], one[1] - other[1]


def _round(cost: Cost) -> Cost:
    return round(cost[0], DIGITS) + 0.0, round(cost[1], DIGITS) + 0.0  # 0.0 instead of -0.0


def _is_less(one: Cost, other: Cost) -> bool:
    return sum(one) < sum(other)
