"""SpecAugment: stripes of an utterance set to zero, in time and in frequency.

In:   a padded batch, its true lengths, each utterance's draws.   Out: the batch with its stripes.
Not here: who is in the batch (batches.py).

The draws belong to (seed, epoch, utterance), so that neither neighbours nor padding move a stripe.
Widths count frames and bins as they are stored, before frames are joined by `input.stack`. A stripe
in time is at most a fifth of its utterance, because short commands would vanish.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from pipeline.config import TrainSettings

LONGEST_SHARE = 0.2  # of an utterance; p in Park et al. (2019)
_PURPOSE = 1  # keeps these draws apart from those of the batch order


def draws(
    settings: TrainSettings, epoch: int, utterances: int
) -> Float64[np.ndarray, "U M 2"] | None:
    """Uniform numbers for the width and the place of each stripe, those in time first."""
    masks = settings.time_masks + settings.frequency_masks
    if not masks:
        return None
    return np.random.default_rng([settings.seed, epoch, _PURPOSE]).random((utterances, masks, 2))


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
    single_BTF.masked_fill_(stripes_BT[:, :, None], 0.0)
    single_BTF.masked_fill_(stripes_BF[:, None, :], 0.0)
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
