"""The reference loss: the CTC loss of the best output that ignores the input.

In:   numbers of frames, labels.   Out: the loss, and the class probabilities that reach it.
Not here: the loss of one constant output (constant_output.py), of a network (ctc.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float32, Float64
from pipeline.training.loss.constant_output import ConstantOutputStatistics
from pipeline.training.loss.feasibility import Labels

_PLAIN_EM_STEPS = 10  # speech takes five; only slower problems are extrapolated
_MAX_EM_STEPS = 400
_MIN_EM_GAIN = 1e-8  # nats per utterance and step
# Another optimum replaces the first one only if it is better by more than the error of EM.
_MIN_IMPROVEMENT = 1e-6  # nats per utterance
_MAX_EXTRAPOLATION = 1e3  # EM steps
_MIN_PROBABILITY = 1e-300

# Starts in which a label fills the frames, as the blank does elsewhere.
_MAX_FILLERS = 8  # the labels that most utterances have
_FILLER_SHARE, _FILLER_BLANK_SHARE = 0.7, 0.05
# One E-step from such a start has utterances x (spare frames)^2 terms. With more terms than this
# only hopeful starts are used: labels that nearly all utterances have, and that come below the best
# loss on a few short utterances. Where frames are many, no label fills them as well as the blank.
_MAX_UNSCREENED_TERMS = 1_000_000  # about 30 ms
_MIN_FILLER_UTTERANCES = 0.9  # of all
_SCREENED_UTTERANCES, _SCREENING_STEPS = 16, 3


@dataclass(frozen=True)
class ConstantReference:
    """The best output that ignores the input; a loss at or above it has learnt nothing."""

    probabilities: Float64[np.ndarray, " C"]
    loss_per_utterance: float  # nats
    loss_per_character: float  # nats; each utterance by its length, then averaged: torch's 'mean'
    loss_per_character_pooled: float  # nats; all losses by all lengths


def fit_constant_reference(
    frames: Sequence[int], labels: Sequence[Labels], classes: int
) -> ConstantReference:
    """Find the class probabilities, the same in every frame, with the lowest mean CTC loss.

    Expectation maximisation: each class's share becomes its expected share of the frames. The loss
    has several optima: the blank fills the frames between labels, or, where frames are few, one of
    the labels does. So EM starts once from each of them, and the best optimum counts. ValueError
    unless there are utterances and each of them can be aligned.
    """
    statistics = ConstantOutputStatistics.of(frames, labels, classes)
    best = _climb(statistics, _start_from_counts(statistics))
    for start in _filler_starts(statistics, best.probabilities):
        found = _climb(statistics, start)
        if found.loss < best.loss - _MIN_IMPROVEMENT:
            best = found
    return ConstantReference(
        probabilities=best.probabilities,
        loss_per_utterance=best.loss,
        loss_per_character=float((best.losses / statistics.lengths).mean()),
        loss_per_character_pooled=float(best.losses.sum() / statistics.lengths.sum()),
    )


def optimum_bias(reference: ConstantReference, floor: float = 1e-6) -> Float32[Tensor, " C"]:
    """Return output biases that start a network at the reference loss.

    `floor` is the probability of classes that the reference never outputs.
    """
    return torch.from_numpy(np.log(np.maximum(reference.probabilities, floor))).float()


@dataclass(frozen=True)
class _EMStep:
    """A point of the search: probabilities, their losses, and the probabilities EM tries next."""

    probabilities: Float64[np.ndarray, " C"]
    losses: Float64[np.ndarray, " U"]
    following: Float64[np.ndarray, " C"]

    @classmethod
    def at(
        cls, statistics: ConstantOutputStatistics, probabilities: Float64[np.ndarray, " C"]
    ) -> "_EMStep":
        losses, occupancy = statistics.e_step(probabilities)
        return cls(probabilities, losses, occupancy / occupancy.sum())

    @property
    def loss(self) -> float:
        """Nats per utterance."""
        return float(self.losses.mean())


def _climb(statistics: ConstantOutputStatistics, start: Float64[np.ndarray, " C"]) -> _EMStep:
    """Return the optimum that EM reaches from here.

    EM nears an optimum without a blank ever more slowly, so its steps are extrapolated by SQUAREM
    (Varadhan and Roland 2008), wherever that lowers the loss.
    """
    point = _EMStep.at(statistics, start)
    for steps in range(2, _MAX_EM_STEPS, 2):
        first = _EMStep.at(statistics, point.following)
        if point.loss - first.loss < _MIN_EM_GAIN:
            return first
        second = _EMStep.at(statistics, first.following)
        if first.loss - second.loss < _MIN_EM_GAIN:
            return second
        former, point = point, second
        if steps >= _PLAIN_EM_STEPS:
            path = (former.probabilities, first.probabilities, second.probabilities)
            jump = _EMStep.at(statistics, _extrapolate(*path))
            point = min(second, jump, key=lambda one: one.loss)
    return point


def _extrapolate(
    start: Float64[np.ndarray, " C"],
    first: Float64[np.ndarray, " C"],
    second: Float64[np.ndarray, " C"],
) -> Float64[np.ndarray, " C"]:
    """Return the probabilities that two EM steps point to, by SQUAREM's step S3, in logarithms."""
    used = second > 0
    ln_0, ln_1, ln_2 = (
        np.log(np.maximum(q[used], _MIN_PROBABILITY)) for q in (start, first, second)
    )
    change, curvature = ln_1 - ln_0, ln_2 - 2 * ln_1 + ln_0
    ratio = np.linalg.norm(change) / max(float(np.linalg.norm(curvature)), _MIN_PROBABILITY)
    step = min(max(float(ratio), 1.0), _MAX_EXTRAPOLATION)
    ln_q = ln_0 + 2 * step * change + step**2 * curvature
    extrapolated = np.zeros_like(second)
    extrapolated[used] = np.exp(np.maximum(ln_q - ln_q.max(), np.log(_MIN_PROBABILITY)))
    return np.asarray(extrapolated / extrapolated.sum())


def _start_from_counts(statistics: ConstantOutputStatistics) -> Float64[np.ndarray, " C"]:
    """Each label takes one frame, and the blank takes the rest."""
    share = statistics.lengths.sum() / statistics.frames.sum()
    probabilities = share * statistics.class_counts / statistics.lengths.sum()
    probabilities[BLANK] = 1 - share
    return np.asarray(probabilities)


def _filler_starts(
    statistics: ConstantOutputStatistics, best: Float64[np.ndarray, " C"]
) -> list[Float64[np.ndarray, " C"]]:
    """Return the starts in which a label fills most frames; on large corpora the hopeful ones."""
    count = len(statistics.spare)
    is_large = count * int(statistics.spare.max()) ** 2 > _MAX_UNSCREENED_TERMS
    utterances_C = np.bincount(statistics.counts.labels, minlength=statistics.counts.classes)
    required = _MIN_FILLER_UTTERANCES * count if is_large else 1
    fillers = np.argsort(-utterances_C, kind="stable")[:_MAX_FILLERS]
    starts = [_filler_start(statistics, int(c)) for c in fillers if utterances_C[c] >= required]
    if not is_large or not starts:
        return starts
    ascending = np.argsort(statistics.spare, kind="stable")
    few = statistics.take(ascending[: count // 2 + 1 : count // (2 * _SCREENED_UTTERANCES) + 1])
    limit = _EMStep.at(few, best).loss
    return [start for start in starts if _loss_after_em(few, start, _SCREENING_STEPS) < limit]


def _filler_start(statistics: ConstantOutputStatistics, filler: int) -> Float64[np.ndarray, " C"]:
    start = (1 - _FILLER_SHARE) * statistics.class_counts / statistics.lengths.sum()
    start[filler] += _FILLER_SHARE
    start *= 1 - _FILLER_BLANK_SHARE
    start[BLANK] = _FILLER_BLANK_SHARE
    return np.asarray(start)


def _loss_after_em(
    statistics: ConstantOutputStatistics, start: Float64[np.ndarray, " C"], steps: int
) -> float:
    point = _EMStep.at(statistics, start)
    for _ in range(steps):
        point = _EMStep.at(statistics, point.following)
    return point.loss
