"""The reference line: the CTC loss of the best output that does not depend on the input.

In:   numbers of frames, labels.   Out: the loss, and the class probabilities that reach it; the
fewest frames that can align a transcript.
Not here: the loss of a network (ctc.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pipeline.corpus.text import BLANK
from pipeline.shapes import Float32, Float64, Int64

Labels = Sequence[int]


_NEGLIGIBLE_SHARE = 1e-18  # of a sum, in float64


_MIN_PROBABILITY = 1e-300


_MAX_EM_STEPS = 200  # speech takes five; an optimum without a blank is neared ever more slowly


_MIN_EM_GAIN = 1e-8  # nats per utterance and step


def count_repeats(labels: Labels) -> int:
    """Neighbouring equal pairs: a blank has to stand between them."""
    return sum(one == other for one, other in pairwise(labels))


def minimum_frames(labels: Labels) -> int:
    return len(labels) + count_repeats(labels)


def is_feasible(frames: int, labels: Labels) -> bool:
    """Whether `frames` can align `labels`, of which there is at least one."""
    return len(labels) > 0 and frames >= minimum_frames(labels)


def largest_stride(frames: int, labels: Labels) -> int:
    """Frames per step, at most, with which the steps can align `labels`; 0: not even one can."""
    if not is_feasible(frames, labels):
        return 0
    steps = minimum_frames(labels)
    return frames if steps == 1 else -(-frames // (steps - 1)) - 1  # ceil(frames / stride) >= steps


def uniform_loss(frames: int, labels: Labels, classes: int) -> float:
    """Of equal probabilities: T ln C - ln(number of alignments), which is C(T + U - R, 2U)."""
    if not is_feasible(frames, labels):
        return math.inf
    count = len(labels)
    return frames * math.log(classes) - _ln_binomial(
        frames + count - count_repeats(labels), 2 * count
    )


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
    """By expectation maximisation: each class's share is its expected share of the frames."""
    structure = _SufficientStatistics.of(frames, labels, classes)
    share = structure.lengths.sum() / structure.frames.sum()
    probabilities = share * structure.counts.sum(0) / structure.lengths.sum()
    probabilities[BLANK] = 1 - share
    former = math.inf
    for _ in range(_MAX_EM_STEPS):
        losses, occupancy = structure.e_step(probabilities)
        if former - losses.mean() < _MIN_EM_GAIN:
            break
        former = losses.mean()
        probabilities = occupancy / occupancy.sum()
    return ConstantReference(
        probabilities=probabilities,
        loss_per_utterance=float(losses.mean()),
        loss_per_character=float((losses / structure.lengths).mean()),
        loss_per_character_pooled=float(losses.sum() / structure.lengths.sum()),
    )


def constant_output_losses(
    probabilities: Float64[np.ndarray, " C"], frames: Sequence[int], labels: Sequence[Labels]
) -> Float64[np.ndarray, " U"]:
    """-ln P(labels) of each utterance when every frame's output is `probabilities`."""
    structure = _SufficientStatistics.of(frames, labels, len(probabilities))
    return structure.e_step(probabilities)[0]


def optimum_bias(reference: ConstantReference, floor: float = 1e-6) -> Float32[Tensor, " C"]:
    """Output biases that start a network on the reference line; `floor` is for unseen classes."""
    return torch.from_numpy(np.log(np.maximum(reference.probabilities, floor))).float()


@dataclass(frozen=True)
class _SufficientStatistics:
    """All that a constant output sees of U utterances: the order of labels does not matter.

    With q the probabilities, P(labels) = q_blank^R prod_u q_u [z^m] G(z), where m = T - U - R and
    G(z) = (1 - q_blank z)^-(U+1) prod_u 1/(1 - q_u z). The coefficient is a sum over k, the frames
    of m that labels take; its terms rise to one peak and fall, so that the sum ends where they no
    longer count: after some 20 terms on speech, whatever the number of frames.
    """

    frames: Int64[np.ndarray, " U"]
    lengths: Int64[np.ndarray, " U"]
    repeats: Int64[np.ndarray, " U"]
    counts: Int64[np.ndarray, "U C"]  # of each class among the labels

    @classmethod
    def of(
        cls, frames: Sequence[int], labels: Sequence[Labels], classes: int
    ) -> "_SufficientStatistics":
        pairs = list(zip(frames, labels, strict=True))
        if not pairs or not all(is_feasible(*pair) for pair in pairs):
            raise ValueError("a constant output needs utterances, and each of them feasible")
        return cls(
            frames=np.array(frames, np.int64),
            lengths=np.array([len(y) for y in labels], np.int64),
            repeats=np.array([count_repeats(y) for y in labels], np.int64),
            counts=np.array([np.bincount(y, minlength=classes) for y in labels], np.int64),
        )

    def e_step(
        self, probabilities: Float64[np.ndarray, " C"]
    ) -> tuple[Float64[np.ndarray, " U"], Float64[np.ndarray, " C"]]:
        """Losses, and how many frames of the corpus each class is expected to take."""
        blank = max(probabilities[BLANK], _MIN_PROBABILITY)
        ratios = probabilities / blank
        ratios[BLANK] = 0.0
        scale = max(ratios.max(), _MIN_PROBABILITY)  # keeps the powers of ratios from overflowing
        with np.errstate(divide="ignore"):  # ln 0
            labels_KU, blanks_KU = self._terms(ratios / scale, math.log(scale))
            used = np.where(self.counts, np.log(probabilities), 0.0)
        # sums[j]: of the terms in which one given label takes at least j more frames
        sums_KU = np.array(
            [
                np.logaddexp.reduce(labels_KU[: len(labels_KU) - j] + blanks_KU[j:])
                for j in range(len(labels_KU))
            ]
        )
        j = np.arange(1, len(sums_KU))[:, None]
        more_UC = np.exp(sums_KU[1:] - sums_KU[0] + j * math.log(scale)).T @ (ratios / scale) ** j
        occupancy = (self.counts * (1 + more_UC)).sum(0)
        occupancy[BLANK] = max(self.frames.sum() - occupancy.sum(), 0.0)
        blanks = (self.frames - self.lengths) * math.log(blank)
        return -(blanks + (self.counts * used).sum(1) + sums_KU[0]), occupancy

    def _terms(
        self, ratios: Float64[np.ndarray, " C"], ln_scale: float
    ) -> tuple[Float64[np.ndarray, "K U"], Float64[np.ndarray, "K U"]]:
        """For k = 0, 1, …: ln [z^k] prod_u 1/(1 - r_u z), and ln of the ways to place m - k blanks.

        The first by Newton's identity from the power sums of the ratios r_u = q_u / q_blank.
        """
        spare = self.frames - self.lengths - self.repeats
        ln_factorial = np.cumsum(np.log(np.maximum(np.arange(self.frames.max() + 1), 1)))
        powers: list[np.ndarray] = []
        labels = [np.zeros(len(spare))]
        blanks = [_ln_choose(ln_factorial, spare, self.lengths)]
        peak = blanks[0]
        for k in range(1, spare.max() + 1):
            powers.append(np.log(self.counts @ ratios**k) + k * ln_scale)
            terms = np.array(powers) + np.array(labels[::-1])
            labels.append(np.logaddexp.reduce(terms) - math.log(k))
            blanks.append(_ln_choose(ln_factorial, spare - k, self.lengths))
            term = labels[k] + blanks[k]
            peak = np.maximum(peak, term)
            if np.all(term < peak + math.log(_NEGLIGIBLE_SHARE)):
                break
        return np.array(labels), np.array(blanks)


def _ln_choose(
    ln_factorial: Float64[np.ndarray, " N"],
    spare: Int64[np.ndarray, " U"],
    lengths: Int64[np.ndarray, " U"],
) -> Float64[np.ndarray, " U"]:
    """Logarithm of C(spare + lengths, lengths); minus infinity where spare is negative."""
    some = np.maximum(spare, 0)
    ways = ln_factorial[some + lengths] - ln_factorial[lengths] - ln_factorial[some]
    return np.where(spare < 0, -np.inf, ways)


def _ln_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
