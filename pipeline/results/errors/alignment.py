"""Alignment: a hypothesis beside its reference, operation by operation.

In:   a hypothesis.   Out: aligned tokens, each with its operation and its wrong characters.
Not here: the search for the alignment (decoding/scoring.py), which utterances are shown
(utterances.py).
"""

from dataclasses import dataclass

from pipeline.corpus.text.alphabet import split_graphemes
from pipeline.decoding.scoring import align_texts, align_tokens
from pipeline.runs.folder import Hypothesis

VISIBLE_SPACE = "␣"  # for wrong spaces, which nobody could see otherwise
MAX_WORD_CHARS = 12  # a text that is one longer word has no words: it is aligned by characters

# The letters that sclite prints, and what a screen reader says.
LETTERS = {"equal": "", "replace": "S", "delete": "D", "insert": "I"}
NAMES = {"equal": "", "replace": "substituted", "delete": "deleted", "insert": "inserted"}

Part = tuple[str, str, str]  # equal | replace | delete | insert, reference, hypothesis


@dataclass(frozen=True)
class AlignedToken:
    """A word or a phoneme, or a character in texts without words."""

    operation: str  # equal | replace | delete | insert
    reference: str  # "" if inserted
    hypothesis: str  # "" if deleted
    parts: tuple[Part, ...]  # the characters of a substituted word

    @property
    def letter(self) -> str:
        return LETTERS[self.operation]

    @property
    def operation_name(self) -> str:
        return NAMES[self.operation]


def align_hypothesis(hypothesis: Hypothesis, unit: str = "character") -> tuple[AlignedToken, ...]:
    """Return the tokens of reference and hypothesis in order; `unit`: character or phoneme."""
    left, right = hypothesis.reference, hypothesis.hypothesis
    if unit == "phoneme" or (hypothesis.words and has_words(left)):
        pairs = align_tokens(left.split(), right.split())
    else:
        pairs = align_tokens(split_graphemes(left), split_graphemes(right))
    return tuple(
        AlignedToken(tag, mark_spaces(one), mark_spaces(other), _parts(tag, one, other, unit))
        for tag, one, other in pairs
    )


def _parts(tag: str, reference: str, hypothesis: str, unit: str) -> tuple[Part, ...]:
    """Return the characters of a word; a phoneme is right or wrong as a whole."""
    if unit == "phoneme":
        return ((tag, reference, hypothesis),)
    return tuple(align_texts(reference, hypothesis))


def diff_characters(hypothesis: Hypothesis, unit: str = "character") -> tuple[Part, ...]:
    """Return the parts of the hypothesis that are right or wrong; wrong spaces are visible."""
    if unit == "phoneme":
        pairs = align_tokens(hypothesis.reference.split(), hypothesis.hypothesis.split())
        return tuple((tag, f"{one} ", f"{other} " if other else "") for tag, one, other in pairs)
    return tuple(
        (tag, left, right) if tag == "equal" else (tag, mark_spaces(left), mark_spaces(right))
        for tag, left, right in align_texts(hypothesis.reference, hypothesis.hypothesis)
    )


def has_words(text: str) -> bool:
    return " " in text or len(text) <= MAX_WORD_CHARS


def mark_spaces(text: str) -> str:
    return text.replace(" ", VISIBLE_SPACE)
