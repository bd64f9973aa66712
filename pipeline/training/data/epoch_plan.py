"""Plan of an epoch: which utterances make a batch, in which order, with which random changes.

In:   the utterances of a split, train settings, an epoch.
Out:  the selections of an epoch; the number of updates of a training.
Not here: how random changes are drawn and applied (augment.py), the batch itself (batches.py).

The order depends on (seed, epoch) only, and random changes of an utterance on (seed, epoch, its
index).
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.config.experiment import TrainSettings
from pipeline.shapes import Int64
from pipeline.training.data import augment
from pipeline.training.data.augment import FeasibilityTest
from pipeline.training.data.batches import Selection, SplitData
from pipeline.training.data.frame_store import count_stacked_frames

# Batches in a bucket of similar lengths: 4 % padding on AN4, where random order has 47 %.
BATCHES_PER_BUCKET = 2
_ORDER_STREAM = 0  # other random numbers than the augmentation


def plan_epoch(
    split: SplitData,
    settings: TrainSettings,
    epoch: int,
    is_feasible: FeasibilityTest,
    views: int = 1,
) -> list[Selection]:
    """Return the batches of an epoch of training.

    A batch holds its utterances `views` times, one view after the other. A view has masks and
    frequencies of its own.
    """
    frame_index = augment.draw_frame_index(
        settings, epoch, split.stack, split.frame_counts, is_feasible
    )
    lengths = count_stacked_frames(frame_index.frames, split.stack)
    frames = np.tile(lengths * split.stack, views)
    masks = augment.draw_masks(settings, epoch, frames, split.store.bins)
    warp = augment.draw_warp(settings, epoch, len(frames))
    plan = []
    for update in order_updates(lengths, settings, epoch, split.stack):
        for places in update:
            shown = np.tile(places, views)
            own = shown + np.repeat(np.arange(views) * len(split), len(places))
            plan.append(
                Selection(
                    shown,
                    frame_index.take(shown),
                    warp=None if warp is None else warp[own],
                    masks=masks and masks.take(own),
                    ends_update=places is update[-1],
                )
            )
    return plan


def count_updates(split: SplitData, settings: TrainSettings, is_feasible: FeasibilityTest) -> int:
    """Return the updates of the whole training.

    With `batch_frames` the number of batches differs between epochs, so all are planned.
    """
    if settings.batch_frames is None:
        return settings.epochs * -(-len(split) // (settings.batch * settings.accumulate))
    epochs = range(1, settings.epochs + 1)
    plans = (plan_epoch(split, settings, epoch, is_feasible) for epoch in epochs)
    return sum(selection.ends_update for plan in plans for selection in plan)


def order_updates(
    lengths: Int64[np.ndarray, " U"], settings: TrainSettings, epoch: int, stack: int = 1
) -> list[list[Int64[np.ndarray, " B"]]]:
    """Return the batches of each update of an epoch, as indices of the split.

    Updates are drawn as the large batches that they stand for, and then cut.
    """
    if settings.accumulate == 1:
        return [[batch] for batch in order_batches(lengths, settings, epoch, stack)]
    frames = settings.batch_frames and settings.batch_frames * settings.accumulate
    large = {"batch": settings.batch * settings.accumulate, "batch_frames": frames}
    drawn = order_batches(lengths, settings.model_copy(update=large), epoch, stack)
    limits = _BatchLimits(lengths * stack, settings)
    return [limits.cut_into_batches(update) for update in drawn]


def order_batches(
    lengths: Int64[np.ndarray, " U"], settings: TrainSettings, epoch: int, stack: int = 1
) -> list[Int64[np.ndarray, " B"]]:
    """Return the batches of an epoch, as indices of the split; epochs count from 1.

    `lengths` count stacked frames; `batch_frames` counts each of them as `stack` frames.
    """
    limits = _BatchLimits(lengths * stack, settings)
    ascending = np.argsort(lengths, kind="stable")
    if settings.order == "sorted" or epoch <= settings.sortagrad_epochs:
        return limits.cut_into_batches(ascending)
    if settings.order == "reversed":
        return limits.cut_into_batches(ascending[::-1])
    draw = np.random.default_rng([settings.seed, epoch, _ORDER_STREAM])
    if settings.order == "random":
        return limits.cut_into_batches(draw.permutation(len(lengths)))
    size = BATCHES_PER_BUCKET * limits.mean_batch_size
    # The first bucket has a random size, so that the borders differ between epochs.
    borders = np.arange(draw.integers(1, size + 1), len(lengths), size)
    buckets = [draw.permutation(bucket) for bucket in np.split(ascending, borders)]
    batches = limits.cut_into_batches(np.concatenate(buckets))
    return [batches[b] for b in draw.permutation(len(batches))]


@dataclass(frozen=True)
class _BatchLimits:
    """The largest batch: a number of utterances, and a number of frames with padding."""

    frames: Int64[np.ndarray, " U"]  # of each utterance
    settings: TrainSettings

    @property
    def mean_batch_size(self) -> int:
        """Number of utterances in a batch if all have the mean length."""
        batch, most = self.settings.batch, self.settings.batch_frames
        if most is None or not len(self.frames):
            return batch
        return max(1, min(batch, int(most / self.frames.mean())))

    def cut_into_batches(
        self, utterances: Int64[np.ndarray, " U"]
    ) -> list[Int64[np.ndarray, " B"]]:
        """Fill each batch in this order; an utterance that is too long makes a batch alone."""
        batch, most = self.settings.batch, self.settings.batch_frames or math.inf
        starts, longest = [0], 0
        for place, frames in enumerate(self.frames[utterances].tolist()):
            count, longest = place - starts[-1], max(longest, frames)
            if count == batch or (count and (count + 1) * longest > most):
                starts.append(place)
                longest = frames
        return np.split(utterances, starts[1:]) if len(utterances) else []
