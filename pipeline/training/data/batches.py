"""Batches: a split and its utterances; who sits with whom; padded batches.

In:   a feature set, input settings, an alphabet.
Out:  `Split`; the order of an epoch; batches with their labels.
Not here: where frames lie (store.py), when a batch is made (feed.py), what is changed at random
(augment.py).

All order derives from (seed, epoch), all that is random in an utterance from (seed, epoch, its
place): a `Selection` says it all, so that whoever makes its batch makes the same one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from pipeline.config.experiment import InputSettings, TrainSettings
from pipeline.corpus.text import Alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.shapes import Bool, Float, Float32, Int64
from pipeline.training.data import augment
from pipeline.training.data.augment import Fits, Stripes, Timing
from pipeline.training.data.frame_store import Mapped, Store, joined


def largest(frames_BTF: Float[Tensor, "B T F"]) -> float:
    """The largest |z| of the input; nan or infinite if one of them is."""
    low, high = frames_BTF.aminmax()
    return float(torch.maximum(-low, high))


def finite(frames_BTF: Float[Tensor, "B T F"]) -> Bool[np.ndarray, " B"]:
    """Which utterances of a batch hold finite numbers only."""
    whole: np.ndarray = frames_BTF.isfinite().all(dim=(1, 2)).cpu().numpy()
    return whole


BUCKET = 2  # batches in a bucket of similar lengths: 4 % padding on AN4, random order has 47 %
_PURPOSE = 0  # keeps the order's draws apart from those of the masks


@dataclass(frozen=True, eq=False)
class Batch:
    utterances: tuple[StoredUtterance, ...]
    places: Int64[np.ndarray, " B"]  # of the utterances in the split
    frames: Float32[Tensor, "B T F"]  # joined; zero in the padding
    lengths: Int64[Tensor, " B"]
    targets: Int64[Tensor, " L"]  # one utterance after the other
    target_lengths: Int64[Tensor, " B"]
    largest: float  # |z| of the frames; no finite number if one of them is none

    def choose(self, kept: Sequence[int]) -> "Batch":
        """Some of its utterances, in as much padding as before."""
        targets = torch.split(self.targets, self.target_lengths.tolist())
        frames = self.frames[list(kept)]
        return Batch(
            utterances=tuple(self.utterances[b] for b in kept),
            places=self.places[list(kept)],
            frames=frames,
            lengths=self.lengths[list(kept)],
            targets=torch.cat([targets[b] for b in kept]),
            target_lengths=self.target_lengths[list(kept)],
            largest=largest(frames),
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """What a batch is to show."""

    places: Int64[np.ndarray, " B"]  # in the split
    timing: Timing  # of these places
    stripes: Stripes | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """The utterances of one split, and the store that holds their frames."""

    name: str
    utterances: tuple[StoredUtterance, ...]
    labels: tuple[tuple[int, ...], ...]
    store: Store
    stack: int

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def stored(self) -> Int64[np.ndarray, " U"]:
        """How many frames each utterance has."""
        return self.store.stored

    @property
    def lengths(self) -> Int64[np.ndarray, " U"]:
        """Of the utterances, once their frames are joined."""
        return joined(self.stored, self.stack)

    @classmethod
    def mapped(
        cls, features: FeatureSet, name: str, settings: InputSettings, alphabet: Alphabet
    ) -> "Split":
        """Frames stay in the shards."""
        utterances = tuple(u for u in features.utterances if u.split == name)
        labels = tuple(tuple(alphabet.encode(u.transcript)) for u in utterances)
        store = Mapped.of(features, utterances, settings)
        return cls(name, utterances, labels, store, settings.stack)

    def resident(self, device: torch.device) -> "Split":
        """The same with its frames on the device."""
        store = self.store.resident(device) if isinstance(self.store, Mapped) else self.store
        return replace(self, store=store)

    def select(self, places: Int64[np.ndarray, " B"], timing: Timing | None = None) -> Selection:
        """`timing` is that of the whole split."""
        if timing is None:
            return Selection(places, Timing.as_stored(self.stored[places]))
        return Selection(places, timing.choose(places))

    def batch(self, places: Int64[np.ndarray, " B"], timing: Timing | None = None) -> Batch:
        selection = self.select(places, timing)
        return self.labelled(selection, self.store.gather(places, selection.timing))

    def labelled(self, selection: Selection, frames: Float32[Tensor, "B T F"]) -> Batch:
        """Frames that show the selection, with all that belongs to them, on their device."""
        places, device = selection.places, frames.device
        labels = [self.labels[place] for place in places]
        targets = np.fromiter(chain.from_iterable(labels), np.int64)
        return Batch(
            utterances=tuple(self.utterances[place] for place in places),
            places=places,
            frames=frames,
            lengths=torch.from_numpy(joined(selection.timing.frames, self.stack)).to(device),
            targets=torch.from_numpy(targets).to(device),
            target_lengths=torch.tensor([len(one) for one in labels], device=device),
            largest=largest(frames),
        )

    def typical(self, number: int) -> list[int]:
        """Places of so many utterances, evenly spread over the lengths; fewer where there are not.

        They depend on the split alone.
        """
        ascending = np.argsort(self.stored, kind="stable")
        spread = (2 * np.arange(number) + 1) * len(ascending) // (2 * number)
        return [int(place) for place in ascending[np.unique(spread)]]

    def choose(self, places: Sequence[int]) -> "Split":
        """Some of the utterances; their frames stay where they are."""
        return replace(
            self,
            utterances=tuple(self.utterances[place] for place in places),
            labels=tuple(self.labels[place] for place in places),
            store=self.store.choose(places),
        )


def selections(split: Split, settings: TrainSettings, epoch: int, fits: Fits) -> list[Selection]:
    """An epoch of training."""
    timing = augment.timing(settings, epoch, split.stack, split.stored, fits)
    lengths = joined(timing.frames, split.stack)
    stripes = augment.stripes(settings, epoch, lengths * split.stack, split.store.bins)
    return [
        Selection(places, timing.choose(places), stripes and stripes.choose(places))
        for places in order(lengths, settings, epoch, split.stack)
    ]


def updates(split: Split, settings: TrainSettings, fits: Fits) -> int:
    """Of the whole training; batches by frames differ in number from epoch to epoch."""
    if settings.batch_frames is None:
        return settings.epochs * -(-len(split) // settings.batch)
    epochs = range(1, settings.epochs + 1)
    return sum(len(selections(split, settings, epoch, fits)) for epoch in epochs)


def order(
    lengths: Int64[np.ndarray, " U"], settings: TrainSettings, epoch: int, stack: int = 1
) -> list[Int64[np.ndarray, " B"]]:
    """The batches of an epoch, as places in the split; epochs count from 1.

    `lengths` are those of joined frames: each is `stack` frames for `batch_frames`.
    """
    limits = _Limits(lengths * stack, settings)
    ascending = np.argsort(lengths, kind="stable")
    if settings.order == "sorted" or epoch <= settings.sortagrad_epochs:
        return limits.cut(ascending)
    if settings.order == "reversed":
        return limits.cut(ascending[::-1])
    draw = np.random.default_rng([settings.seed, epoch, _PURPOSE])
    if settings.order == "random":
        return limits.cut(draw.permutation(len(lengths)))
    size = BUCKET * limits.typical
    # The first bucket is cut short by chance, so that the borders move from epoch to epoch.
    borders = np.arange(draw.integers(1, size + 1), len(lengths), size)
    buckets = [draw.permutation(bucket) for bucket in np.split(ascending, borders)]
    batches = limits.cut(np.concatenate(buckets))
    return [batches[b] for b in draw.permutation(len(batches))]


@dataclass(frozen=True)
class _Limits:
    """How much a batch may hold: so many utterances, and so many frames with their padding."""

    frames: Int64[np.ndarray, " U"]  # of each utterance
    settings: TrainSettings

    @property
    def typical(self) -> int:
        """Utterances of a batch of the mean length."""
        batch, most = self.settings.batch, self.settings.batch_frames
        if most is None or not len(self.frames):
            return batch
        return max(1, min(batch, int(most / self.frames.mean())))

    def cut(self, utterances: Int64[np.ndarray, " U"]) -> list[Int64[np.ndarray, " B"]]:
        """A batch takes the next utterance as long as it fits; one too long for any is alone."""
        batch, most = self.settings.batch, self.settings.batch_frames or math.inf
        starts, longest = [0], 0
        for place, frames in enumerate(self.frames[utterances].tolist()):
            count, longest = place - starts[-1], max(longest, frames)
            if count == batch or (count and (count + 1) * longest > most):
                starts.append(place)
                longest = frames
        return np.split(utterances, starts[1:]) if len(utterances) else []
