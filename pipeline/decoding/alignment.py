"""Forced alignment: where each label of a known text lies in time (CTC Viterbi).

In:   log-probabilities (S, C), the labels of a text.   Out: first and last frame of each label.
Not here: files that show it (time_formats.py), which texts are wrong (suspicion.py).

The best path through blank, label, blank, label, … (Graves et al. 2006, section 4.1, with the
maximum instead of the sum). torchaudio's `forced_align` finds the same paths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float, Int64, UInt8


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
    return align_batch([log_probabilities_SC], [labels])[0]


def align_batch(
    logs: Sequence[Float[np.ndarray, "_ _"]], texts: Sequence[Sequence[int]]
) -> list[Alignment | None]:
    """Return the best alignment of each utterance; see `align`.

    They advance together, frame by frame: 32 of them take a quarter of the time.
    """
    found: list[Alignment | None] = [None] * len(logs)
    places = [n for n in range(len(logs)) if len(texts[n]) and len(logs[n])]
    if not places:
        return found
    states_BN = np.full((len(places), 2 * max(len(texts[n]) for n in places) + 1), BLANK)
    for row, place in enumerate(places):
        states_BN[row, 1 : 2 * len(texts[place]) : 2] = texts[place]
    counts_B = np.array([2 * len(texts[place]) + 1 for place in places])
    came_from_SBN, ends_B, scores_B = _forward([logs[n] for n in places], states_BN, counts_B)
    for row, place in enumerate(places):
        if math.isfinite(scores_B[row]):
            path = _backtrace(came_from_SBN[: len(logs[place]), row], int(ends_B[row]))
            score = float(scores_B[row])
            found[place] = _alignment(logs[place], tuple(texts[place]), path, score)
    return found


def _alignment(
    logs_SC: Float[np.ndarray, "S C"],
    labels: tuple[int, ...],
    path: Int64[np.ndarray, " S"],
    score: float,
) -> Alignment:
    # The path never goes back, so the frames of a state are together.
    own = 2 * np.arange(len(labels)) + 1
    begins, ends = np.searchsorted(path, own), np.searchsorted(path, own, "right")
    frames = np.flatnonzero(path % 2)
    of_frame = (path[frames] - 1) // 2
    sums = np.bincount(of_frame, logs_SC[frames, np.array(labels)[of_frame]], len(labels))
    best = float(logs_SC.max(1).sum(dtype=np.float64))
    excess = (best - score) / len(labels)
    return Alignment(labels, begins, ends, sums / (ends - begins), score, excess)


def _forward(
    logs: Sequence[Float[np.ndarray, "_ _"]],
    states_BN: Int64[np.ndarray, "B N"],
    counts_B: Int64[np.ndarray, " B"],
) -> tuple[UInt8[np.ndarray, "S B N"], Int64[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Return how far each state was advanced at each frame; end and score of each best path."""
    frames_B = np.array([len(each) for each in logs])
    steps, rows_B1 = int(frames_B.max()), np.arange(len(logs))[:, None]
    padded_SBC = np.zeros((steps, len(logs), logs[0].shape[1]))
    for row, each in enumerate(logs):
        padded_SBC[: len(each), row] = each
    # A label may follow another one directly, unless it is the same one.
    skips_BN = np.zeros(states_BN.shape, bool)
    skips_BN[:, 3::2] = states_BN[:, 3::2] != states_BN[:, 1:-2:2]
    scores_BN = np.full(states_BN.shape, -np.inf)
    scores_BN[:, :2] = padded_SBC[0, rows_B1, states_BN[:, :2]]
    came_from_SBN = np.zeros((steps, *states_BN.shape), np.uint8)
    for frame in range(1, steps):
        best_BN, advance_BN = scores_BN.copy(), came_from_SBN[frame]
        by_one = scores_BN[:, :-1] > best_BN[:, 1:]
        np.copyto(best_BN[:, 1:], scores_BN[:, :-1], where=by_one)
        advance_BN[:, 1:] = by_one
        by_two = skips_BN[:, 2:] & (scores_BN[:, :-2] > best_BN[:, 2:])
        np.copyto(best_BN[:, 2:], scores_BN[:, :-2], where=by_two)
        advance_BN[:, 2:][by_two] = 2
        best_BN += padded_SBC[frame, rows_B1, states_BN]
        np.copyto(scores_BN, best_BN, where=(frame < frames_B)[:, None])
    rows_B = rows_B1[:, 0]
    ends_B = counts_B - 1 - (scores_BN[rows_B, counts_B - 2] > scores_BN[rows_B, counts_B - 1])
    return came_from_SBN, ends_B, scores_BN[rows_B, ends_B]


def _backtrace(came_from_SN: UInt8[np.ndarray, "S N"], last: int) -> Int64[np.ndarray, " S"]:
    path = np.empty(len(came_from_SN), np.int64)
    for frame in range(len(came_from_SN) - 1, -1, -1):
        path[frame] = last
        last -= int(came_from_SN[frame, last])
    return path
