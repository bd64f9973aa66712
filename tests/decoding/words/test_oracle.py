"""The fewest errors of a lattice, against the errors of each of its paths."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from pipeline.config.decoding import DecodingSettings
from pipeline.corpus.text.alphabet import PHONEMES, Alphabet
from pipeline.decoding.scoring import Scoring
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.lattices import NO_PATHS
from pipeline.decoding.words.oracle import Oracle, fewest_errors, score_oracle
from pipeline.decoding.words.text_decoder import TextDecoder
from pipeline.decoding.words.text_sources import TextSources
from tests.decoding.words.small_lattices import SEEDS, all_paths, random_lattice

LETTERS = Alphabet("letters", tuple(" ABC"))
SOUNDS = Alphabet(PHONEMES, ("AA", "B", "K"))
TOKENS = {1: ["A"], 2: ["B", "A"], 3: []}


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.sampled_from("ABC"), max_size=6))
def test_the_fewest_errors_are_those_of_the_nearest_path(seed, reference):
    lattice = random_lattice(seed)
    each = [
        Levenshtein.distance(reference, [token for word in words for token in TOKENS[word]])
        for words, _ in all_paths(lattice)
    ]
    assert fewest_errors(lattice, reference, TOKENS) == min(each)


def test_without_a_path_all_of_the_reference_is_missing():
    assert fewest_errors(NO_PATHS, ["A", "B"], TOKENS) == 2


def noisy_frames(seed: int, alphabet: Alphabet) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.full(alphabet.size, 0.4), 5)).clip(-20).astype(np.float32)


@pytest.mark.parametrize(
    ("alphabet", "words", "scoring", "name"),
    [
        (LETTERS, "train", Scoring(), "WER"),
        (LETTERS, "any", Scoring(), "CER without spaces"),
        (LETTERS, "train", Scoring(has_words=False), "CER without spaces"),
        (SOUNDS, "any", Scoring(has_words=False, has_phonemes=True), "PER"),
    ],
)
def test_the_oracle_is_the_best_of_all_texts(alphabet, words, scoring, name):
    """The n-best list is long enough for all texts of the lattice."""
    spelled = ["AB C", "A B", "CAB"] if alphabet is LETTERS else ["B AA", "AA K B"]
    reference = "A CAB" if alphabet is LETTERS else "B AA K"
    sources = TextSources.make(DecodingSettings(words=words), spelled, alphabet, str.upper)
    decoder = TextDecoder(sources, GraphWeights(0.5, unknown=math.inf))
    kind = {"WER": "words", "CER without spaces": "characters_no_spaces", "PER": "characters"}[name]
    for seed in range(3):
        found = decoder.decode_fully(noisy_frames(seed, alphabet), 10_000, lattice=True)
        counts = [
            getattr(scoring.score(reference, text), kind)
            for text in {" ".join(text.split()) for text, _ in found.others}
        ]
        oracle = score_oracle(decoder, [(reference, found.lattice)], scoring)
        assert oracle == Oracle(name, min(each.errors for each in counts), counts[0].reference)


def test_a_word_that_the_lexicon_lacks_is_an_error():
    sources = TextSources.make(DecodingSettings(), ["A C"], LETTERS, str.upper)
    decoder = TextDecoder(sources, GraphWeights(0.0, unknown=-5.0))
    logs = np.full((3, LETTERS.size), -9.0, np.float32)
    logs[[0, 1, 2], [3, 2, 3]] = -0.01
    found = decoder.decode_fully(logs, 1, lattice=True)
    assert found.text == "BAB"
    assert score_oracle(decoder, [("BAB", found.lattice)], Scoring()) == Oracle("WER", 1, 1)
