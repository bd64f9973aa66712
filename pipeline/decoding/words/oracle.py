"""The oracle of lattices: the fewest errors that any path makes.

In:   lattices, references.   Out: counts of errors.
Not here: the lattices (lattices.py), the errors of one text (../scoring.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.decoding.scoring import Scoring
from pipeline.decoding.words.lattices import Lattice
from pipeline.decoding.words.ngram import UNKNOWN
from pipeline.decoding.words.text_decoder import TextDecoder
from pipeline.decoding.words.text_sources import SPACE_TOKEN
from pipeline.shapes import Bool, Int64

WORDS, CHARACTERS, PHONEMES = "WER", "CER without spaces", "PER"


@dataclass(frozen=True)
class Oracle:
    rate_name: str
    errors: int
    reference: int  # tokens


def score_oracle(
    decoder: TextDecoder, pairs: Iterable[tuple[str, Lattice]], scoring: Scoring
) -> Oracle:
    """Return the errors of each lattice's best path for its reference, summed.

    Words count where the lattices are made of words, else phonemes or characters without spaces. A
    word that the lexicon lacks has no letters in a lattice, so it is an error.
    """
    name = WORDS if decoder.sources.lexicon and scoring.has_words else CHARACTERS
    name = PHONEMES if scoring.has_phonemes else name

    def split(text: str) -> list[str]:
        tokens = (text if scoring.has_phonemes else scoring.scored_text(text)).split()
        return list("".join(tokens)) if name == CHARACTERS else tokens

    tokens = {number: split(word) for number, word in enumerate(decoder.words, start=1)}
    for number, word in enumerate(decoder.words, start=1):
        if word == UNKNOWN:
            tokens[number] = [UNKNOWN]
        elif word == SPACE_TOKEN and decoder.sources.lexicon is None:
            tokens[number] = []
    errors = length = 0
    for reference, lattice in pairs:
        expected = split(reference)
        errors += fewest_errors(lattice, expected, tokens)
        length += len(expected)
    return Oracle(name, errors, length)


def fewest_errors(
    lattice: Lattice, reference: Sequence[str], tokens: Mapping[int, Sequence[str]]
) -> int:
    """Return the smallest edit distance of the reference to the tokens of any path.

    `tokens` of each word number: the word itself, or its characters. A lattice without a path makes
    as many errors as the reference has tokens. Each state keeps a column of the table of edit
    distances: its smallest distances to the first 0, 1, … L tokens of the reference.
    """
    expected = np.array([*reference, ""])[:-1]
    columns = {lattice.start: np.arange(len(reference) + 1)}
    ends = []
    for state in lattice.states():
        column = columns.pop(state)
        if state in lattice.finals:
            ends.append(int(column[-1]))
        for end, word, _ in lattice.arcs.get(state, ()):
            longer = column
            for token in tokens.get(word, ()):
                longer = _add_token(expected == token, longer)
            columns[end] = np.minimum(columns[end], longer) if end in columns else longer
    return min(ends, default=len(reference))


def _add_token(
    equal: Bool[np.ndarray, " L"], column: Int64[np.ndarray, " L+1"]
) -> Int64[np.ndarray, " L+1"]:
    inserted = column + 1
    inserted[1:] = np.minimum(inserted[1:], column[:-1] + ~equal)
    places = np.arange(len(column))  # a missing token of the reference costs 1 more than before it
    return np.minimum.accumulate(inserted - places) + places
