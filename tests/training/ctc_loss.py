"""The CTC loss of logits, for tests; training keeps the log-probabilities for other uses."""

from torch import Tensor

from pipeline.training.loss import ctc


def ctc_loss(
    logits_BSC: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """Return the loss of each utterance in nats."""
    logs_BSC = ctc.log_probabilities(logits_BSC)
    return ctc.loss_from_log_probabilities(logs_BSC, lengths, targets, target_lengths)
