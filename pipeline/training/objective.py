"""Objective: what training minimises where the plain CTC loss leaves a network among its blanks.

In:   a network's output for a batch; settings; the running mean of its posteriors, the prior.
Out:  one value per utterance, in nats; the prior, moved on.
Not here: the plain loss, which every row reports, and its reference lines (ctc.py).

Both remedies weigh an alignment pi by exp(sum_t s_t(pi_t)) with scores s that are no logarithms of
probabilities. Torch's CTC gradient is wrong for such, so each step's scores are normalised before
and their norm is added after: exact, by the plain kernel, without a gradient of our own.
"""

import torch
from torch import Tensor

from pipeline.config import CtcSettings
from pipeline.shapes import Float, Float32
from pipeline.training import ctc
from pipeline.training.batches import Batch
from pipeline.training.layers import valid
from pipeline.training.model import Output

MOMENTUM = 0.1  # of the prior, per update: an average over some ten batches
_LEAST = 1e-6  # of a prior: classes that never occur have a logarithm too
_STEP = 1e-4  # of a derivative in float64; its error: 5e-9 of the variance of the alignments' s


def minimised(
    output: Output, batch: Batch, settings: CtcSettings, prior_C: Float32[Tensor, " C"] | None
) -> Float[Tensor, " B"]:
    """-ln sum_pi exp(s(pi)) - entropy * H(pi) over the alignments pi of each transcript.

    With s = log p - prior * log P, where P is the mean of p so far, nothing is gained by what is
    printed everywhere, blanks above all (Zeyer et al., arXiv:2105.14849; Huang et al.,
    arXiv:2406.02560). The entropy keeps the alignments of a transcript from shrinking to the first
    that was found (Liu et al., NeurIPS 2018). Before the first update there is no prior.
    """
    scores_BSC = output.logits.float().log_softmax(-1)
    if settings.prior and prior_C is not None:
        scores_BSC = scores_BSC - settings.prior * prior_C.clamp(min=_LEAST).log()
    objective_B = -_log_mass(scores_BSC, output, batch)
    if settings.entropy:
        objective_B = objective_B - settings.entropy * entropy(scores_BSC, output, batch)
    return objective_B


def entropy(
    scores_BSC: Float[Tensor, "B S C"], output: Output, batch: Batch
) -> Float[Tensor, " B"]:
    """Of the alignments of each transcript, nats: at most the logarithm of their number.

    Alignments weighed by exp(a s) have the mass Z(a), and an entropy of ln Z - d/da ln Z at a = 1.
    """
    scores_BSC = scores_BSC.double()
    more_B, less_B = (_log_mass(scores_BSC * a, output, batch) for a in (1 + _STEP, 1 - _STEP))
    return ((more_B + less_B) / 2 - (more_B - less_B) / (2 * _STEP)).float()


@torch.no_grad()
def moved(prior_C: Float32[Tensor, " C"] | None, output: Output) -> Float32[Tensor, " C"]:
    """The prior after one more batch: the mean posterior of valid steps, in a running mean."""
    steps = valid(output.lengths, output.logits.shape[1])
    mean_C = output.logits[steps].float().softmax(-1).mean(0)
    return mean_C if prior_C is None else prior_C.lerp(mean_C, MOMENTUM)


def _log_mass(
    scores_BSC: Float[Tensor, "B S C"], output: Output, batch: Batch
) -> Float[Tensor, " B"]:
    """Logarithm of sum_pi exp(s(pi)) over the alignments pi of each transcript."""
    norms_BS = scores_BSC.logsumexp(-1)
    losses_B = ctc.of_log_probabilities(
        scores_BSC - norms_BS[:, :, None], output.lengths, batch.targets, batch.target_lengths
    )
    steps_BS = valid(output.lengths, scores_BSC.shape[1])
    return norms_BS.masked_fill(~steps_BS, 0).sum(1) - losses_B
