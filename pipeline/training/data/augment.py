"""Augmentation: random shift and tempo, stretched frequencies, and SpecAugment masks.

In:   train settings, an epoch; the lengths of the utterances, or a padded batch of them.
Out:  which stored frames an utterance shows (shift, tempo); a batch whose frequencies are stretched
(Jaitly and Hinton, ICML workshop 2013); which values become zero (Park et al., arXiv:1904.08779).
Not here: which utterances make a batch (epoch_plan.py).

All draws depend on (seed, epoch, utterance) only, so neither other utterances nor padding change
them. Widths count stored frames and bins, before frames are stacked by `input.stack`. A time mask
covers at most a fifth of its utterance, because short commands would vanish otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.config.experiment import TrainSettings
from pipeline.shapes import Bool, Float, Float64, Int64

MAX_TIME_MASK_SHARE = 0.2  # of an utterance; p in Park et al. (2019)
# Other random numbers than the batch order.
_MASK_STREAM, _FRAME_INDEX_STREAM, _WARP_STREAM = 1, 2, 3

FeasibilityTest = Callable[[Int64[np.ndarray, " U"]], Bool[np.ndarray, " U"]]


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Frame t of an utterance is stored frame first_frame + floor(t * tempo_factor), t < frames."""

    first_frame: Int64[np.ndarray, " U"]
    tempo_factor: Float64[np.ndarray, " U"]
    frames: Int64[np.ndarray, " U"]

    @classmethod
    def of(
        cls,
        first_frame: Int64[np.ndarray, " U"],
        tempo_factor: Float64[np.ndarray, " U"],
        stored: Int64[np.ndarray, " U"],
    ) -> "FrameIndex":
        """Return the index with as many frames as the `stored` ones of each utterance allow."""
        frames = np.ceil((stored - first_frame) / tempo_factor).astype(np.int64)
        return cls(first_frame, tempo_factor, frames)

    @classmethod
    def identity(cls, stored: Int64[np.ndarray, " U"]) -> "FrameIndex":
        return cls(np.zeros_like(stored), np.ones(len(stored)), stored)

    def take(self, places: Int64[np.ndarray, " B"]) -> "FrameIndex":
        return FrameIndex(self.first_frame[places], self.tempo_factor[places], self.frames[places])

    @property
    def is_identity(self) -> Bool[np.ndarray, " U"]:
        """Whether each utterance shows its frames unchanged."""
        return np.asarray((self.first_frame == 0) & (self.tempo_factor == 1))

    def frame_indices(self, place: int, count: int, stored: int) -> Int64[np.ndarray, " T"]:
        """Return the stored frames that the first `count` frames of an utterance show."""
        steps = (np.arange(count) * self.tempo_factor[place]).astype(np.int64)
        return np.asarray((self.first_frame[place] + steps).clip(max=stored - 1))


def draw_frame_index(
    settings: TrainSettings,
    epoch: int,
    stack: int,
    frame_counts: Int64[np.ndarray, " U"],
    is_feasible: FeasibilityTest,
) -> FrameIndex:
    """Draw the first frame, below `stack`, and the tempo factor, 1/(1 + tempo) to 1 + tempo.

    An utterance that would have too few frames for its transcript is shown unchanged.
    """
    u_U2 = np.random.default_rng([settings.seed, epoch, _FRAME_INDEX_STREAM]).random(
        (len(frame_counts), 2)
    )
    first_frame = (u_U2[:, 0] * stack).astype(np.int64) * settings.shift
    tempo_factor = _draw_factor(u_U2[:, 1], settings.tempo)
    drawn, plain = (
        FrameIndex.of(first_frame.clip(max=frame_counts - 1), tempo_factor, frame_counts),
        FrameIndex.identity(frame_counts),
    )
    kept = is_feasible(drawn.frames)
    return FrameIndex(
        np.where(kept, drawn.first_frame, plain.first_frame),
        np.where(kept, drawn.tempo_factor, plain.tempo_factor),
        np.where(kept, drawn.frames, plain.frames),
    )


def draw_warp(
    settings: TrainSettings, epoch: int, utterances: int
) -> Float64[np.ndarray, " U"] | None:
    """Draw the factor of each utterance, 1/(1 + warp) to 1 + warp; None if no warp is set."""
    if not settings.frequency_warp:
        return None
    draw = np.random.default_rng([settings.seed, epoch, _WARP_STREAM])
    return _draw_factor(draw.random(utterances), settings.frequency_warp)


def warp_frequencies(
    frames_BTF: Float[Tensor, "B T F"],
    factor_B: Float64[np.ndarray, " B"],
    centres_hz: Float64[np.ndarray, " K"],
) -> Float[Tensor, "B T F"]:
    """Return frames in which a bin at f Hz shows what was at f times the factor.

    A value between two bins is interpolated; beyond the outermost bin its value is repeated. Each
    frame of a stack is stretched by itself.
    """
    bins = len(centres_hz)
    place_BK = np.interp(factor_B[:, None] * centres_hz, centres_hz, np.arange(bins))
    # Bin k shows a mean of the stored bins, weighted by triangles: a product of matrices.
    weight_BJK = 1 - np.abs(place_BK[:, None, :] - np.arange(bins)[:, None])
    weights = torch.from_numpy(weight_BJK.clip(min=0).astype(np.float32)).to(frames_BTF.device)
    return torch.bmm(frames_BTF.view(len(factor_B), -1, bins), weights).view_as(frames_BTF)


def _draw_factor(u_U: Float64[np.ndarray, " U"], largest: float) -> Float64[np.ndarray, " U"]:
    """Return factors from 1/(1 + largest) to 1 + largest, their logarithm evenly distributed."""
    return np.asarray((1 + largest) ** (2 * u_U - 1))


@dataclass(frozen=True, eq=False)
class SpecAugmentMasks:
    """Start and stop of the masked frames, and of the masked bins, of each utterance."""

    time: Int64[np.ndarray, "U M 2"]
    frequency: Int64[np.ndarray, "U K 2"]

    def take(self, places: Int64[np.ndarray, " B"]) -> "SpecAugmentMasks":
        return SpecAugmentMasks(self.time[places], self.frequency[places])


def draw_masks(
    settings: TrainSettings, epoch: int, frames: Int64[np.ndarray, " U"], bins: int
) -> SpecAugmentMasks | None:
    """Draw masks for utterances with these numbers of frames; None if no masks are set."""
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
    """Set the masked values to 0 in place; after normalisation 0 is the mean."""
    frames, bins = frames_BTF.shape[1] * stack, frames_BTF.shape[2] // stack
    single_BTF = frames_BTF.view(-1, frames, bins)  # as before stacking
    # Products, because masked_fill_ takes several times as long.
    single_BTF.mul_(_keep_mask(masks.time, frames, single_BTF)[:, :, None])
    single_BTF.mul_(_keep_mask(masks.frequency, bins, single_BTF)[:, None, :])
    return frames_BTF


def _draw_intervals(
    u_UM2: Float64[np.ndarray, "U M 2"],
    widest: Int64[np.ndarray, " U"],
    size: Int64[np.ndarray, " U"],
) -> Int64[np.ndarray, "U M 2"]:
    """Return start and stop of each interval, computed as in torchaudio's masks."""
    width_UM = u_UM2[..., 0] * widest[:, None]
    start_UM = (u_UM2[..., 1] * (size[:, None] - width_UM)).astype(np.int64)
    return np.stack([start_UM, start_UM + width_UM.astype(np.int64)], axis=2)


def _keep_mask(
    intervals_BM2: Int64[np.ndarray, "B M 2"], length: int, frames: Float[Tensor, "B T F"]
) -> Float[Tensor, "B P"]:
    """Return 0 inside the intervals, 1 outside."""
    start_BM, stop_BM = torch.from_numpy(intervals_BM2).to(frames.device).unbind(2)
    place = torch.arange(length, device=frames.device)
    inside = (place >= start_BM[..., None]) & (place < stop_BM[..., None])
    return (~inside.any(1)).to(frames.dtype)
