"""Suspicion: transcripts that fit their sound far worse than the others of their split.

In:   the score of the best alignment of each utterance, its letters.
Out:  which utterances are far from the rest, and the limit.
Not here: the alignment (alignment.py).

The score of an utterance is the log-probability of its best alignment, with the sign changed, per
letter. PRIOR_LETTERS are added to its letters, because one letter that is missed makes YES or NO
look worse than a long transcript with a wrong word. Far is more than LIMIT times the median
absolute deviation (scaled to a standard deviation) above the median of the split. A transcript that
is nearly as probable as the best text of all (its excess is below MIN_EXCESS) is never far.
`tests/benchmarks/README.md`, "Suspicious transcripts", has what this finds in AN4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PRIOR_LETTERS = 3
LIMIT = 4.0  # deviations
MIN_EXCESS = 0.1  # nats per letter
MIN_LIMIT = 0.5  # nats per letter: a network that learnt all transcripts by heart has no deviation
MIN_UTTERANCES = 20  # of a split; fewer have no usual score
# A median above it is that of a network which does not read these transcripts at all.
MAX_MEDIAN = 1.5  # nats per letter


@dataclass(frozen=True, slots=True)
class Suspicion:
    score: float  # nats per letter; infinite where the text cannot be aligned
    limit: float  # of the split
    is_far: bool

    @property
    def ratio(self) -> float:
        """The score in units of the limit: it orders the utterances of several splits."""
        return self.score / self.limit if self.limit else self.score


def find_suspicions(
    scores: Sequence[float], letters: Sequence[int], excesses: Sequence[float]
) -> list[Suspicion]:
    """Return the suspicion of each utterance of a split.

    `scores`: log-probabilities of the best alignments, -inf where there is none; `excesses`: nats
    per letter that the best path of any text is above it.
    """
    per_letter = -np.asarray(scores, np.float64) / (np.asarray(letters) + PRIOR_LETTERS)
    known = per_letter[np.isfinite(per_letter)]
    limit = math.inf
    if len(known) >= MIN_UTTERANCES:
        median = float(np.median(known))
        spread = 1.4826 * float(np.median(np.abs(known - median)))
        limit = max(median + LIMIT * spread, MIN_LIMIT)
    found = []
    for score, excess in zip(per_letter.tolist(), excesses, strict=True):
        is_far = score == math.inf or (score > limit and excess > MIN_EXCESS)
        found.append(Suspicion(score, limit, is_far))
    return found


def is_unread(suspicions: Sequence[Suspicion]) -> bool:
    """Whether the network reads most transcripts badly, so that the list proves nothing."""
    scores = [each.score for each in suspicions if math.isfinite(each.score)]
    return not scores or float(np.median(scores)) > MAX_MEDIAN
