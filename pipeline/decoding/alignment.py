"""Forced alignment: where each label of a known text lies in time (CTC Viterbi).

In:   log-probabilities (S, C), the labels of a text.   Out: first and last frame of each label.
Not here: files that show it (time_formats.py), which text is right (words/graph_search.py).

The best path through blank, label, blank, label, … (Graves et al. 2006, section 4.1, with the
maximum instead of the sum). torchaudio's `forced_align` finds the same paths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float, Int64


@dataclass(frozen=True)
class Alignment:
    """The best path of a text: each label with its frames and its mean log-probability."""

    labels: tuple[int, ...]
    begins: Int64[np.ndarray, " L"]  # first frame of each label
    ends: Int64[np.ndarray, " L"]  # the frame after its last one
    label_scores: Float[np.ndarray, " L"]  # nats; mean over the frames of the label
    score: float  # nats; of the whole path, blanks included
    excess: float  # nats per label that the best path of any text is above this one; 0 or more


def align(
    log_probabilities_SC: Float[np.ndarray, "S C"], labels: Sequence[int]
) -> Alignment | None:
    """Return the best alignment; None if the frames are too few for the text, or it is empty."""
    if not len(labels):
        return None
    logs_SC = log_probabilities_SC.astype(np.float64)
    states = np.full(2 * len(labels) + 1, BLANK)
    states[1::2] = labels
    came_from, last, score = _forward(logs_SC, states)
    if not math.isfinite(score):
        return None
    path = _backtrace(came_from, last)
    frames = [np.flatnonzero(path == 2 * n + 1) for n in range(len(labels))]
    begins = np.array([each[0] for each in frames], np.int64)
    ends = np.array([each[-1] + 1 for each in frames], np.int64)
    scores = [
        float(logs_SC[each, label].mean()) for each, label in zip(frames, labels, strict=True)
    ]
    best = float(logs_SC.max(1).sum())
    return Alignment(
        tuple(labels), begins, ends, np.array(scores), score, (best - score) / len(labels)
    )


def _forward(
    logs_SC: Float[np.ndarray, "S C"], states: Int64[np.ndarray, " N"]
) -> tuple[Int64[np.ndarray, "S N"], int, float]:
    """Return how many states each state was advanced by at each frame, and the end of the path."""
    count = len(states)
    # A label may follow another one directly, unless it is the same one.
    skips = np.zeros(count, bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(count, -np.inf)
    scores[:2] = logs_SC[0, states[:2]] if len(logs_SC) else -np.inf
    came_from = np.zeros((len(logs_SC), count), np.int64)
    for frame in range(1, len(logs_SC)):
        candidates = np.full((3, count), -np.inf)
        candidates[0] = scores
        candidates[1, 1:] = scores[:-1]
        candidates[2, 2:] = np.where(skips[2:], scores[:-2], -np.inf)
        came_from[frame] = candidates.argmax(0)
        scores = candidates.max(0) + logs_SC[frame, states]
    last = count - 1 if scores[-1] >= scores[-2] else count - 2
    return came_from, last, float(scores[last])


def _backtrace(came_from: Int64[np.ndarray, "S N"], last: int) -> Int64[np.ndarray, " S"]:
    path = np.empty(len(came_from), np.int64)
    for frame in range(len(came_from) - 1, -1, -1):
        path[frame] = last
        last -= int(came_from[frame, last])
    return path


def suspicious(excesses: Sequence[float], limit: float = 6.0) -> list[int]:
    """Return the places of texts that fit their sound far worse than the rest, the worst first.

    Far: more than `limit` times the median absolute deviation (scaled to a standard deviation)
    above the median, and at least 1 nat per label above it.
    """
    values = np.asarray(excesses, np.float64)
    if len(values) < 5:
        return []
    centre = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - centre)))
    far = np.flatnonzero(values > centre + max(limit * spread, 1.0))
    return sorted(far.tolist(), key=lambda place: -values[place])
