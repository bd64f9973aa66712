"""Schedule: the optimiser, and the learning rate of each update.

In:   train settings, the network's weights.   Out: an optimiser; a rate, a function of the update.
Not here: when an update happens (trainer.py).
"""

import math
from collections.abc import Iterable

import torch
from torch import nn

from pipeline.config import TrainSettings

MOMENTUM = 0.9  # of sgd, Nesterov's


def optimiser(settings: TrainSettings, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Weight decay pulls at matrices only: a bias or a scale at zero is no simpler."""
    weights = list(weights)
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    match settings.optimiser:
        case "adam":
            return torch.optim.Adam(groups, settings.learning_rate)
        case "adamw":
            return torch.optim.AdamW(groups, settings.learning_rate)
        case "sgd":
            return torch.optim.SGD(groups, settings.learning_rate, MOMENTUM, nesterov=True)


def learning_rate(settings: TrainSettings, update: int, updates: int) -> float:
    """Of update 1 … `updates`: a linear warm-up, then constant or half a cosine down to zero."""
    if update <= settings.warmup_updates:
        return settings.learning_rate * update / settings.warmup_updates
    if settings.schedule == "constant":
        return settings.learning_rate
    remaining = max(updates - settings.warmup_updates, 1)
    progress = (update - settings.warmup_updates - 1) / remaining
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
