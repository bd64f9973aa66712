"""Objective: what training minimises where the plain CTC loss leaves a network among its blanks.

In:   a network's output for a batch; settings; the running mean of its posteriors, the prior.
Out:  one value per utterance, in nats; the prior, moved on.
Not here: the plain loss, which every row reports, and its reference lines (ctc.py).

Both remedies weigh an alignment pi by exp(sum_t s_t(pi_t)) with scores s that are no logarithms of
probabilities. Torch's CTC gradient is wrong for such, so they have one of their own: how often the
alignments are expected to be in each class at each step.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.config.experiment import CtcSettings
from pipeline.shapes import Float, Float32, Int, Int64
from pipeline.training.data.batches import Batch
from pipeline.training.loss import ctc
from pipeline.training.network.layers import make_valid_mask
from pipeline.training.network.model import NetworkOutput

PRIOR_MOMENTUM = 0.1  # of the prior, per update: an average over some ten batches
_MIN_PRIOR = 1e-6  # of a prior: classes that never occur have a logarithm too
_DERIVATIVE_STEP = (
    1e-4  # of a derivative in float64; its error: 5e-9 of the variance of the alignments' s
)


def training_loss(
    output: NetworkOutput,
    batch: Batch,
    settings: CtcSettings,
    prior_C: Float32[Tensor, " C"] | None,
) -> Float[Tensor, " B"]:
    """-ln sum_pi exp(s(pi)) - entropy * H(pi) over the alignments pi of each transcript.

    With s = log p - prior * log P, where P is the mean of p so far, nothing is gained by what is
    printed everywhere, blanks above all (Zeyer et al., arXiv:2105.14849; Huang et al.,
    arXiv:2406.02560). The entropy keeps the alignments of a transcript from shrinking to the first
    that was found (Liu et al., NeurIPS 2018). Before the first update there is no prior.
    """
    scores_BSC = output.logits.float().log_softmax(-1)
    if settings.prior and prior_C is not None:
        scores_BSC = scores_BSC - settings.prior * prior_C.clamp(min=_MIN_PRIOR).log()
    objective_B = -_log_mass(scores_BSC, output, batch)
    if settings.entropy:
        objective_B = objective_B - settings.entropy * alignment_entropy(scores_BSC, output, batch)
    return objective_B


def alignment_entropy(
    scores_BSC: Float[Tensor, "B S C"], output: NetworkOutput, batch: Batch
) -> Float[Tensor, " B"]:
    """Of the alignments of each transcript, nats: at most the logarithm of their number.

    Alignments weighed by exp(a s) have the mass Z(a), and an entropy of ln Z - d/da ln Z at a = 1.
    """
    scores_BSC = scores_BSC.double()
    more_B, less_B = (
        _log_mass(scores_BSC * a, output, batch)
        for a in (1 + _DERIVATIVE_STEP, 1 - _DERIVATIVE_STEP)
    )
    return ((more_B + less_B) / 2 - (more_B - less_B) / (2 * _DERIVATIVE_STEP)).float()


@torch.no_grad()
def update_prior(
    prior_C: Float32[Tensor, " C"] | None, output: NetworkOutput
) -> Float32[Tensor, " C"]:
    """The prior after one more batch: the mean posterior of valid steps, in a running mean."""
    steps = make_valid_mask(output.lengths, output.logits.shape[1])
    mean_C = output.logits[steps].float().softmax(-1).mean(0)
    return mean_C if prior_C is None else prior_C.lerp(mean_C, PRIOR_MOMENTUM)


def _log_mass(
    scores_BSC: Float[Tensor, "B S C"], output: NetworkOutput, batch: Batch
) -> Float[Tensor, " B"]:
    """Logarithm of sum_pi exp(s(pi)) over the alignments pi of each transcript."""
    targets = batch.targets, batch.target_lengths
    mass: Tensor = _LogMass.apply(scores_BSC, output.lengths, *targets)  # type: ignore[no-untyped-call]
    return mass


class _LogMass(torch.autograd.Function):
    """Its derivative by a score is the occupancy: the share of alignments that are there then.

    Torch returns exp(s) - occupancy. Of scores as they are, exp(s) may be so large that nothing is
    left of the occupancy; so each step is normalised before, and its norm added after.
    """

    @staticmethod
    def forward(
        context: Any,
        scores_BSC: Float[Tensor, "B S C"],
        lengths_B: Int[Tensor, " B"],
        targets: Int64[Tensor, " L"],
        target_lengths_B: Int64[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        norms_BS = scores_BSC.logsumexp(-1)
        steps_BS = make_valid_mask(lengths_B, scores_BSC.shape[1])
        with torch.enable_grad():
            logs_BSC = (scores_BSC - norms_BS[:, :, None]).requires_grad_()
            losses_B = ctc.loss_from_log_probabilities(
                logs_BSC, lengths_B, targets, target_lengths_B
            )
            (gradient_BSC,) = torch.autograd.grad(losses_B.sum(), logs_BSC)
        occupancy_BSC = logs_BSC.detach().exp() - gradient_BSC
        context.save_for_backward(occupancy_BSC.masked_fill(~steps_BS[:, :, None], 0))
        return norms_BS.masked_fill(~steps_BS, 0).sum(1) - losses_B.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        context: Any, *gradients: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B S C"], None, None, None]:
        (occupancy_BSC,) = context.saved_tensors
        return gradients[0][:, None, None] * occupancy_BSC, None, None, None
