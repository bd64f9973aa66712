"""Feasibility: whether the frames of an utterance can align its labels.

In:   a number of frames, labels.   Out: the fewest frames, the largest stride that still fits.
Not here: what is done with utterances that do not fit (loop/splits.py).
"""

from collections.abc import Sequence
from itertools import pairwise

Labels = Sequence[int]


def count_repeats(labels: Labels) -> int:
    """Return the number of neighbouring equal pairs: CTC needs a blank between them."""
    return sum(one == other for one, other in pairwise(labels))


def minimum_frames(labels: Labels) -> int:
    """Return the fewest frames that can align the labels."""
    return len(labels) + count_repeats(labels)


def is_feasible(frames: int, labels: Labels) -> bool:
    """Return whether there are labels, and enough frames to align them."""
    return len(labels) > 0 and frames >= minimum_frames(labels)


def largest_stride(frames: int, labels: Labels) -> int:
    """Return the largest s for which ceil(frames / s) steps can align the labels; 0: none can."""
    if not is_feasible(frames, labels):
        return 0
    steps = minimum_frames(labels)
    return frames if steps == 1 else -(-frames // (steps - 1)) - 1
