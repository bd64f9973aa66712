"""Scoring: CER and WER, from the edit errors of characters and words. The only home of rapidfuzz.

In:   reference and hypothesis, as text; the form in which they are scored.
Out:  counts that can be added; rates, divided once at the end; aligned texts.
Not here: how a hypothesis is found (greedy_search.py, beam_search.py), intervals
(results/statistics/significance.py).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Literal

from rapidfuzz.distance import Levenshtein

from pipeline.config.experiment import Experiment
from pipeline.corpus.text.alphabet import split_graphemes
from pipeline.corpus.text.characters import drop_punctuation
from pipeline.corpus.text.language import separates_words


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Edit operations from reference to hypothesis, and the length of the reference."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0

    def __add__(self, other: "ErrorCount") -> "ErrorCount":
        return ErrorCount(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference + other.reference,
        )

    @property
    def operations(self) -> tuple[int, int, int]:
        return self.substitutions, self.deletions, self.insertions

    @property
    def errors(self) -> int:
        return sum(self.operations)

    @property
    def rate(self) -> float:
        """Errors divided by the length of the reference; NaN if that is 0."""
        return self.errors / self.reference if self.reference else math.nan


def normalise_spaces(text: str) -> str:
    """Return the text as a reader sees it: no outer spaces, and one space between words.

    Any white space of Unicode counts as a space.
    """
    return " ".join(text.split())


def count_character_errors(reference: str, hypothesis: str, with_spaces: bool = True) -> ErrorCount:
    """Count edits between characters, after `normalise_spaces`.

    A space is a character (sclite, ESPnet), or is removed first (deepspeech.pytorch).
    """
    between_words = " " if with_spaces else ""
    return _count_edits(
        between_words.join(reference.split()), between_words.join(hypothesis.split())
    )


def count_word_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Count edits between words, which white space separates."""
    return _count_edits(reference.split(), hypothesis.split())


@dataclass(frozen=True, slots=True)
class Score:
    """The error counts of an utterance, or their sums over a corpus."""

    characters: ErrorCount = field(default_factory=ErrorCount)
    characters_no_spaces: ErrorCount = field(default_factory=ErrorCount)
    words: ErrorCount = field(default_factory=ErrorCount)
    sentences: ErrorCount = field(default_factory=ErrorCount)  # a wrong sentence is a substitution

    @classmethod
    def of(cls, reference: str, hypothesis: str) -> "Score":
        characters = count_character_errors(reference, hypothesis)
        return cls(
            characters=characters,
            characters_no_spaces=count_character_errors(reference, hypothesis, with_spaces=False),
            words=count_word_errors(reference, hypothesis),
            sentences=ErrorCount(substitutions=int(characters.errors > 0), reference=1),
        )

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.characters + other.characters,
            self.characters_no_spaces + other.characters_no_spaces,
            self.words + other.words,
            self.sentences + other.sentences,
        )

    @property
    def cer(self) -> float:
        return self.characters.rate

    @property
    def cer_no_spaces(self) -> float:
        return self.characters_no_spaces.rate

    @property
    def wer(self) -> float:
        return self.words.rate

    @property
    def ser(self) -> float:
        return self.sentences.rate


def score_corpus(pairs: Iterable[tuple[str, str]]) -> Score:
    """Return the summed counts of (reference, hypothesis) pairs, as they are."""
    return _sum_scores([Score.of(*pair) for pair in pairs])


@dataclass(frozen=True)
class Scoring:
    """How texts are scored: their form, whether words are known, and what an error counts.

    Phonemes are what spaces separate. Characters are Unicode code points in NFC in every script, as
    jiwer and most published CERs count them. So a wrong letter of Devanagari with a wrong vowel
    sign is two errors.
    """

    form: Literal["verbatim", "no-punctuation"] = "verbatim"
    has_words: bool = True
    has_phonemes: bool = False  # then the counts of characters are counts of phonemes

    @classmethod
    def from_experiment(cls, experiment: Experiment) -> "Scoring":
        phonemes = experiment.corpus.units == "phonemes"
        has_words = not phonemes and separates_words(experiment.corpus.language)
        return cls(experiment.decode.scoring, has_words, phonemes)

    def count(self, text: str) -> int:
        """Return the length of a text in characters or phonemes."""
        return len(text.split() if self.has_phonemes else text)

    def scored_text(self, text: str) -> str:
        """Return the text in the form in which it is scored, with single spaces."""
        return normalise_spaces(drop_punctuation(text) if self.form == "no-punctuation" else text)

    def score(self, reference: str, hypothesis: str) -> Score:
        """Return the counts of one utterance; where words are not known, none are counted."""
        if self.has_phonemes:
            phonemes = _count_edits(reference.split(), hypothesis.split())
            sentence = ErrorCount(substitutions=int(phonemes.errors > 0), reference=1)
            return Score(phonemes, phonemes, sentences=sentence)
        score = Score.of(self.scored_text(reference), self.scored_text(hypothesis))
        return score if self.has_words else replace(score, words=ErrorCount())

    def score_corpus(self, pairs: Iterable[tuple[str, str]]) -> Score:
        """Return the summed counts of (reference, hypothesis) pairs."""
        return _sum_scores([self.score(*pair) for pair in pairs])


def align_texts(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    """Return the parts of an alignment with the fewest edits, in order.

    Each is (equal | replace | delete | insert, part of the reference, part of the hypothesis). The
    two parts of a replacement have as many letters, with their marks: a mark alone cannot be shown.
    """
    left, right = split_graphemes(reference), split_graphemes(hypothesis)
    return [
        (
            edit.tag,
            "".join(left[edit.src_start : edit.src_end]),
            "".join(right[edit.dest_start : edit.dest_end]),
        )
        for edit in Levenshtein.opcodes(left, right)
    ]


def equal_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[int]:
    """Return the places of the reference's words that an alignment finds in the hypothesis."""
    return [
        place
        for edit in Levenshtein.opcodes(reference, hypothesis)
        if edit.tag == "equal"
        for place in range(edit.src_start, edit.src_end)
    ]


def align_tokens(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return an alignment of words, or of characters, with the fewest edits, token by token.

    Each is (equal | replace | delete | insert, token of the reference, token of the hypothesis);
    the token that is missing is "".
    """
    pairs = []
    for edit in Levenshtein.opcodes(reference, hypothesis):
        left = reference[edit.src_start : edit.src_end]
        right = hypothesis[edit.dest_start : edit.dest_end]
        pairs += [(edit.tag, *tokens) for tokens in zip_longest(left, right, fillvalue="")]
    return pairs


def list_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """Return the tokens that `align_tokens` does not find equal, much faster."""
    return [
        (
            "" if edit.tag == "insert" else reference[edit.src_pos],
            "" if edit.tag == "delete" else hypothesis[edit.dest_pos],
        )
        for edit in Levenshtein.editops(reference, hypothesis)
    ]


def _sum_scores(scores: Sequence[Score]) -> Score:
    return Score(
        *(_sum_error_counts([getattr(score, name) for score in scores]) for name in Score.__slots__)
    )


def _sum_error_counts(counts: Sequence[ErrorCount]) -> ErrorCount:
    return ErrorCount(
        sum([each.substitutions for each in counts]),
        sum([each.deletions for each in counts]),
        sum([each.insertions for each in counts]),
        sum([each.reference for each in counts]),
    )


def _count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCount:
    if not hypothesis:  # usual while a network outputs nothing but blanks
        return ErrorCount(deletions=len(reference), reference=len(reference))
    kinds = [kind for kind, _, _ in Levenshtein.editops(reference, hypothesis).as_list()]
    return ErrorCount(
        kinds.count("replace"), kinds.count("delete"), kinds.count("insert"), len(reference)
    )
