"""Batches: the utterances of a split, the batches of an epoch, padded batches with labels.

In:   a feature set, input settings, an alphabet.
Out:  `SplitData`; the plan of an epoch; batches with their labels.
Not here: where frames are stored (frame_store.py), when a batch is made (loader.py), random changes
(augment.py).

The order depends on (seed, epoch) only, and random changes of an utterance on (seed, epoch, its
index). A `Selection` holds both, so every process makes the same batch of it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from pipeline.config.experiment import TrainSettings
from pipeline.config.network import InputSettings
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.shapes import Bool, Float, Float32, Int64
from pipeline.training.data import augment
from pipeline.training.data.augment import FeasibilityTest, FrameIndex, SpecAugmentMasks
from pipeline.training.data.frame_store import FrameStore, MappedFrames, count_stacked_frames

# Batches in a bucket of similar lengths: 4 % padding on AN4, where random order has 47 %.
BATCHES_PER_BUCKET = 2
_ORDER_STREAM = 0  # other random numbers than the augmentation


def max_abs(frames_BTF: Float[Tensor, "B T F"]) -> float:
    """Return the largest |z| of the input; NaN or infinite if any value is."""
    low, high = frames_BTF.aminmax()
    return float(torch.maximum(-low, high))


def find_finite(frames_BTF: Float[Tensor, "B T F"]) -> Bool[np.ndarray, " B"]:
    """Return whether each utterance of a batch has finite values only."""
    whole: np.ndarray = frames_BTF.isfinite().all(dim=(1, 2)).cpu().numpy()
    return whole


@dataclass(frozen=True, eq=False)
class Batch:
    utterances: tuple[StoredUtterance, ...]
    indices: Int64[np.ndarray, " B"]  # of the utterances in the split
    frames: Float32[Tensor, "B T F"]  # stacked; zero in the padding
    lengths: Int64[Tensor, " B"]
    targets: Int64[Tensor, " L"]  # concatenated
    target_lengths: Int64[Tensor, " B"]
    max_abs: float  # |z| of the frames; not finite if any value is not
    ends_update: bool = True  # False: train.accumulate adds the next batch to the same update

    def take(self, kept: Sequence[int]) -> "Batch":
        """Return a batch of some of the utterances, with the same padding."""
        targets = torch.split(self.targets, self.target_lengths.tolist())
        frames = self.frames[list(kept)]
        return Batch(
            utterances=tuple(self.utterances[b] for b in kept),
            indices=self.indices[list(kept)],
            frames=frames,
            lengths=self.lengths[list(kept)],
            targets=torch.cat([targets[b] for b in kept]),
            target_lengths=self.target_lengths[list(kept)],
            max_abs=max_abs(frames),
            ends_update=self.ends_update,
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """The content of a batch: utterances, which frames of each, and masks."""

    indices: Int64[np.ndarray, " B"]  # in the split
    frame_index: FrameIndex  # of these utterances
    masks: SpecAugmentMasks | None = None
    ends_update: bool = True


@dataclass(frozen=True, eq=False)
class SplitData:
    """The utterances of one split with their labels, and the store of their frames."""

    name: str
    utterances: tuple[StoredUtterance, ...]
    labels: tuple[tuple[int, ...], ...]
    store: FrameStore
    stack: int

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def frame_counts(self) -> Int64[np.ndarray, " U"]:
        """Stored frames of each utterance."""
        return self.store.frame_counts

    @property
    def lengths(self) -> Int64[np.ndarray, " U"]:
        """Frames of each utterance after stacking."""
        return count_stacked_frames(self.frame_counts, self.stack)

    @classmethod
    def from_shards(
        cls, features: FeatureSet, name: str, settings: InputSettings, alphabet: Alphabet
    ) -> "SplitData":
        """Return a split whose frames stay in the shards."""
        utterances = tuple(u for u in features.utterances if u.split == name)
        labels = tuple(tuple(alphabet.encode(u.transcript)) for u in utterances)
        store = MappedFrames.of(features, utterances, settings)
        return cls(name, utterances, labels, store, settings.stack)

    def to_resident(self, device: torch.device) -> "SplitData":
        """Return the same split with its frames on the device."""
        store = (
            self.store.to_resident(device) if isinstance(self.store, MappedFrames) else self.store
        )
        return replace(self, store=store)

    def select(
        self, places: Int64[np.ndarray, " B"], frame_index: FrameIndex | None = None
    ) -> Selection:
        """Return a selection of these utterances; `frame_index` is that of the whole split."""
        if frame_index is None:
            return Selection(places, FrameIndex.identity(self.frame_counts[places]))
        return Selection(places, frame_index.take(places))

    def make_batch(
        self, places: Int64[np.ndarray, " B"], frame_index: FrameIndex | None = None
    ) -> Batch:
        """Return the batch of these utterances; `frame_index` is that of the whole split."""
        selection = self.select(places, frame_index)
        return self.attach_labels(selection, self.store.gather(places, selection.frame_index))

    def attach_labels(self, selection: Selection, frames: Float32[Tensor, "B T F"]) -> Batch:
        """Return the batch of a selection whose frames were gathered, on their device."""
        places, device = selection.indices, frames.device
        labels = [self.labels[place] for place in places]
        targets = np.fromiter(chain.from_iterable(labels), np.int64)
        return Batch(
            utterances=tuple(self.utterances[place] for place in places),
            indices=places,
            frames=frames,
            lengths=torch.from_numpy(
                count_stacked_frames(selection.frame_index.frames, self.stack)
            ).to(device),
            targets=torch.from_numpy(targets).to(device),
            target_lengths=torch.tensor([len(one) for one in labels], device=device),
            max_abs=max_abs(frames),
            ends_update=selection.ends_update,
        )

    def evenly_spaced_by_length(self, number: int) -> list[int]:
        """Return the indices of up to `number` utterances, evenly spread over the lengths.

        They depend on the split only.
        """
        ascending = np.argsort(self.frame_counts, kind="stable")
        spread = (2 * np.arange(number) + 1) * len(ascending) // (2 * number)
        return [int(place) for place in ascending[np.unique(spread)]]

    def show(self, texts: Sequence[str], number: int) -> list[tuple[str, str, str]]:
        """Return id, transcript and text of up to `number` utterances, from short to long."""
        return [
            (self.utterances[index].id, self.utterances[index].transcript, texts[index])
            for index in self.evenly_spaced_by_length(number)
        ]

    def take(self, places: Sequence[int]) -> "SplitData":
        """Return a split of some of the utterances; their frames are not copied."""
        return replace(
            self,
            utterances=tuple(self.utterances[place] for place in places),
            labels=tuple(self.labels[place] for place in places),
            store=self.store.take(places),
        )


def plan_epoch(
    split: SplitData,
    settings: TrainSettings,
    epoch: int,
    is_feasible: FeasibilityTest,
    views: int = 1,
) -> list[Selection]:
    """Return the batches of an epoch of training.

    A batch holds its utterances `views` times, one view after the other, with masks of their own.
    """
    frame_index = augment.draw_frame_index(
        settings, epoch, split.stack, split.frame_counts, is_feasible
    )
    lengths = count_stacked_frames(frame_index.frames, split.stack)
    frames = np.tile(lengths * split.stack, views)
    masks = augment.draw_masks(settings, epoch, frames, split.store.bins)
    plan = []
    for update in order_updates(lengths, settings, epoch, split.stack):
        for places in update:
            shown = np.tile(places, views)
            own = shown + np.repeat(np.arange(views) * len(split), len(places))
            given = frame_index.take(shown), masks and masks.take(own), places is update[-1]
            plan.append(Selection(shown, *given))
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


def group_updates(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Yield the batches of one update after the other."""
    group = []
    for batch in batches:
        group.append(batch)
        if batch.ends_update:
            yield group
            group = []


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
