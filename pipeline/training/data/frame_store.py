"""Store: where the frames of a split lie, and how a padded batch is gathered there.

In:   a feature set, input settings; places in a split, which frames of each to show.
Out:  normalised frames, joined and padded with zeros.
Not here: who is in a batch (batches.py), when it is gathered and by whom (feed.py).

`Resident` frames were normalised once and lie on a device or in memory. `Mapped` ones lie in the
shards, and each process maps those for itself: no handle stays open, and nothing is held but the
pages that the system keeps. Both give the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.config.experiment import InputSettings
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.shapes import Float32, Int64
from pipeline.training.data.augment import Timing
from pipeline.training.data.normalisation import Normalise, normaliser


@dataclass(frozen=True, eq=False)
class Mapped:
    """Frames in the shards, normalised each time that they are shown."""

    features: FeatureSet
    utterances: tuple[StoredUtterance, ...]
    normalise: Normalise
    stack: int

    @classmethod
    def of(
        cls, features: FeatureSet, utterances: Sequence[StoredUtterance], settings: InputSettings
    ) -> "Mapped":
        normalise = normaliser(settings, features, utterances)
        return cls(features, tuple(utterances), normalise, settings.stack)

    @property
    def bins(self) -> int:
        return self.features.bins

    @cached_property
    def stored(self) -> Int64[np.ndarray, " U"]:
        """How many frames each utterance has."""
        return np.array([utterance.frames for utterance in self.utterances], np.int64)

    def gather(self, places: Int64[np.ndarray, " B"], timing: Timing) -> Float32[Tensor, "B T F"]:
        """`timing` is that of these places."""
        lengths = joined(timing.frames, self.stack) * self.stack
        frames_BTF = np.empty((len(places), int(lengths.max()), self.bins), np.float32)
        plain = timing.plain.tolist()
        for b, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
            frames_TF = frames_BTF[b]
            if plain[b]:
                stored = self._read(place, frames_TF)
                frames_TF[stored:length] = frames_TF[stored - 1]
            else:
                self._show(place, timing, b, frames_TF[:length])
            frames_TF[length:] = 0
        return torch.from_numpy(frames_BTF).view(len(places), -1, self.stack * self.bins)

    def _show(
        self, place: int, timing: Timing, b: int, frames_TF: Float32[np.ndarray, "T F"]
    ) -> None:
        stored = self.utterances[place].frames
        whole_TF = np.empty((stored, self.bins), np.float32)
        self._read(place, whole_TF)
        whole_TF.take(timing.shown(b, len(frames_TF), stored), 0, frames_TF, "clip")

    def _read(self, place: int, frames_TF: Float32[np.ndarray, "T F"]) -> int:
        """Normalised into the first of `frames_TF`; how many there are."""
        utterance = self.utterances[place]
        stored_TF = self.features.frames(utterance)
        self.normalise(utterance, stored_TF, frames_TF[: len(stored_TF)])
        return len(stored_TF)

    def choose(self, places: Sequence[int]) -> "Mapped":
        return replace(self, utterances=tuple(self.utterances[place] for place in places))

    def resident(self, device: torch.device) -> "Resident":
        """Read and normalise all of it, once: a GPU may have room for more than this memory."""
        ends = self.stored.cumsum()
        frames = torch.zeros(int(self.stored.sum()) + 1, self.bins, device=device)
        for place, (end, stored) in enumerate(zip(ends, self.stored, strict=True)):
            read = np.empty((stored, self.bins), np.float32)
            self._read(place, read)
            frames[end - stored : end].copy_(torch.from_numpy(read))
        return Resident(frames, ends - self.stored, self.stored, self.stack)


@dataclass(frozen=True, eq=False)
class Resident:
    """Normalised frames, one utterance after the other."""

    frames: Float32[Tensor, "N F"] = field(repr=False)  # the last row is zero: the padding
    starts: Int64[np.ndarray, " U"]  # rows of `frames`
    stored: Int64[np.ndarray, " U"]  # how many rows each utterance has
    stack: int

    @property
    def bins(self) -> int:
        return self.frames.shape[1]

    def gather(self, places: Int64[np.ndarray, " B"], timing: Timing) -> Float32[Tensor, "B T F"]:
        """By index arithmetic where the frames lie; `timing` is that of these places."""
        lengths = joined(timing.frames, self.stack) * self.stack
        t = np.arange(lengths.max())
        shown_BT = timing.first[:, None] + (t * timing.pace[:, None]).astype(np.int64)
        rows_BT = self.starts[places, None] + np.minimum(shown_BT, self.stored[places, None] - 1)
        rows_BT[t >= lengths[:, None]] = len(self.frames) - 1
        rows = torch.from_numpy(rows_BT.ravel()).to(self.frames.device)
        return self.frames.index_select(0, rows).view(len(places), -1, self.stack * self.bins)

    def choose(self, places: Sequence[int]) -> "Resident":
        """The frames stay where they are."""
        chosen = list(places)
        return replace(self, starts=self.starts[chosen], stored=self.stored[chosen])


Store = Mapped | Resident


def resident_bytes(features: FeatureSet) -> int:
    """What all of its splits take, once they are resident."""
    rows = sum(utterance.frames for utterance in features.utterances)
    return rows * features.bins * np.dtype(np.float32).itemsize


def joined(frames: Int64[np.ndarray, " U"], stack: int) -> Int64[np.ndarray, " U"]:
    """`stack` neighbours make one frame; the last frame is repeated to fill the last one."""
    return -(-frames // stack)
