"""Augment: other utterances out of the same ones, at no cost in storage.

In:   train settings, an epoch; how long the utterances are, or a padded batch of them.
Out:  which stored frames an utterance shows (shift, tempo); stripes set to zero (SpecAugment).
Not here: who is in the batch (batches.py).

All draws belong to (seed, epoch, utterance), so that neither neighbours nor padding change them.
Widths count frames and bins as they are stored, before frames are joined by `input.stack`. A stripe
in time is at most a fifth of its utterance, because short commands would vanish.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from pipeline.config import TrainSettings

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
    def plain(cls, stored: Int64[np.ndarray, " U"]) -> "Timing":
        return cls(np.zeros_like(stored), np.ones(len(stored)), stored)

    def choose(self, places: Int64[np.ndarray, " B"]) -> "Timing":
        return Timing(self.first[places], self.pace[places], self.frames[places])


def timing(
    settings: TrainSettings, epoch: int, stack: int, stored: Int64[np.ndarray, " U"], fits: Fits
) -> Timing:
    """Where joining frames begins, and the pace, 1/(1 + tempo) to 1 + tempo.

    What would leave too few frames for the transcript is shown as it is.
    """
    u_U2 = np.random.default_rng([settings.seed, epoch, _TIMING]).random((len(stored), 2))
    first = (u_U2[:, 0] * stack).astype(np.int64) * settings.shift
    pace = (1 + settings.tempo) ** (2 * u_U2[:, 1] - 1)
    drawn, plain = Timing.of(first.clip(max=stored - 1), pace, stored), Timing.plain(stored)
    kept = fits(drawn.frames)
    return Timing(
        np.where(kept, drawn.first, plain.first),
        np.where(kept, drawn.pace, plain.pace),
        np.where(kept, drawn.frames, plain.frames),
    )


def draws(
    settings: TrainSettings, epoch: int, utterances: int
) -> Float64[np.ndarray, "U M 2"] | None:
    """Uniform numbers for the width and the place of each stripe, those in time first."""
    masks = settings.time_masks + settings.frequency_masks
    if not masks:
        return None
    return np.random.default_rng([settings.seed, epoch, _STRIPES]).random((utterances, masks, 2))


def masked(
    frames_BTF: Float[Tensor, "B T F"],
    lengths_B: Int[Tensor, " B"],
    draws_BM2: Float64[np.ndarray, "B M 2"],
    settings: TrainSettings,
    stack: int,
) -> Float[Tensor, "B T F"]:
    """Write zeros, which after normalisation is the mean, into the stripes, in place."""
    u_BM2 = torch.from_numpy(draws_BM2).to(frames_BTF.device)
    in_time, in_frequency = u_BM2[:, : settings.time_masks], u_BM2[:, settings.time_masks :]
    frames, bins = frames_BTF.shape[1] * stack, frames_BTF.shape[2] // stack
    single_BTF = frames_BTF.view(-1, frames, bins)  # as before they were joined
    lengths_B = lengths_B * stack
    widest_B = (lengths_B * LONGEST_SHARE).clamp(max=settings.time_mask_frames).floor()
    stripes_BT = _stripes(in_time, widest_B, lengths_B, frames)
    bins_B = torch.full_like(lengths_B, bins)
    widest_B = bins_B.clamp(max=settings.frequency_mask_bins)
    stripes_BF = _stripes(in_frequency, widest_B, bins_B, bins)
    single_BTF.mul_((~stripes_BT)[:, :, None].float())  # several times faster than masked_fill_
    single_BTF.mul_((~stripes_BF)[:, None, :].float())
    return frames_BTF


def _stripes(
    u_BM2: Float64[Tensor, "B M 2"],
    widest_B: Float[Tensor, " B"] | Int[Tensor, " B"],
    lengths_B: Int[Tensor, " B"],
    places: int,
) -> Bool[Tensor, "B P"]:
    """Whether a place is in any of the M stripes; a width is 0 … widest, all equally likely."""
    width_BM = (u_BM2[..., 0] * (widest_B[:, None] + 1)).floor()
    start_BM = (u_BM2[..., 1] * (lengths_B[:, None] - width_BM + 1)).floor()
    place = torch.arange(places, device=u_BM2.device)
    inside = (place >= start_BM[..., None]) & (place < (start_BM + width_BM)[..., None])
    return inside.any(1)
