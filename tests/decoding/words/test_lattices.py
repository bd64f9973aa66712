"""The best sequences of lattices against all paths and OpenFst; Kaldi's text format."""

import gzip
from itertools import pairwise

import kaldifst
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decoding.words.determinisation import word_lattice
from pipeline.decoding.words.lattices import (
    NO_PATHS,
    Lattice,
    LatticeArchive,
    best_sequences,
    format_lattices,
)
from tests.decoding.words.small_lattices import (
    ROUNDED,
    SEEDS,
    all_paths,
    cheapest_paths,
    random_lattice,
    read_archive,
)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_the_best_sequences_are_those_of_all_paths(seed, count):
    lattice = random_lattice(seed)
    expected = sorted(cheapest_paths(lattice).values())[:count]
    for each in (lattice, word_lattice(lattice, 1_000.0)):
        found = best_sequences(each, count)
        assert [-one.score for one in found] == pytest.approx(expected, abs=ROUNDED)
        assert len({one.words for one in found}) == len(found)


def test_no_paths_have_no_sequences_and_no_place_in_an_archive():
    assert best_sequences(NO_PATHS, 3) == []
    assert format_lattices([("u", NO_PATHS)]) == ""


def test_an_archive_is_as_kaldi_writes_it():
    lattice = Lattice(0, {0: [(1, 2, (1.5, -0.25)), (1, 1, (0.0, 3.1234))]}, {1: (0.0, 0.5)})
    archive = LatticeArchive.make([("a 1", lattice), ("b", lattice)], ("NO", "YES"))
    one = "0 1 2 1.5,-0.25,\n0 1 1 0,3.123,\n1 0,0.5,\n\n"
    assert archive.lattices == f"a_1 \n{one}b \n{one}"
    assert archive.symbols == "<eps> 0\nNO 1\nYES 2\n"
    assert gzip.decompress(archive.compressed).decode() == archive.lattices
    assert (
        archive.compressed == LatticeArchive.make([("a 1", lattice), ("b", lattice)], ()).compressed
    )


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_an_archive_is_read_back_and_openfst_finds_the_same_best_path(seed):
    lattice = random_lattice(seed)
    stored = word_lattice(lattice, 1_000.0)
    text = format_lattices([("u", stored)])
    (read,) = read_archive(text).values()
    assert dict(all_paths(read)) == dict(all_paths(stored))
    states = list(stored.states())
    assert states == sorted(states)
    assert states[0] == 0
    # OpenFst's text format with one cost; a line is an arc of a transducer or a final state.
    lines = []
    for line in text.split("\n")[1:-2]:
        *numbers, weight = line.split(" ")
        word = numbers[2:]
        lines.append(" ".join([*numbers, *word, str(sum(map(float, weight.split(",")[:2])))]))
    fst = kaldifst.compile("\n".join(lines) + "\n")
    found, _, words, weight = kaldifst.get_linear_symbol_sequence(kaldifst.shortest_path(fst))
    (best,) = best_sequences(stored, 1)
    assert found
    assert weight.value == pytest.approx(-best.score, abs=1e-3)
    scores = [each.score for each in best_sequences(stored, 2)]
    if all(abs(one - other) > 1e-3 for one, other in pairwise(scores)):
        assert tuple(words) == best.words
