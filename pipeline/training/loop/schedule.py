"""Schedule: the optimiser, and the learning rate of each update.

In:   train settings, the network's weights; the dev losses so far.
Out:  an optimiser; a rate, a function of the update and of those losses.
Not here: when an update happens (trainer.py).

No schedule has a state of its own: what the rate depends on stands in the rows of the run.
"""

import math
from collections.abc import Sequence

from pipeline.config.experiment import TrainSettings

ONE_CYCLE_RISE_SHARE = (
    0.3  # share of the updates for which one-cycle rises, unless a warm-up says otherwise
)
ONE_CYCLE_START_FACTOR = 1 / 25  # of the rate: where one-cycle begins
ONE_CYCLE_END_FACTOR = ONE_CYCLE_START_FACTOR / 1e4  # of the rate: where it ends
IMPROVEMENT_RATIO = 1 - 1e-4  # a dev loss below this share of the lowest one is lower


def learning_rate(
    settings: TrainSettings, update: int, updates: int, dev_losses: Sequence[float] = ()
) -> float:
    """Of update 1 … `updates`."""
    if settings.schedule == "one-cycle":
        return settings.learning_rate * _one_cycle_factor(settings.warmup_updates, update, updates)
    if update <= settings.warmup_updates:
        return settings.learning_rate * update / settings.warmup_updates
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "plateau":
        lowered = count_plateaus(dev_losses, settings.plateau_epochs)
        return settings.learning_rate * float(settings.plateau_factor**lowered)
    remaining = max(updates - settings.warmup_updates, 1)
    progress = (update - settings.warmup_updates - 1) / remaining
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def count_plateaus(losses: Sequence[float], patience: int) -> int:
    """How often no loss of `patience` epochs in a row was lower than the lowest before them.

    Of losses that were never a number, because no utterance of dev can be aligned, nothing is said.
    """
    if all(map(math.isnan, losses)):
        return 0
    found, waited, lowest = 0, 0, math.inf
    for loss in losses:
        if loss < lowest * IMPROVEMENT_RATIO:
            lowest, waited = loss, 0
        else:
            waited += 1
        if waited == patience:
            found, waited = found + 1, 0
    return found


def _one_cycle_factor(warmup: int, update: int, updates: int) -> float:
    """Up to 1 and down to almost nothing, each along half a cosine; Smith and Topin (2018)."""
    top = warmup or max(
        round(ONE_CYCLE_RISE_SHARE * updates), 1
    )  # the update with the highest rate
    if update <= top:
        return _interpolate_cosine(
            ONE_CYCLE_START_FACTOR, 1.0, (update - 1) / max(top - 1, 1) if top > 1 else 1.0
        )
    return _interpolate_cosine(1.0, ONE_CYCLE_END_FACTOR, (update - top) / max(updates - top, 1))


def _interpolate_cosine(start: float, stop: float, progress: float) -> float:
    return stop + (start - stop) * (1 + math.cos(math.pi * progress)) / 2
