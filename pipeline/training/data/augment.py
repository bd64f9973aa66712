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

LONGEST_SHARE = 0.2  # of an utterance; p in Park et al. (2019)
_STRIPES, _TIMING = 1, 2  # keep these draws apart from those of the batch order

Fits = Callable[[Int64[np.ndarray, " U"]], Bool[np.ndarray, " U"]]


@dataclass(frozen=True, eq=False)
class Timing:
    """Place t of an utterance shows stored frame first + floor(t * pace), for t < frames."""

    first: Int64[np.ndarray, " U"]
    pace: Float64[np.ndarray, " U"]
    frames: Int64[np.ndarray, " U"]

    @classmethod
    def of(
        cls,
        first: Int64[np.ndarray, " U"],
        pace: Float64[np.ndarray, " U"],
        stored: Int64[np.ndarray, " U"],
    ) -> "Timing":
        """All that the stored frames allow."""
        return cls(first, pace, np.ceil((stored - first) / pace).astype(np.int64))

    @classmethod
    def as_stored(cls, stored: Int64[np.ndarray, " U"]) -> "Timing":
        return cls(np.zeros_like(stored), np.ones(len(stored)), stored)

    def choose(self, places: Int64[np.ndarray, " B"]) -> "Timing":
        return Timing(self.first[places], self.pace[places], self.frames[places])

    @property
    def plain(self) -> Bool[np.ndarray, " U"]:
        """Which utterances show their frames as they are stored."""
        return np.asarray((self.first == 0) & (self.pace == 1))

    def shown(self, place: int, count: int, stored: int) -> Int64[np.ndarray, " T"]:
        """The first `count` frames that an utterance shows of its `stored` ones."""
        steps = (np.arange(count) * self.pace[place]).astype(np.int64)
        return np.asarray((self.first[place] + steps).clip(max=stored - 1))


def timing(
    settings: TrainSettings, epoch: int, stack: int, stored: Int64[np.ndarray, " U"], fits: Fits
) -> Timing:
    """Where joining frames begins, and the pace, 1/(1 + tempo) to 1 + tempo.

    What would leave too few frames for the transcript is shown as it is.
    """
    u_U2 = np.random.default_rng([settings.seed, epoch, _TIMING]).random((len(stored), 2))
    first = (u_U2[:, 0] * stack).astype(np.int64) * settings.shift
    pace = (1 + settings.tempo) ** (2 * u_U2[:, 1] - 1)
    drawn, plain = Timing.of(first.clip(max=stored - 1), pace, stored), Timing.as_stored(stored)
    kept = fits(drawn.frames)
    return Timing(
        np.where(kept, drawn.first, plain.first),
        np.where(kept, drawn.pace, plain.pace),
        np.where(kept, drawn.frames, plain.frames),
    )


@dataclass(frozen=True, eq=False)
class Stripes:
    """First and last + 1 of the frames, and of the bins, that an utterance does not show."""

    time: Int64[np.ndarray, "U M 2"]
    frequency: Int64[np.ndarray, "U K 2"]

    def choose(self, places: Int64[np.ndarray, " B"]) -> "Stripes":
        return Stripes(self.time[places], self.frequency[places])


def stripes(
    settings: TrainSettings, epoch: int, frames: Int64[np.ndarray, " U"], bins: int
) -> Stripes | None:
    """Of utterances that show so many `frames`. None: nothing is to be masked."""
    masks = settings.time_masks + settings.frequency_masks
    if not masks:
        return None
    u_UM2 = np.random.default_rng([settings.seed, epoch, _STRIPES]).random((len(frames), masks, 2))
    widest = np.minimum(frames * LONGEST_SHARE, settings.time_mask_frames).astype(np.int64)
    time = _stripes(u_UM2[:, : settings.time_masks], widest, frames)
    every_bin = np.full_like(frames, bins)
    widest = every_bin.clip(max=settings.frequency_mask_bins)
    return Stripes(time, _stripes(u_UM2[:, settings.time_masks :], widest, every_bin))


def masked(
    frames_BTF: Float[Tensor, "B T F"], stripes: Stripes, stack: int
) -> Float[Tensor, "B T F"]:
    """Write zeros, which after normalisation is the mean, into the stripes, in place."""
    frames, bins = frames_BTF.shape[1] * stack, frames_BTF.shape[2] // stack
    single_BTF = frames_BTF.view(-1, frames, bins)  # as before they were joined
    # Products, because masked_fill_ takes several times as long.
    single_BTF.mul_(_shown(stripes.time, frames, single_BTF)[:, :, None])
    single_BTF.mul_(_shown(stripes.frequency, bins, single_BTF)[:, None, :])
    return frames_BTF


def _stripes(
    u_UM2: Float64[np.ndarray, "U M 2"],
    widest: Int64[np.ndarray, " U"],
    room: Int64[np.ndarray, " U"],
) -> Int64[np.ndarray, "U M 2"]:
    """A width below the widest, a place that leaves it in the room: torchaudio's arithmetic."""
    width_UM = u_UM2[..., 0] * widest[:, None]
    start_UM = (u_UM2[..., 1] * (room[:, None] - width_UM)).astype(np.int64)
    return np.stack([start_UM, start_UM + width_UM.astype(np.int64)], axis=2)


def _shown(
    stripes_BM2: Int64[np.ndarray, "B M 2"], places: int, frames: Float[Tensor, "B T F"]
) -> Float[Tensor, "B P"]:
    """0 in the stripes, 1 beside them."""
    start_BM, stop_BM = torch.from_numpy(stripes_BM2).to(frames.device).unbind(2)
    place = torch.arange(places, device=frames.device)
    inside = (place >= start_BM[..., None]) & (place < stop_BM[..., None])
    return (~inside.any(1)).to(frames.dtype)
