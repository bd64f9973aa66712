"""Frame store: where the frames of a split are, and how a padded batch is gathered.

In:   a feature set, input settings; indices of utterances, which frames of each to show.
Out:  normalised frames, stacked and padded with zeros.
Not here: which utterances make a batch (epoch_plan.py), which process gathers it (loader.py).

`ResidentFrames` were normalised once and are on a device or in memory. `MappedFrames` stay in the
shards, which each process maps for itself: no file stays open, and memory holds only the pages that
the system caches. Both give the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.config.network import InputSettings
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.shapes import Float32, Float64, Int64
from pipeline.training.data.augment import FrameIndex
from pipeline.training.data.normalisation import Normaliser, make_normaliser


@dataclass(frozen=True, eq=False)
class MappedFrames:
    """Frames in the shards, normalised each time they are read."""

    features: FeatureSet
    utterances: tuple[StoredUtterance, ...]
    normalise: Normaliser
    stack: int

    @classmethod
    def of(
        cls, features: FeatureSet, utterances: Sequence[StoredUtterance], settings: InputSettings
    ) -> "MappedFrames":
        normalise = make_normaliser(settings, features, utterances)
        return cls(features, tuple(utterances), normalise, settings.stack)

    @property
    def bins(self) -> int:
        return self.features.bins

    @cached_property
    def centres_hz(self) -> Float64[np.ndarray, " F"]:
        """Centre of each bin."""
        return np.array(self.features.settings.centres_hz)

    @cached_property
    def frame_counts(self) -> Int64[np.ndarray, " U"]:
        """Stored frames of each utterance."""
        return np.array([utterance.frames for utterance in self.utterances], np.int64)

    def gather(
        self, places: Int64[np.ndarray, " B"], frame_index: FrameIndex
    ) -> Float32[Tensor, "B T F"]:
        """Return the frames of these utterances; `frame_index` is theirs, in the same order."""
        lengths = count_stacked_frames(frame_index.frames, self.stack) * self.stack
        frames_BTF = np.empty((len(places), int(lengths.max()), self.bins), np.float32)
        plain = frame_index.is_identity.tolist()
        for b, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
            frames_TF = frames_BTF[b]
            if plain[b]:
                stored = self._read_normalised(place, frames_TF)
                frames_TF[stored:length] = frames_TF[stored - 1]
            else:
                self._read_indexed(place, frame_index, b, frames_TF[:length])
            frames_TF[length:] = 0
        return torch.from_numpy(frames_BTF).view(len(places), -1, self.stack * self.bins)

    def _read_indexed(
        self, place: int, frame_index: FrameIndex, b: int, frames_TF: Float32[np.ndarray, "T F"]
    ) -> None:
        stored = self.utterances[place].frames
        whole_TF = np.empty((stored, self.bins), np.float32)
        self._read_normalised(place, whole_TF)
        whole_TF.take(frame_index.frame_indices(b, len(frames_TF), stored), 0, frames_TF, "clip")

    def _read_normalised(self, place: int, frames_TF: Float32[np.ndarray, "T F"]) -> int:
        """Write the normalised frames to the start of `frames_TF`; return their number."""
        utterance = self.utterances[place]
        stored_TF = self.features.frames(utterance)
        self.normalise(utterance, stored_TF, frames_TF[: len(stored_TF)])
        return len(stored_TF)

    def take(self, places: Sequence[int]) -> "MappedFrames":
        return replace(self, utterances=tuple(self.utterances[place] for place in places))

    def to_resident(self, device: torch.device) -> "ResidentFrames":
        """Read and normalise all frames once, one utterance at a time.

        A GPU may have more free memory than this machine.
        """
        ends = self.frame_counts.cumsum()
        frames = torch.zeros(int(self.frame_counts.sum()) + 1, self.bins, device=device)
        for place, (end, stored) in enumerate(zip(ends, self.frame_counts, strict=True)):
            read = np.empty((stored, self.bins), np.float32)
            self._read_normalised(place, read)
            frames[end - stored : end].copy_(torch.from_numpy(read))
        starts = ends - self.frame_counts
        return ResidentFrames(frames, starts, self.frame_counts, self.stack, self.centres_hz)


@dataclass(frozen=True, eq=False)
class ResidentFrames:
    """Normalised frames of all utterances, concatenated."""

    frames: Float32[Tensor, "N F"] = field(repr=False)  # the last row is zero: the padding
    starts: Int64[np.ndarray, " U"]  # rows of `frames`
    frame_counts: Int64[np.ndarray, " U"]  # how many rows each utterance has
    stack: int
    centres_hz: Float64[np.ndarray, " F"]  # centre of each bin

    @property
    def bins(self) -> int:
        return self.frames.shape[1]

    def gather(
        self, places: Int64[np.ndarray, " B"], frame_index: FrameIndex
    ) -> Float32[Tensor, "B T F"]:
        """Return the frames of these utterances; `frame_index` is theirs, in the same order.

        One index_select, on the device of the frames.
        """
        lengths = count_stacked_frames(frame_index.frames, self.stack) * self.stack
        t = np.arange(lengths.max())
        shown_BT = frame_index.first_frame[:, None] + (
            t * frame_index.tempo_factor[:, None]
        ).astype(np.int64)
        rows_BT = self.starts[places, None] + np.minimum(
            shown_BT, self.frame_counts[places, None] - 1
        )
        rows_BT[t >= lengths[:, None]] = len(self.frames) - 1
        rows = torch.from_numpy(rows_BT.ravel()).to(self.frames.device)
        return self.frames.index_select(0, rows).view(len(places), -1, self.stack * self.bins)

    def take(self, places: Sequence[int]) -> "ResidentFrames":
        """Return a store of some of the utterances, without copying frames."""
        chosen = list(places)
        return replace(self, starts=self.starts[chosen], frame_counts=self.frame_counts[chosen])


FrameStore = MappedFrames | ResidentFrames


def resident_bytes(features: FeatureSet) -> int:
    """Return the memory that all splits take as ResidentFrames."""
    rows = sum(utterance.frames for utterance in features.utterances)
    return rows * features.bins * np.dtype(np.float32).itemsize


def count_stacked_frames(frames: Int64[np.ndarray, " U"], stack: int) -> Int64[np.ndarray, " U"]:
    """Return the frames after stacking: the last one is filled by repeating the last frame."""
    return -(-frames // stack)
