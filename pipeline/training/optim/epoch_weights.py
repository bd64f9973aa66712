"""Weights of epochs: the best one on dev, and those that `train.average` takes the mean of.

In:   the weights after an epoch, the epoch's dev row.   Out: the weights to test.
Not here: the arithmetic of means (averaging.py), saving (loop/checkpoint.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.config.network import AverageSettings
from pipeline.runs.rows import MEAN_OF_EPOCHS
from pipeline.training.optim.averaging import Weights, mean_weights


@dataclass(frozen=True)
class EpochWeights:
    """Weights that were evaluated on dev after an epoch, or a mean of such weights."""

    epoch: int
    updates: int
    selection_key: tuple[float, float]  # of the dev row, by runs/plateau.py
    weights: Weights = field(repr=False)
    label: str = "epoch"  # the column `weights` of their rows


def keep_epochs(
    kept: Sequence[EpochWeights], new: EpochWeights, settings: AverageSettings | None
) -> list[EpochWeights]:
    """Return the epochs, in order, whose mean is tested if training ends now."""
    if settings is None:
        return []
    both = [*kept, new]
    if settings.last is not None:
        return both[-settings.last :]
    best = sorted(both, key=lambda each: (each.selection_key, each.epoch))[: settings.best]
    return sorted(best, key=lambda each: each.epoch)


def mean_of_epochs(kept: Sequence[EpochWeights], last_epoch: int, updates: int) -> EpochWeights:
    """Return their mean; it exists only after the last epoch of the training."""
    return EpochWeights(
        epoch=last_epoch,
        updates=updates,
        selection_key=kept[-1].selection_key,
        weights=mean_weights([each.weights for each in kept]),
        label=" ".join([MEAN_OF_EPOCHS, *(str(each.epoch) for each in kept)]),
    )
