"""CTC: the loss, what it can align, its reference lines, the best path.

In:   logits (B, S, C) with true lengths; labels as integers, blank 0.
Out:  one loss per utterance, in nats; the loss of outputs that ignore the input; best-path labels.
Not here: beam search (decoding.py), counting errors (scoring.py).

A target needs minimum_frames(labels) frames; below that its loss is infinite, and stays infinite
here: whoever feeds the loss leaves out what is not `feasible`, and says so.
"""

from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.corpus.text import BLANK
from pipeline.shapes import Float, Float32, Int, Int64


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
    return loss_from_log_probabilities(logs_BSC, lengths_B, targets, target_lengths_B)


def loss_from_log_probabilities(
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


def greedy_search(
    logits_BSC: Float[Tensor, "B S C"], lengths_B: Int[Tensor, " B"]
) -> list[list[int]]:
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
