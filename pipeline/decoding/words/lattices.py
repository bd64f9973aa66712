"""Lattices: the word sequences of an utterance and their costs, as a graph without cycles.

In:   the arcs of a search (graph_search.py).
Out:  the best word sequences; Kaldi's text format.
Not here: the search (graph_search.py), making lattices smaller (determinisation.py), the fewest
errors of a path (oracle.py).

A cost is a pair of nats, as in Kaldi: of the graph (n-gram, words) and of the sound. The smaller
sum is better.
"""

import gzip
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from operator import itemgetter

Cost = tuple[float, float]
Arc = tuple[int, int, Cost]  # next state, word (0: none), cost
DIGITS = 3  # after the point, of the costs of a lattice that is stored [nats]


@dataclass(frozen=True)
class Lattice:
    """Paths from the start to a final state; `finals` has the cost of ending in a state."""

    start: int
    arcs: Mapping[int, Sequence[Arc]]  # by the state that they leave
    finals: Mapping[int, Cost]

    def states(self) -> Iterator[int]:
        """Yield each state that can be reached, after all states from which it can be."""
        arriving = Counter(end for each in self.arcs.values() for end, _, _ in each)
        ready = [self.start]
        while ready:
            state = ready.pop()
            yield state
            for end, _, _ in self.arcs.get(state, ()):
                arriving[end] -= 1
                if not arriving[end]:
                    ready.append(end)


NO_PATHS = Lattice(0, {}, {})


@dataclass(frozen=True)
class WordSequence:
    words: tuple[int, ...]  # numbers of words, from 1
    score: float  # nats: of its best path


def best_sequences(lattice: Lattice, count: int) -> list[WordSequence]:
    """Return up to `count` different word sequences of a lattice, the best first.

    Each state keeps its `count` cheapest histories; an arc adds the same to all of them, so that no
    other history can be among the cheapest at the end.
    """
    histories: dict[int, dict[tuple[int, ...], float]] = {lattice.start: {(): 0.0}}
    complete: dict[tuple[int, ...], float] = {}
    for state in lattice.states():
        kept = dict(nsmallest(count, histories.pop(state).items(), key=itemgetter(1)))
        if state in lattice.finals:
            _keep_cheapest(complete, kept, (), sum(lattice.finals[state]))
        for following, word, cost in lattice.arcs.get(state, ()):
            longer = (word,) if word else ()
            _keep_cheapest(histories.setdefault(following, {}), kept, longer, sum(cost))
    cheapest = nsmallest(count, complete.items(), key=itemgetter(1))
    return [WordSequence(words, -cost) for words, cost in cheapest]


def _keep_cheapest(
    costs: dict[tuple[int, ...], float],
    before: Mapping[tuple[int, ...], float],
    words: tuple[int, ...],
    cost: float,
) -> None:
    for history, so_far in before.items():
        longer, total = history + words, so_far + cost
        if total < costs.get(longer, math.inf):
            costs[longer] = total


@dataclass(frozen=True)
class LatticeArchive:
    """The text of two of Kaldi's files: an archive of compact lattices, a table of word numbers."""

    lattices: str
    symbols: str

    @classmethod
    def make(
        cls, lattices: Iterable[tuple[str, Lattice]], words: Sequence[str]
    ) -> "LatticeArchive":
        """Format named lattices whose word number n is `words[n - 1]`."""
        numbered = enumerate(("<eps>", *words))
        symbols = "".join(f"{word} {number}\n" for number, word in numbered)
        return cls(format_lattices(lattices), symbols)

    @property
    def compressed(self) -> bytes:
        """The archive as gzip writes it; the same lattices give the same bytes."""
        return gzip.compress(self.lattices.encode(), mtime=0)


def format_lattices(lattices: Iterable[tuple[str, Lattice]]) -> str:
    """Return Kaldi's text archive of compact lattices; names are utterance ids.

    Words are numbers, costs are `graph,sound,` without the frames' labels. White space in a name
    becomes `_`. A lattice without a path is left out.
    """
    lines: list[str] = []
    for name, lattice in lattices:
        if not lattice.finals:
            continue
        lines.append(f"{'_'.join(name.split())} ")
        for state in lattice.states():
            lines += [
                f"{state} {end} {word} {_format(cost)}"
                for end, word, cost in lattice.arcs.get(state, ())
            ]
            if state in lattice.finals:
                lines.append(f"{state} {_format(lattice.finals[state])}")
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def _format(cost: Cost) -> str:
    return ",".join(f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") for value in cost) + ","
