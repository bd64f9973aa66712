"""Small random lattices with all their paths; a reader of Kaldi's text archives."""

import math
import random
from collections.abc import Iterator

from hypothesis import strategies as st

from pipeline.decoding.words.lattices import Cost, Lattice

SEEDS = st.integers(0, 2**32 - 1)  # of random lattices
ROUNDED = 0.01  # nats: a few costs that are rounded to thousandths
WORDS = 3


def random_lattice(seed: int) -> Lattice:
    """Return a lattice of up to seven states whose arcs have a word or none; 0 reaches the end."""
    rng = random.Random(seed)
    size = rng.randint(1, 7)

    def cost() -> Cost:
        return rng.randint(-500, 4000) / 1000, rng.randint(0, 4000) / 1000

    arcs: dict[int, list[tuple[int, int, Cost]]] = {}
    for begin in range(size - 1):
        others = [rng.randint(begin + 1, size - 1) for _ in range(rng.randint(0, 3))]
        arcs[begin] = [(end, rng.randint(0, WORDS), cost()) for end in (begin + 1, *others)]
    finals = {state: cost() for state in range(size - 1) if rng.random() < 0.3}
    return Lattice(0, arcs, finals | {size - 1: cost()})


def all_paths(lattice: Lattice) -> Iterator[tuple[tuple[int, ...], Cost]]:
    """Yield the words and the cost of every path."""

    def follow(state: int, words: tuple[int, ...], cost: Cost):
        if state in lattice.finals:
            yield words, add(cost, lattice.finals[state])
        for end, word, more in lattice.arcs.get(state, ()):
            yield from follow(end, words + ((word,) if word else ()), add(cost, more))

    yield from follow(lattice.start, (), (0.0, 0.0))


def cheapest_paths(lattice: Lattice) -> dict[tuple[int, ...], float]:
    """Return the cost of each word sequence: that of its cheapest path."""
    costs: dict[tuple[int, ...], float] = {}
    for words, cost in all_paths(lattice):
        costs[words] = min(sum(cost), costs.get(words, math.inf))
    return costs


def add(one: Cost, other: Cost) -> Cost:
    return one[0] + other[0], one[1] + other[1]


def read_archive(text: str) -> dict[str, Lattice]:
    """Read what Kaldi's ReadCompactLatticeText reads, without labels of frames."""
    found = {}
    for block in text.split("\n\n")[:-1]:
        name, *lines = block.split("\n")
        assert name.endswith(" ")
        assert len(name.split()) == 1
        arcs: dict[int, list[tuple[int, int, Cost]]] = {}
        finals = {}
        for line in lines:
            *numbers, weight = line.split(" ")
            graph, sound, labels = weight.split(",")
            assert not labels
            cost = float(graph), float(sound)
            if len(numbers) == 1:
                finals[int(numbers[0])] = cost
            else:
                begin, end, word = map(int, numbers)
                arcs.setdefault(begin, []).append((end, word, cost))
        found[name.strip()] = Lattice(int(lines[0].split(" ")[0]), arcs, finals)
    return found
