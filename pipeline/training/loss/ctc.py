"""CTC loss: one wrapper around torch's, which fixes precision, kernel and determinism.

In:   logits (B, S, C) with true lengths; labels as integers, blank 0.
Out:  log-probabilities; one loss per utterance, in nats.
Not here: which utterances can be aligned (feasibility.py), decoding (pipeline/decoding).

A target needs `minimum_frames(labels)` steps. With fewer its loss is infinite; such utterances are
left out before training.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float, Float32, Int, Int64


def log_probabilities(logits_BSC: Float[Tensor, "B S C"]) -> Float32[Tensor, "B S C"]:
    """Return the log-softmax, computed in float32 whatever the precision of the logits."""
    return logits_BSC.float().log_softmax(-1)


def loss_from_log_probabilities(
    logs_BSC: Float[Tensor, "B S C"],
    lengths_B: Int[Tensor, " B"],
    targets: Int64[Tensor, "B L"] | Int64[Tensor, " L"],
    target_lengths_B: Int64[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Return -ln P(target) of each utterance, in nats. Targets are padded, or concatenated.

    Each step's probabilities must sum to 1: torch's gradient is wrong otherwise.

    Targets in int64 keep torch on its native kernel: cuDNN's needs equal lengths. On a GPU the
    native kernel adds up a gradient atomically, in an order that differs from call to call. So
    with torch.use_deterministic_algorithms the loss is computed on the CPU, which costs two copies
    and a synchronisation: there one thread computes each utterance, and gives the same bits.
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
