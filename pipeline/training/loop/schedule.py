"""Schedule: the optimiser, and the learning rate of each update.

In:   train settings, the network's weights; the dev losses so far.
Out:  an optimiser; a rate, a function of the update and of those losses.
Not here: when an update happens (trainer.py).

No schedule has a state of its own: what the rate depends on stands in the rows of the run.
"""

import math
from collections.abc import Sequence

from pipeline.config.experiment import TrainSettings

ASCENT = 0.3  # share of the updates for which one-cycle rises, unless a warm-up says otherwise
BEGINNING = 1 / 25  # of the rate: where one-cycle begins
END = BEGINNING / 1e4  # of the rate: where it ends
LOWER = 1 - 1e-4  # a dev loss below this share of the lowest one is lower


def learning_rate(
    settings: TrainSettings, update: int, updates: int, dev_losses: Sequence[float] = ()
) -> float:
    """Of update 1 … `updates`."""
    if settings.schedule == "one-cycle":
        return settings.learning_rate * _one_cycle(settings.warmup_updates, update, updates)
    if update <= settings.warmup_updates:
        return settings.learning_rate * update / settings.warmup_updates
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "plateau":
        lowered = plateaus(dev_losses, settings.plateau_epochs)
        return settings.learning_rate * float(settings.plateau_factor**lowered)
    remaining = max(updates - settings.warmup_updates, 1)
    progress = (update - settings.warmup_updates - 1) / remaining
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def plateaus(losses: Sequence[float], patience: int) -> int:
    """How often no loss of `patience` epochs in a row was lower than the lowest before them.

    Of losses that were never a number, because no utterance of dev can be aligned, nothing is said.
    """
    if all(map(math.isnan, losses)):
        return 0
    found, waited, lowest = 0, 0, math.inf
    for loss in losses:
        if loss < lowest * LOWER:
            lowest, waited = loss, 0
        else:
            waited += 1
        if waited == patience:
            found, waited = found + 1, 0
    return found


def _one_cycle(warmup: int, update: int, updates: int) -> float:
    """Up to 1 and down to almost nothing, each along half a cosine; Smith and Topin (2018)."""
    top = warmup or max(round(ASCENT * updates), 1)  # the update with the highest rate
    if update <= top:
        return _half_cosine(BEGINNING, 1.0, (update - 1) / max(top - 1, 1) if top > 1 else 1.0)
    return _half_cosine(1.0, END, (update - top) / max(updates - top, 1))


def _half_cosine(start: float, stop: float, progress: float) -> float:
    return stop + (start - stop) * (1 + math.cos(math.pi * progress)) / 2
