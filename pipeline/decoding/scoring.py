"""Scoring: edit errors of characters, words and sentences. The only home of rapidfuzz.

In:   reference and hypothesis, as text.   Out: counts that add up; rates are divided once, last.
Not here: the best path or beam behind a hypothesis (ctc.py, decoding.py), intervals
(results/significance.py). Standing in training/ because every epoch is scored; free of torch.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rapidfuzz.distance import Levenshtein


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
        """Errors per unit of the reference; nan if the reference, all together, is empty."""
        return self.errors / self.reference if self.reference else math.nan


def count_character_errors(reference: str, hypothesis: str, with_spaces: bool = True) -> ErrorCount:
    """A space is a character (sclite, ESPnet), or is taken out first (deepspeech.pytorch)."""
    if not with_spaces:
        reference, hypothesis = reference.replace(" ", ""), hypothesis.replace(" ", "")
    return _count_edits(reference, hypothesis)


def count_word_errors(reference: str, hypothesis: str) -> ErrorCount:
    return _count_edits(reference.split(), hypothesis.split())


@dataclass(frozen=True, slots=True)
class Score:
    """All the counts of an utterance or, added up, of a corpus."""

    characters: ErrorCount = field(default_factory=ErrorCount)
    characters_no_spaces: ErrorCount = field(default_factory=ErrorCount)
    words: ErrorCount = field(default_factory=ErrorCount)
    sentences: ErrorCount = field(default_factory=ErrorCount)  # a wrong one is a substitution

    @classmethod
    def of(cls, reference: str, hypothesis: str) -> "Score":
        wrong = count_word_errors(reference, hypothesis)
        return cls(
            characters=count_character_errors(reference, hypothesis),
            characters_no_spaces=count_character_errors(reference, hypothesis, with_spaces=False),
            words=wrong,
            sentences=ErrorCount(substitutions=int(wrong.errors > 0), reference=1),
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
    """The score of a corpus: (reference, hypothesis) pairs, counted and added."""
    scores = [Score.of(*pair) for pair in pairs]
    return Score(
        *(_sum_error_counts([getattr(score, name) for score in scores]) for name in Score.__slots__)
    )


def align_texts(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    """(equal | replace | delete | insert, part of the reference, part of the hypothesis)."""
    return [
        (
            edit.tag,
            reference[edit.src_start : edit.src_end],
            hypothesis[edit.dest_start : edit.dest_end],
        )
        for edit in Levenshtein.opcodes(reference, hypothesis)
    ]


def _sum_error_counts(counts: Sequence[ErrorCount]) -> ErrorCount:
    return ErrorCount(
        sum([each.substitutions for each in counts]),
        sum([each.deletions for each in counts]),
        sum([each.insertions for each in counts]),
        sum([each.reference for each in counts]),
    )


def _count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCount:
    if not hypothesis:  # as long as a network says nothing but blanks
        return ErrorCount(deletions=len(reference), reference=len(reference))
    kinds = [kind for kind, _, _ in Levenshtein.editops(reference, hypothesis).as_list()]
    return ErrorCount(
        kinds.count("replace"), kinds.count("delete"), kinds.count("insert"), len(reference)
    )
