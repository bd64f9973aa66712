"""Text decoder: log-probabilities -> text with times and confidences, by words and n-grams.

In:   log-probabilities (S, C) of an utterance, text sources, their weights.
Out:  the text, its words with first and last frame and confidence, other possible texts.
Not here: the search of a graph (graph_search.py), what the graph knows (text_sources.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.corpus.text.alphabet import BLANK, Alphabet
from pipeline.decoding.greedy_search import split_path
from pipeline.decoding.scoring import equal_words
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.determinisation import word_lattice
from pipeline.decoding.words.graph_search import BEAM, GraphPath, GraphSearch
from pipeline.decoding.words.lattices import Lattice, WordSequence, best_sequences
from pipeline.decoding.words.ngram import UNKNOWN
from pipeline.decoding.words.text_sources import SPACE, SPACE_TOKEN, TextSources
from pipeline.shapes import Float32, Int64


@dataclass(frozen=True, slots=True)
class DecodedWord:
    text: str
    begin: int  # first frame
    end: int  # the frame after the last one
    confidence: float  # 0 to 1: the share of the probability of the n-best texts that have it here


@dataclass(frozen=True, slots=True)
class DecodedText:
    text: str
    words: tuple[DecodedWord, ...]
    score: float  # nats
    others: tuple[tuple[str, float], ...]  # the n-best texts with their scores, the best first
    lattice: Lattice | None = None  # of words; None: not asked for


class TextDecoder:
    """Decodes any number of utterances with the same sources and weights."""

    def __init__(
        self,
        sources: TextSources,
        weights: GraphWeights,
        beam: float = BEAM,
        blank_skip: float | None = None,
    ) -> None:
        self.sources = sources
        self._graph = sources.graph(weights)
        self._search = GraphSearch(self._graph, beam, blank_skip)

    def decode(self, log_probabilities_SC: Float32[np.ndarray, "S C"]) -> str:
        """Return the most probable text."""
        return self._text(self._search.search(log_probabilities_SC))

    @property
    def words(self) -> tuple[str, ...]:
        """The words of lattices: word number n is `words[n - 1]`."""
        return self._graph.words

    def decode_fully(
        self, log_probabilities_SC: Float32[np.ndarray, "S C"], count: int, lattice: bool = False
    ) -> DecodedText:
        """Return the most probable text with its words, and up to `count` texts in all.

        `lattice`: whether a lattice is returned too. It has all these texts.
        """
        path = self._search.search(log_probabilities_SC)
        found, beam = self._search.lattice(log_probabilities_SC)
        sequences = best_sequences(found, count)
        texts = [self._sequence_words(each) for each in sequences]
        others = tuple(
            (self._join(words), each.score) for words, each in zip(texts, sequences, strict=True)
        )
        words = split_words(path.labels, path.begins, path.ends, self.sources.alphabet)
        shares = _posteriors([each.score for each in sequences])
        names = [self._known_name(text) for text, _, _ in words]
        confidences = np.zeros(len(words))
        for share, other in zip(shares, texts, strict=True):
            confidences[equal_words(names, other)] += share
        decoded = tuple(
            DecodedWord(text, begin, end, float(confidence))
            for (text, begin, end), confidence in zip(words, confidences, strict=True)
        )
        if lattice and sequences:
            beam = max(beam, sequences[0].score - sequences[-1].score)
        reduced = word_lattice(found, beam) if lattice else None
        return DecodedText(self._text(path), decoded, path.score, others, reduced)

    def _known_name(self, word: str) -> str:
        return word if self.sources.is_known(word) else UNKNOWN

    def _text(self, path: GraphPath) -> str:
        return " ".join(self.sources.alphabet.decode(path.labels).split())

    def _sequence_words(self, sequence: WordSequence) -> list[str]:
        tokens = [self._graph.words[number - 1] for number in sequence.words]
        if self.sources.lexicon is None:
            units = (SPACE if token == SPACE_TOKEN else token for token in tokens)
            return self.sources.alphabet.join(units).split()
        return tokens

    def _join(self, words: list[str]) -> str:
        separated = self.sources.lexicon is None or self.sources.lexicon.separator is not None
        return (" " if separated else "").join(words)


def split_words(
    labels: Sequence[int],
    begins: Int64[np.ndarray, " L"],
    ends: Int64[np.ndarray, " L"],
    alphabet: Alphabet,
) -> list[tuple[str, int, int]]:
    """Return the words of a path with their first frame and the frame after their last one.

    Phonemes are words of their own, because nothing separates words among them.
    """
    space = alphabet.classes.get(SPACE)
    places: list[list[int]] = [[]]
    for place, label in enumerate(labels):
        if label == space:
            places.append([])
        elif alphabet.has_phonemes:
            places.append([place])
        else:
            places[-1].append(place)
    return [
        (
            alphabet.decode(labels[place] for place in each),
            int(begins[each[0]]),
            int(ends[each[-1]]),
        )
        for each in places
        if each
    ]


def decode_greedily(
    log_probabilities_SC: Float32[np.ndarray, "S C"], alphabet: Alphabet
) -> DecodedText:
    """Return the text of the best path; a word's confidence is the mean probability of its frames.

    Blanks between its letters are left out of the mean.
    """
    path = log_probabilities_SC.argmax(1)
    best = np.exp(log_probabilities_SC.max(1, initial=-np.inf))
    labels, begins, ends = split_path(path)
    words = []
    for text, begin, end in split_words(labels, begins, ends, alphabet):
        frames = np.arange(begin, end)[path[begin:end] != BLANK]
        words.append(DecodedWord(text, begin, end, float(best[frames].mean())))
    text = " ".join(word.text for word in words)
    score = float(log_probabilities_SC.max(1, initial=-np.inf).sum())
    return DecodedText(text, tuple(words), score, ((text, score),))


def _posteriors(scores: list[float]) -> list[float]:
    """Return the shares of probability of texts with these log-probabilities."""
    if not scores:
        return []
    shares = np.exp(np.array(scores) - max(scores))
    return list((shares / shares.sum()).tolist())
