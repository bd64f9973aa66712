"""Averages of weights: a moving average over updates, the mean of several epochs.

In:   a network after its updates; the weights of epochs.   Out: weights.
Not here: which epochs (epoch_weights.py).

A moving average covers the statistics of batch norm as it covers the weights. A mean of epochs does
not: statistics are not linear in the weights, so they are measured anew, as torch's `update_bn`
does: the mean over the batches of the training split.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.training.network.normalisation import (
    BATCH_NORM_MOMENTUM,
    InputTermNorm,
    MaskedBatchNorm,
)

Weights = Mapping[str, Tensor]
BatchT = TypeVar("BatchT")


def copy_weights(network: nn.Module) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def ema_factor(limit: float, update: int) -> float:
    """Return what update 1, 2, … leaves of the average: first little, as in TensorFlow."""
    return min(limit, (1 + update) / (10 + update))


@torch.no_grad()
def update_ema(average: Weights, network: nn.Module, factor: float) -> None:
    """Move the average towards the network's weights, in place; counters are copied."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor, 1 - factor)
        else:
            average[name].copy_(tensor)


def mean_weights(epochs: Sequence[Weights]) -> Weights:
    """Return the mean of the weights of epochs; a counter is that of the last one."""
    return {
        name: torch.stack([each[name].double() for each in epochs]).mean(0).to(last.dtype)
        if last.is_floating_point()
        else last.clone()
        for name, last in epochs[-1].items()
    }


@torch.no_grad()
def measure_batch_norm(
    network: nn.Module, batches: Iterable[BatchT], run: Callable[[BatchT], object]
) -> None:
    """Replace the statistics of batch norm by their means over the batches that `run` takes.

    Dropout is off. No batch is taken if the network has no batch norm.
    """
    network.eval()
    outer = [one for one in network.modules() if isinstance(one, MaskedBatchNorm | InputTermNorm)]
    inner = [one.norm if isinstance(one, MaskedBatchNorm) else one for one in outer]
    if not outer:
        return
    for norm in outer:
        norm.train()
    for count, batch in enumerate(batches, 1):
        for each in inner:
            each.momentum = 1 / count
        run(batch)
    for each in inner:
        each.momentum = BATCH_NORM_MOMENTUM
    network.eval()
