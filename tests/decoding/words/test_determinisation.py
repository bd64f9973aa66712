"""Lattices made smaller, against every path of small ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decoding.words import determinisation
from pipeline.decoding.words.determinisation import word_lattice
from pipeline.decoding.words.lattices import NO_PATHS, Lattice, best_sequences
from tests.decoding.words.small_lattices import (
    ROUNDED,
    SEEDS,
    all_paths,
    cheapest_paths,
    random_lattice,
)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.1, 20))
def test_a_word_lattice_has_each_sequence_within_the_beam_once_with_its_cost(seed, beam):
    lattice = random_lattice(seed)
    expected = cheapest_paths(lattice)
    found = word_lattice(lattice, beam)
    paths = list(all_paths(found))
    assert len({words for words, _ in paths}) == len(paths)
    limit = min(expected.values()) + beam
    for words, cost in paths:
        assert sum(cost) >= expected[words] - ROUNDED
        assert expected[words] > limit or sum(cost) <= expected[words] + ROUNDED
    within = {words for words, cost in expected.items() if cost <= limit}
    assert within <= {words for words, _ in paths}
    assert all(word for arcs in found.arcs.values() for _, word, _ in arcs)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_graph_and_sound_keep_their_own_costs(seed):
    lattice = random_lattice(seed)
    pairs: dict[tuple[int, ...], list] = {}
    for words, cost in all_paths(lattice):
        pairs.setdefault(words, []).append(cost)
    for words, cost in all_paths(word_lattice(lattice, 1_000.0)):
        assert any(cost == pytest.approx(one, abs=ROUNDED) for one in pairs[words])


def test_states_with_the_same_continuations_are_one():
    """Two first words, which share the rest: 0 -1-> 1, 0 -2-> 2, then 3 from both."""
    arcs = {0: [(1, 1, (1.0, 0.0)), (2, 2, (0.0, 0.5))], 1: [(3, 3, (2.0, 1.0))]}
    arcs[2] = [(3, 3, (7.0, 1.0))]  # dearer, but all its continuations are
    found = word_lattice(Lattice(0, arcs, {3: (0.0, 0.25)}), 20.0)
    assert found.finals == {2: (0.0, 0.0)}
    assert sorted(found.arcs[0]) == [(1, 1, (3.0, 1.25)), (1, 2, (7.0, 1.75))]
    assert found.arcs[1] == [(2, 3, (0.0, 0.0))]


@pytest.mark.parametrize("dearer", [0.0, 3.0])
def test_a_lattice_that_is_too_large_keeps_the_best_paths(dearer: float, monkeypatch):
    """Each of 12 places has two words; all paths may cost the same."""
    places = range(12)
    arcs = {place: [(place + 1, 1, (0.0, 1.0)), (place + 1, 2, (dearer, 1.0))] for place in places}
    large = Lattice(0, arcs, {12: (0.0, 0.0)})
    assert len(list(all_paths(word_lattice(large, 100.0)))) == 2**12
    monkeypatch.setattr(determinisation, "MAX_ARCS", 3)
    words, cost = min(all_paths(word_lattice(large, 100.0)), key=lambda path: sum(path[1]))
    assert sum(cost) == 12.0
    assert len(words) == 12


@pytest.mark.parametrize("seed", range(20))
def test_the_best_path_is_there_however_few_arcs_are_followed(seed: int, monkeypatch):
    monkeypatch.setattr(determinisation, "MAX_ARCS", 1)
    lattice = random_lattice(seed)
    found = best_sequences(word_lattice(lattice, 10.0), 1)
    best = best_sequences(lattice, 1)
    assert found[0].score == pytest.approx(best[0].score, abs=ROUNDED + determinisation.CLOSE)


def test_no_paths_stay_none():
    assert word_lattice(NO_PATHS, 1.0) == NO_PATHS
