"""Schedule: the learning rate of each update.

In:   train settings, the update, the dev losses so far.   Out: a learning rate.
Not here: the optimizer (optimizer.py), when an update happens (loop/trainer.py).

No schedule keeps a state of its own: the rate depends only on the update and on the run's rows.
"""

import math
from collections.abc import Sequence

from pipeline.config.experiment import TrainSettings

ONE_CYCLE_RISE_SHARE = 0.3  # share of the updates in which one-cycle rises, without a warm-up
ONE_CYCLE_START_FACTOR = 1 / 25  # one-cycle's first rate, as a factor of the learning rate
ONE_CYCLE_END_FACTOR = ONE_CYCLE_START_FACTOR / 1e4  # its last rate
IMPROVEMENT_RATIO = 1 - 1e-4  # a dev loss below this share of the lowest one is an improvement


def learning_rate(
    settings: TrainSettings, update: int, updates: int, dev_losses: Sequence[float] = ()
) -> float:
    """Return the rate of update 1 … `updates`; `dev_losses` has one loss per finished epoch."""
    if settings.schedule == "one-cycle":
        return settings.learning_rate * _one_cycle_factor(settings.warmup_updates, update, updates)
    if update <= settings.warmup_updates:
        return settings.learning_rate * update / settings.warmup_updates
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "plateau":
        plateaus = count_plateaus(dev_losses, settings.plateau_epochs)
        return settings.learning_rate * float(settings.plateau_factor**plateaus)
    remaining = max(updates - settings.warmup_updates, 1)
    progress = (update - settings.warmup_updates - 1) / remaining
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def count_plateaus(losses: Sequence[float], patience: int) -> int:
    """Count how often `patience` losses in a row did not improve on the lowest loss before them.

    Return 0 if all losses are NaN, because no dev utterance can be aligned.
    """
    if all(map(math.isnan, losses)):
        return 0
    plateaus, waited, lowest = 0, 0, math.inf
    for loss in losses:
        if loss < lowest * IMPROVEMENT_RATIO:
            lowest, waited = loss, 0
        else:
            waited += 1
        if waited == patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus


def _one_cycle_factor(warmup: int, update: int, updates: int) -> float:
    """Rise to 1 and fall to almost 0, each along half a cosine; Smith and Topin (2018)."""
    top = warmup or max(round(ONE_CYCLE_RISE_SHARE * updates), 1)  # the update of the highest rate
    if update <= top:
        progress = (update - 1) / (top - 1) if top > 1 else 1.0
        return _interpolate_cosine(ONE_CYCLE_START_FACTOR, 1.0, progress)
    return _interpolate_cosine(1.0, ONE_CYCLE_END_FACTOR, (update - top) / (updates - top))


def _interpolate_cosine(start: float, stop: float, progress: float) -> float:
    return stop + (start - stop) * (1 + math.cos(math.pi * progress)) / 2
