"""Optimizer: Adam, AdamW and SGD, made without importing torch's compiler.

In:   train settings, the weights.   Out: an optimizer.
Not here: the learning rate of an update (schedule.py).
"""

from collections.abc import Iterable
from inspect import unwrap

from torch import nn, no_grad, optim

from pipeline.config.experiment import TrainSettings

SGD_MOMENTUM = 0.9  # Nesterov's; one-cycle does not change it


class _UnwrappedOptimizer:
    """torch's optimizer methods without the wrappers that hide them from torch's compiler.

    The wrappers import the whole compiler: 2 s and 110 MB for a run that compiles nothing.
    """

    add_param_group = unwrap(optim.Optimizer.add_param_group)
    zero_grad = unwrap(optim.Optimizer.zero_grad)
    state_dict = unwrap(optim.Optimizer.state_dict)
    load_state_dict = unwrap(optim.Optimizer.load_state_dict)


class _Adam(_UnwrappedOptimizer, optim.Adam):
    step = no_grad()(unwrap(optim.Adam.step))


class _AdamW(_UnwrappedOptimizer, optim.AdamW):
    step = no_grad()(unwrap(optim.AdamW.step))


class _SGD(_UnwrappedOptimizer, optim.SGD):
    step = no_grad()(unwrap(optim.SGD.step))


def make_optimizer(settings: TrainSettings, weights: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Make the optimizer; weight decay applies to matrices, not to biases and scales."""
    weights = list(weights)
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    match settings.optimiser:
        case "adam":
            return _Adam(groups, settings.learning_rate, fused=True)
        case "adamw":
            return _AdamW(groups, settings.learning_rate, fused=True)
        case "sgd":
            return _SGD(groups, settings.learning_rate, SGD_MOMENTUM, nesterov=True, fused=True)
