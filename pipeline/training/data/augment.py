"""Augment: other utterances out of the same ones, at no cost in storage.

In:   train settings, an epoch; how long the utterances are, or a padded batch of them.
Out:  which stored frames an utterance shows (shift, tempo); which are set to zero (SpecAugment).
Not here: who is in the batch (batches.py).

All draws belong to (seed, epoch, utterance), so that neither neighbours nor padding change them.
Widths count frames and bins as they are stored, before frames are joined by `input.stack`. A stripe
in time is at most a fifth of its utterance, because short commands would vanish.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.config.experiment import TrainSettings
from pipeline.shapes import Bool, Float, Float64, Int64

MAX_TIME_MASK_SHARE = 0.2  # of an utterance; p in Park et al. (2019)
_MASK_STREAM, _FRAME_INDEX_STREAM = 1, 2  # keep these draws apart from those of the batch order

FeasibilityTest = Callable[[Int64[np.ndarray, " U"]], Bool[np.ndarray, " U"]]


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Place t of an utterance shows stored frame first + floor(t * pace), for t < frames."""

    first_frame: Int64[np.ndarray, " U"]
    tempo_factor: Float64[np.ndarray, " U"]
    frames: Int64[np.ndarray, " U"]

    @classmethod
    def of(
        cls,
        first: Int64[np.ndarray, " U"],
        pace: Float64[np.ndarray, " U"],
        stored: Int64[np.ndarray, " U"],
    ) -> "FrameIndex":
        """All that the stored frames allow."""
        return cls(first, pace, np.ceil((stored - first) / pace).astype(np.int64))

    @classmethod
    def identity(cls, stored: Int64[np.ndarray, " U"]) -> "FrameIndex":
        return cls(np.zeros_like(stored), np.ones(len(stored)), stored)

    def take(self, places: Int64[np.ndarray, " B"]) -> "FrameIndex":
        return FrameIndex(self.first_frame[places], self.tempo_factor[places], self.frames[places])

    @property
    def is_identity(self) -> Bool[np.ndarray, " U"]:
        """Which utterances show their frames as they are stored."""
        return np.asarray((self.first_frame == 0) & (self.tempo_factor == 1))

    def frame_indices(self, place: int, count: int, stored: int) -> Int64[np.ndarray, " T"]:
        """The first `count` frames that an utterance shows of its `stored` ones."""
        steps = (np.arange(count) * self.tempo_factor[place]).astype(np.int64)
        return np.asarray((self.first_frame[place] + steps).clip(max=stored - 1))


def draw_frame_index(
    settings: TrainSettings,
    epoch: int,
    stack: int,
    frame_counts: Int64[np.ndarray, " U"],
    is_feasible: FeasibilityTest,
) -> FrameIndex:
    """Where joining frames begins, and the pace, 1/(1 + tempo) to 1 + tempo.

    What would leave too few frames for the transcript is shown as it is.
    """
    u_U2 = np.random.default_rng([settings.seed, epoch, _FRAME_INDEX_STREAM]).random(
        (len(frame_counts), 2)
    )
    first = (u_U2[:, 0] * stack).astype(np.int64) * settings.shift
    pace = (1 + settings.tempo) ** (2 * u_U2[:, 1] - 1)
    drawn, plain = (
        FrameIndex.of(first.clip(max=frame_counts - 1), pace, frame_counts),
        FrameIndex.identity(frame_counts),
    )
    kept = is_feasible(drawn.frames)
    return FrameIndex(
        np.where(kept, drawn.first_frame, plain.first_frame),
        np.where(kept, drawn.tempo_factor, plain.tempo_factor),
        np.where(kept, drawn.frames, plain.frames),
    )


@dataclass(frozen=True, eq=False)
class SpecAugmentMasks:
    """First and last + 1 of the frames, and of the bins, that an utterance does not show."""

    time: Int64[np.ndarray, "U M 2"]
    frequency: Int64[np.ndarray, "U K 2"]

    def take(self, places: Int64[np.ndarray, " B"]) -> "SpecAugmentMasks":
        return SpecAugmentMasks(self.time[places], self.frequency[places])


def draw_masks(
    settings: TrainSettings, epoch: int, frames: Int64[np.ndarray, " U"], bins: int
) -> SpecAugmentMasks | None:
    """Of utterances that show so many `frames`. None: nothing is to be masked."""
    masks = settings.time_masks + settings.frequency_masks
    if not masks:
        return None
    u_UM2 = np.random.default_rng([settings.seed, epoch, _MASK_STREAM]).random(
        (len(frames), masks, 2)
    )
    widest = np.minimum(frames * MAX_TIME_MASK_SHARE, settings.time_mask_frames).astype(np.int64)
    time = _draw_intervals(u_UM2[:, : settings.time_masks], widest, frames)
    every_bin = np.full_like(frames, bins)
    widest = every_bin.clip(max=settings.frequency_mask_bins)
    return SpecAugmentMasks(
        time, _draw_intervals(u_UM2[:, settings.time_masks :], widest, every_bin)
    )


def apply_masks(
    frames_BTF: Float[Tensor, "B T F"], masks: SpecAugmentMasks, stack: int
) -> Float[Tensor, "B T F"]:
    """Write zeros, which after normalisation is the mean, into the stripes, in place."""
    frames, bins = frames_BTF.shape[1] * stack, frames_BTF.shape[2] // stack
    single_BTF = frames_BTF.view(-1, frames, bins)  # as before they were joined
    # Products, because masked_fill_ takes several times as long.
    single_BTF.mul_(_keep_mask(masks.time, frames, single_BTF)[:, :, None])
    single_BTF.mul_(_keep_mask(masks.frequency, bins, single_BTF)[:, None, :])
    return frames_BTF


def _draw_intervals(
    u_UM2: Float64[np.ndarray, "U M 2"],
    widest: Int64[np.ndarray, " U"],
    size: Int64[np.ndarray, " U"],
) -> Int64[np.ndarray, "U M 2"]:
    """A width below the widest, a place that leaves it in the room: torchaudio's arithmetic."""
    width_UM = u_UM2[..., 0] * widest[:, None]
    start_UM = (u_UM2[..., 1] * (size[:, None] - width_UM)).astype(np.int64)
    return np.stack([start_UM, start_UM + width_UM.astype(np.int64)], axis=2)


def _keep_mask(
    intervals_BM2: Int64[np.ndarray, "B M 2"], length: int, frames: Float[Tensor, "B T F"]
) -> Float[Tensor, "B P"]:
    """0 in the stripes, 1 beside them."""
    start_BM, stop_BM = torch.from_numpy(intervals_BM2).to(frames.device).unbind(2)
    place = torch.arange(length, device=frames.device)
    inside = (place >= start_BM[..., None]) & (place < stop_BM[..., None])
    return (~inside.any(1)).to(frames.dtype)
