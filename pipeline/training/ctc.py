"""CTC: the loss, what it can align, its reference lines, the best path.

In:   logits (B, S, C) with true lengths; labels as integers, blank 0.
Out:  one loss per utterance, in nats; the loss of outputs that ignore the input; best-path labels.
Not here: beam search (decoding.py), counting errors (scoring.py).

A target needs minimum_frames(labels) frames; below that its loss is infinite, and stays infinite
here: whoever feeds the loss leaves out what is not `feasible`, and says so.
"""

import math
from collections.abc import Sequence
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.corpus.text import BLANK
from pipeline.shapes import Float, Float32, Float64, Int, Int64
from pipeline.values import dataclass

Labels = Sequence[int]

_NEGLIGIBLE = 1e-18  # of a sum, in float64
_LEAST = 1e-300
_MOST_STEPS = 200  # speech takes five; an optimum without a blank is neared ever more slowly
_LEAST_GAIN = 1e-8  # nats per utterance and step


def log_probabilities(logits_BSC: Float[Tensor, "B S C"]) -> Float32[Tensor, "B S C"]:
    """The softmax is taken in float32."""
    return logits_BSC.float().log_softmax(-1)


def loss(
    logits_BSC: Float[Tensor, "B S C"],
    lengths_B: Int[Tensor, " B"],
    targets: Int64[Tensor, "B L"] | Int64[Tensor, " L"],
    target_lengths_B: Int64[Tensor, " B"],
) -> Float32[Tensor, " B"]:
    """-ln P(target | logits) of each utterance. Targets are padded, or one after the other."""
    logs_BSC = log_probabilities(logits_BSC)
    return of_log_probabilities(logs_BSC, lengths_B, targets, target_lengths_B)


def of_log_probabilities(
    logs_BSC: Float[Tensor, "B S C"],
    lengths_B: Int[Tensor, " B"],
    targets: Int64[Tensor, "B L"] | Int64[Tensor, " L"],
    target_lengths_B: Int64[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """The same of logarithms of which each row sums to 1: only there is torch's gradient right.

    int64 targets keep torch on its native kernel: cuDNN's wants all lengths equal. On a GPU that
    kernel adds up a gradient atomically, in an order that differs from call to call. So where
    torch was told to be deterministic the loss is computed on the CPU, whose kernel gives each
    utterance to one thread: the same bits, at the price of two copies and of waiting for them.
    """
    home = logs_BSC.device
    device = torch.device("cpu") if torch.are_deterministic_algorithms_enabled() else home
    losses_B = functional.ctc_loss(
        logs_BSC.transpose(0, 1).to(device),
        targets.to(device),
        lengths_B.to(device),
        target_lengths_B.to(device),
        BLANK,
        reduction="none",
    )
    return losses_B.to(home)


def greedy(logits_BSC: Float[Tensor, "B S C"], lengths_B: Int[Tensor, " B"]) -> list[list[int]]:
    """The best path's labels: repeats collapsed, then blanks dropped."""
    # numpy takes a third of torch's time for rows so short, and a fifth for what is so small.
    if logits_BSC.device.type == "cpu":
        best_BS = logits_BSC.float().numpy().argmax(-1)
    else:
        best_BS = logits_BSC.argmax(-1).cpu().numpy()
    kept_BS = best_BS != BLANK
    kept_BS[:, 1:] &= best_BS[:, 1:] != best_BS[:, :-1]
    kept_BS &= np.arange(best_BS.shape[1]) < lengths_B.cpu().numpy()[:, None]
    labels = iter(best_BS[kept_BS].tolist())
    return [list(islice(labels, count)) for count in kept_BS.sum(1).tolist()]


def repeats(labels: Labels) -> int:
    """Neighbouring equal pairs: a blank has to stand between them."""
    return sum(one == other for one, other in pairwise(labels))


def minimum_frames(labels: Labels) -> int:
    return len(labels) + repeats(labels)


def feasible(frames: int, labels: Labels) -> bool:
    """Whether `frames` can align `labels`, of which there is at least one."""
    return len(labels) > 0 and frames >= minimum_frames(labels)


def largest_stride(frames: int, labels: Labels) -> int:
    """Frames per step, at most, with which the steps can align `labels`; 0: not even one can."""
    if not feasible(frames, labels):
        return 0
    steps = minimum_frames(labels)
    return frames if steps == 1 else -(-frames // (steps - 1)) - 1  # ceil(frames / stride) >= steps


def uniform_loss(frames: int, labels: Labels, classes: int) -> float:
    """Of equal probabilities: T ln C - ln(number of alignments), which is C(T + U - R, 2U)."""
    if not feasible(frames, labels):
        return math.inf
    count = len(labels)
    return frames * math.log(classes) - _ln_binomial(frames + count - repeats(labels), 2 * count)


@dataclass(frozen=True)
class ConstantReference:
    """The best output that ignores the input; a loss at or above it has learnt nothing."""

    probabilities: Float64[np.ndarray, " C"]
    loss_per_utterance: float  # nats
    loss_per_character: float  # nats; each utterance by its length, then averaged: torch's 'mean'
    loss_per_character_pooled: float  # nats; all losses by all lengths


def constant_reference(
    frames: Sequence[int], labels: Sequence[Labels], classes: int
) -> ConstantReference:
    """By expectation maximisation: each class's share is its expected share of the frames."""
    structure = _Structure.of(frames, labels, classes)
    share = structure.lengths.sum() / structure.frames.sum()
    probabilities = share * structure.counts.sum(0) / structure.lengths.sum()
    probabilities[BLANK] = 1 - share
    former = math.inf
    for _ in range(_MOST_STEPS):
        losses, occupancy = structure.expectation(probabilities)
        if former - losses.mean() < _LEAST_GAIN:
            break
        former = losses.mean()
        probabilities = occupancy / occupancy.sum()
    return ConstantReference(
        probabilities=probabilities,
        loss_per_utterance=float(losses.mean()),
        loss_per_character=float((losses / structure.lengths).mean()),
        loss_per_character_pooled=float(losses.sum() / structure.lengths.sum()),
    )


def constant_loss(
    probabilities: Float64[np.ndarray, " C"], frames: Sequence[int], labels: Sequence[Labels]
) -> Float64[np.ndarray, " U"]:
    """-ln P(labels) of each utterance when every frame's output is `probabilities`."""
    structure = _Structure.of(frames, labels, len(probabilities))
    return structure.expectation(probabilities)[0]


def optimum_bias(reference: ConstantReference, floor: float = 1e-6) -> Float32[Tensor, " C"]:
    """Output biases that start a network on the reference line; `floor` is for unseen classes."""
    return torch.from_numpy(np.log(np.maximum(reference.probabilities, floor))).float()


@dataclass(frozen=True)
class _Structure:
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
    def of(cls, frames: Sequence[int], labels: Sequence[Labels], classes: int) -> "_Structure":
        pairs = list(zip(frames, labels, strict=True))
        if not pairs or not all(feasible(*pair) for pair in pairs):
            raise ValueError("a constant output needs utterances, and each of them feasible")
        return cls(
            frames=np.array(frames, np.int64),
            lengths=np.array([len(y) for y in labels], np.int64),
            repeats=np.array([repeats(y) for y in labels], np.int64),
            counts=np.array([np.bincount(y, minlength=classes) for y in labels], np.int64),
        )

    def expectation(
        self, probabilities: Float64[np.ndarray, " C"]
    ) -> tuple[Float64[np.ndarray, " U"], Float64[np.ndarray, " C"]]:
        """Losses, and how many frames of the corpus each class is expected to take."""
        blank = max(probabilities[BLANK], _LEAST)
        ratios = probabilities / blank
        ratios[BLANK] = 0.0
        scale = max(ratios.max(), _LEAST)  # keeps the powers of ratios from overflowing
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
            if np.all(term < peak + math.log(_NEGLIGIBLE)):
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


def _ln_binomial(above: int, below: int) -> float:
    return math.lgamma(above + 1) - math.lgamma(below + 1) - math.lgamma(above - below + 1)
