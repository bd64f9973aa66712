"""Constant output: the CTC loss where every frame has the same class probabilities.

In:   numbers of frames, labels, class probabilities.
Out:  losses in nats; how many frames each class is expected to take, which is EM's E-step.
Not here: the best such output (reference_loss.py), the loss of a network (ctc.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float64, Int64
from pipeline.training.loss.feasibility import Labels, count_repeats, is_feasible

_NEGLIGIBLE_SHARE = 1e-18  # of a sum, in float64
_MIN_PROBABILITY = 1e-300
_MAX_EXPONENT = 600.0  # exp of more may overflow in float64
_BLOCK_TERMS = 32  # of the sums over k: speech needs some 20; doubled where more are needed


def uniform_loss(frames: int, labels: Labels, classes: int) -> float:
    """Return the loss in nats where all classes are equally probable in every frame.

    It is T ln C - ln(number of alignments), and that number is binomial(T + U - R, 2U) for T
    frames, C classes, U labels, R repeats.
    """
    if not is_feasible(frames, labels):
        return math.inf
    count = len(labels)
    return frames * math.log(classes) - _ln_binomial(
        frames + count - count_repeats(labels), 2 * count
    )


@dataclass(frozen=True)
class LabelCounts:
    """How often each utterance has each of its labels; a large alphabet has few in an utterance.

    The N pairs of an utterance and a label stand in the order of the U utterances, each of which
    has one at least.
    """

    classes: int
    labels: Int64[np.ndarray, " N"]
    counts: Float64[np.ndarray, " N"]
    pairs: Int64[np.ndarray, " U"]  # number of different labels

    @classmethod
    def of(cls, labels: Sequence[Labels], classes: int) -> "LabelCounts":
        counted = [np.unique(np.asarray(each, np.int64), return_counts=True) for each in labels]
        return cls(
            classes,
            labels=np.concatenate([found for found, _ in counted]),
            counts=np.concatenate([counts for _, counts in counted]).astype(np.float64),
            pairs=np.array([len(found) for found, _ in counted], np.int64),
        )

    def take(self, places: Int64[np.ndarray, " S"]) -> "LabelCounts":
        ends = np.cumsum(self.pairs)
        chosen = np.concatenate([np.arange(ends[u] - self.pairs[u], ends[u]) for u in places])
        return LabelCounts(
            self.classes, self.labels[chosen], self.counts[chosen], self.pairs[places]
        )

    @property
    def starts(self) -> Int64[np.ndarray, " U"]:
        """The first pair of each utterance."""
        return np.asarray(np.cumsum(self.pairs) - self.pairs)

    def sum_by_utterance(self, values_N: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " U"]:
        return np.add.reduceat(values_N, self.starts)

    def sum_by_class(self, values_N: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " C"]:
        return np.bincount(self.labels, weights=values_N, minlength=self.classes)

    def spread(self, values_U: Float64[np.ndarray, " U"]) -> Float64[np.ndarray, " N"]:
        """Return the value of its utterance for each pair."""
        return np.repeat(values_U, self.pairs)


@dataclass(frozen=True)
class ConstantOutputStatistics:
    """All that the loss of a constant output depends on, for U utterances.

    The order of labels does not matter. With q the probabilities, m = T - U - R, and
    G(z) = (1 - q_blank z)^-(U+1) prod_u 1/(1 - q_u z):
    P(labels) = q_blank^R prod_u q_u [z^m] G(z). The coefficient is a sum over k, the frames of m
    that labels take. Its terms rise to one peak and fall, so the sum ends where they no longer
    count: after some 20 terms on speech, whatever the number of frames.
    """

    frames: Int64[np.ndarray, " U"]
    lengths: Int64[np.ndarray, " U"]
    repeats: Int64[np.ndarray, " U"]
    counts: LabelCounts

    @classmethod
    def of(
        cls, frames: Sequence[int], labels: Sequence[Labels], classes: int
    ) -> "ConstantOutputStatistics":
        pairs = list(zip(frames, labels, strict=True))
        if not pairs or not all(is_feasible(*pair) for pair in pairs):
            raise ValueError("a constant output needs utterances, and each of them feasible")
        return cls(
            frames=np.array(frames, np.int64),
            lengths=np.array([len(y) for y in labels], np.int64),
            repeats=np.array([count_repeats(y) for y in labels], np.int64),
            counts=LabelCounts.of(labels, classes),
        )

    @property
    def class_counts(self) -> Float64[np.ndarray, " C"]:
        return self.counts.sum_by_class(self.counts.counts)

    @property
    def spare(self) -> Int64[np.ndarray, " U"]:
        """Frames that an alignment may give to any of its labels or to blanks."""
        return np.asarray(self.frames - self.lengths - self.repeats)

    def take(self, places: Int64[np.ndarray, " S"]) -> "ConstantOutputStatistics":
        return ConstantOutputStatistics(
            self.frames[places],
            self.lengths[places],
            self.repeats[places],
            self.counts.take(places),
        )

    def e_step(
        self, probabilities: Float64[np.ndarray, " C"]
    ) -> tuple[Float64[np.ndarray, " U"], Float64[np.ndarray, " C"]]:
        """Return the losses in nats, and the expected number of frames of each class."""
        blank = max(probabilities[BLANK], _MIN_PROBABILITY)
        ratios = probabilities / blank
        ratios[BLANK] = 0.0
        scale = max(ratios.max(), _MIN_PROBABILITY)  # keeps the powers of ratios from overflowing
        counts = self.counts
        with np.errstate(divide="ignore"):  # ln 0
            labels_KU, blanks_KU = self._terms(ratios / scale, math.log(scale))
            first_N = counts.counts * np.log(probabilities)[counts.labels]
        # sums[j]: of the terms in which one given label takes at least j more frames
        sums_KU = np.array(
            [
                np.logaddexp.reduce(labels_KU[: len(labels_KU) - j] + blanks_KU[j:])
                for j in range(len(labels_KU))
            ]
        )
        more_N = self._expect_more_frames(sums_KU, ratios / scale, math.log(scale))
        occupancy = counts.sum_by_class(counts.counts * (1 + more_N))
        occupancy[BLANK] = max(self.frames.sum() - occupancy.sum(), 0.0)
        blanks = (self.frames - self.lengths) * math.log(blank)
        return -(blanks + counts.sum_by_utterance(first_N) + sums_KU[0]), occupancy

    def _expect_more_frames(
        self,
        sums_KU: Float64[np.ndarray, "K U"],
        ratios: Float64[np.ndarray, " C"],
        ln_scale: float,
    ) -> Float64[np.ndarray, " N"]:
        """Return how many frames beyond its first each label is expected to take."""
        counts = self.counts
        j = np.arange(1, len(sums_KU))[:, None]
        ln_weights_JU = sums_KU[1:] - sums_KU[0] + j * ln_scale
        ratios_N, more_N = ratios[counts.labels], np.zeros(len(counts.labels))
        if ln_weights_JU.max(initial=0.0) < _MAX_EXPONENT:
            utterance_N = np.repeat(np.arange(len(counts.pairs)), counts.pairs)
            for weights_U in np.exp(ln_weights_JU)[::-1]:  # sum_j weight_j ratio^j, by Horner
                more_N += weights_U[utterance_N]
                more_N *= ratios_N
            return more_N
        # One factor overflows and the other is 0, but only their product is needed.
        with np.errstate(divide="ignore"):
            ln_ratios_N = np.log(ratios_N)
        for power, ln_weights_U in enumerate(ln_weights_JU, 1):
            more_N += np.exp(counts.spread(ln_weights_U) + power * ln_ratios_N)
        return more_N

    def _terms(
        self, ratios: Float64[np.ndarray, " C"], ln_scale: float
    ) -> tuple[Float64[np.ndarray, "K U"], Float64[np.ndarray, "K U"]]:
        """For each k: ln [z^k] prod_u 1/(1 - r_u z), and ln of the ways to place m - k blanks.

        The first by Newton's identity from the power sums of the ratios r_u = q_u / q_blank.
        """
        spare_1U, starts_U = self.spare[None], self.counts.starts
        ln_factorial = np.cumsum(np.log(np.maximum(np.arange(self.frames.max() + 1), 1)))
        ratios_N, power_N = ratios[self.counts.labels], self.counts.counts
        size, k = _BLOCK_TERMS, 0  # rows of the tables, the last row that is filled
        blanks_KU = _ln_choose(ln_factorial, spare_1U - np.arange(size)[:, None], self.lengths)
        powers_KU = np.empty_like(blanks_KU)  # of k + 1 in row k
        labels_KU = np.empty_like(blanks_KU)  # of k in row size - 1 - k: the last one first
        labels_KU[-1] = 0
        peak = blanks_KU[0]
        for k in range(1, spare_1U.max() + 1):
            if k == size:
                more = np.arange(size, 2 * size)[:, None]
                blanks = _ln_choose(ln_factorial, spare_1U - more, self.lengths)
                blanks_KU = np.concatenate([blanks_KU, blanks])
                powers_KU = np.concatenate([powers_KU, np.empty_like(powers_KU)])
                labels_KU = np.concatenate([np.empty_like(labels_KU), labels_KU])
                size *= 2
            power_N = power_N * ratios_N
            powers_KU[k - 1] = np.log(np.add.reduceat(power_N, starts_U)) + k * ln_scale
            terms = powers_KU[:k] + labels_KU[size - k :]
            labels_KU[size - 1 - k] = np.logaddexp.reduce(terms) - math.log(k)
            term = labels_KU[size - 1 - k] + blanks_KU[k]
            peak = np.maximum(peak, term)
            if np.all(term < peak + math.log(_NEGLIGIBLE_SHARE)):
                break
        return np.ascontiguousarray(labels_KU[size - 1 - k :][::-1]), blanks_KU[: k + 1]


def _ln_choose(
    ln_factorial: Float64[np.ndarray, " N"],
    spare: Int64[np.ndarray, "K U"],
    lengths: Int64[np.ndarray, " U"],
) -> Float64[np.ndarray, "K U"]:
    """Return ln binomial(spare + lengths, lengths); minus infinity where spare is negative."""
    some = np.maximum(spare, 0)
    ways = ln_factorial[some + lengths] - ln_factorial[lengths] - ln_factorial[some]
    return np.where(spare < 0, -np.inf, ways)


def _ln_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
