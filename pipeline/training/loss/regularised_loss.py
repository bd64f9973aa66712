"""Regularised loss: what training minimises if a label prior or an alignment entropy is set.

In:   a network's output for a batch, its targets; settings; the prior, a running mean of the
posteriors.
Out:  one value per utterance, in nats; the updated prior.
Not here: the plain loss, which every row reports (ctc.py), the reference loss (reference_loss.py).

Both terms weigh an alignment pi by exp(sum_t s_t(pi_t)), where the scores s are not logarithms of
probabilities. Torch's CTC gradient is wrong for such scores, so they get a gradient of their own:
the expected number of alignments in each class at each step.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.config.network import CtcSettings
from pipeline.shapes import Float, Float32, Int, Int64
from pipeline.training.loss import ctc
from pipeline.training.network.masks import make_valid_mask

PRIOR_MOMENTUM = 0.1  # of the running mean, per update: it covers about ten batches
_MIN_PRIOR = 1e-6  # keeps the logarithm finite for classes that never occur
# Step of the numerical derivative in float64; its error is 5e-9 of the variance of s(pi).
_DERIVATIVE_STEP = 1e-4


def training_loss(
    logits_BSC: Float[Tensor, "B S C"],
    lengths_B: Int[Tensor, " B"],
    targets: Int64[Tensor, " L"],
    target_lengths_B: Int64[Tensor, " B"],
    *,
    settings: CtcSettings,
    prior_C: Float32[Tensor, " C"] | None,
) -> Float[Tensor, " B"]:
    """Return -ln sum_pi exp(s(pi)) - entropy * H(pi) over the alignments pi of each transcript.

    s = log p - prior * log P, where P is the mean of p so far: a class that is output everywhere,
    above all the blank, then gains nothing (Zeyer et al., arXiv:2105.14849; Huang et al.,
    arXiv:2406.02560). The entropy keeps the alignments of a transcript from shrinking to the first
    that was found (Liu et al., NeurIPS 2018). There is no prior before the first update: None.
    """
    scores_BSC = ctc.log_probabilities(logits_BSC)
    if settings.prior and prior_C is not None:
        scores_BSC = scores_BSC - settings.prior * prior_C.clamp(min=_MIN_PRIOR).log()
    given = lengths_B, targets, target_lengths_B
    objective_B = -log_mass(scores_BSC, *given)
    if settings.entropy:
        objective_B = objective_B - settings.entropy * alignment_entropy(scores_BSC, *given)
    return objective_B


def alignment_entropy(
    scores_BSC: Float[Tensor, "B S C"],
    lengths_B: Int[Tensor, " B"],
    targets: Int64[Tensor, " L"],
    target_lengths_B: Int64[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Return the entropy of each transcript's alignments in nats: at most ln of their number.

    Alignments weighed by exp(a s) have the mass Z(a), and their entropy is ln Z - d ln Z / da at
    a = 1.
    """
    scores_BSC = scores_BSC.double()
    more_B, less_B = (
        log_mass(scores_BSC * a, lengths_B, targets, target_lengths_B)
        for a in (1 + _DERIVATIVE_STEP, 1 - _DERIVATIVE_STEP)
    )
    return ((more_B + less_B) / 2 - (more_B - less_B) / (2 * _DERIVATIVE_STEP)).float()


def inconsistency(
    logs_BSC: Float[Tensor, "B S C"], lengths_B: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Return the divergence of each output from that of the other view of its utterance, in nats.

    The second half of the batch holds the utterances of the first half again. With p' the output
    for the other view, which gets no gradient: sum_t KL(p'_t || p_t) over the valid steps
    (CR-CTC; Yao et al., arXiv:2410.05101, equation 4).
    """
    other_BSC = logs_BSC.detach().roll(len(logs_BSC) // 2, 0)
    terms_BSC = torch.nn.functional.kl_div(logs_BSC, other_BSC, reduction="none", log_target=True)
    mask_BS = make_valid_mask(lengths_B, logs_BSC.shape[1])
    return terms_BSC.sum(-1).masked_fill(~mask_BS, 0).sum(1)


@torch.no_grad()
def update_prior(
    prior_C: Float32[Tensor, " C"] | None,
    logits_BSC: Float[Tensor, "B S C"],
    lengths_B: Int[Tensor, " B"],
) -> Float32[Tensor, " C"]:
    """Return the prior after one more batch: a running mean of the posteriors of valid steps."""
    mask_BS = make_valid_mask(lengths_B, logits_BSC.shape[1])
    mean_C = logits_BSC[mask_BS].float().softmax(-1).mean(0)
    return mean_C if prior_C is None else prior_C.lerp(mean_C, PRIOR_MOMENTUM)


def log_mass(
    scores_BSC: Float[Tensor, "B S C"],
    lengths_B: Int[Tensor, " B"],
    targets: Int64[Tensor, " L"],
    target_lengths_B: Int64[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Return ln sum_pi exp(s(pi)) over the alignments pi of each transcript."""
    mass: Tensor = _LogMass.apply(scores_BSC, lengths_B, targets, target_lengths_B)  # type: ignore[no-untyped-call]
    return mass


class _LogMass(torch.autograd.Function):
    """The derivative by a score is the occupancy: the share of alignments in that class and step.

    Torch returns exp(s) - occupancy. exp(s) may be so large that the difference loses all digits
    of the occupancy, so the scores of each step are normalised first, and the norms added after.
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
        mask_BS = make_valid_mask(lengths_B, scores_BSC.shape[1])
        with torch.enable_grad():
            logs_BSC = (scores_BSC - norms_BS[:, :, None]).requires_grad_()
            losses_B = ctc.loss_from_log_probabilities(
                logs_BSC, lengths_B, targets, target_lengths_B
            )
            (gradient_BSC,) = torch.autograd.grad(losses_B.sum(), logs_BSC)
        occupancy_BSC = logs_BSC.detach().exp() - gradient_BSC
        context.save_for_backward(occupancy_BSC.masked_fill(~mask_BS[:, :, None], 0))
        return norms_BS.masked_fill(~mask_BS, 0).sum(1) - losses_B.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        context: Any, *gradients: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B S C"], None, None, None]:
        (occupancy_BSC,) = context.saved_tensors
        return gradients[0][:, None, None] * occupancy_BSC, None, None, None
