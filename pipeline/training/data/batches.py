"""Batches: the utterances of a split, padded batches with their labels.

In:   a feature set, input settings, an alphabet.
Out:  `SplitData`; batches with their labels.
Not here: which utterances make a batch (epoch_plan.py), where frames are stored (frame_store.py),
when a batch is made (loader.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from pipeline.config.network import InputSettings
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.shapes import Bool, Float, Float32, Float64, Int64
from pipeline.training.data.augment import FrameIndex, SpecAugmentMasks
from pipeline.training.data.frame_store import FrameStore, MappedFrames, count_stacked_frames


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
    """The content of a batch: utterances, and all random changes of each.

    Nothing is random any more, so every process makes the same batch of it.
    """

    indices: Int64[np.ndarray, " B"]  # in the split
    frame_index: FrameIndex  # of these utterances
    warp: Float64[np.ndarray, " B"] | None = None  # factors of their frequencies
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


def group_updates(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Yield the batches of one update after the other."""
    group = []
    for batch in batches:
        group.append(batch)
        if batch.ends_update:
            yield group
            group = []
