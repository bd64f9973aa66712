"""Masks: which frames of a padded batch are valid, and how each utterance is reversed.

In:   true lengths, padded activations.   Out: masks, indices, reordered activations.
Not here: the layers that need them (normalisation.py, recurrent.py, convolution.py).
"""

import torch
from torch import Tensor

from pipeline.shapes import Bool, Float, Int


def make_valid_mask(lengths_B: Int[Tensor, " B"], max_length: int) -> Bool[Tensor, "B T"]:
    """Return True for each frame of an utterance, and False for its padding."""
    return torch.arange(max_length, device=lengths_B.device) < lengths_B[:, None]


def reversed_time_indices(lengths_B: Int[Tensor, " B"], max_length: int) -> Int[Tensor, "B T"]:
    """Return the indices that reverse each utterance and leave its padding last."""
    t = torch.arange(max_length, device=lengths_B.device)
    return torch.where(t < lengths_B[:, None], lengths_B[:, None] - 1 - t, t)


def reorder_time(
    x_BTF: Float[Tensor, "B T F"], order_BT: Int[Tensor, "B T"]
) -> Float[Tensor, "B T F"]:
    """Return the frames of each utterance in the order of these indices."""
    return x_BTF.gather(1, order_BT[:, :, None].expand_as(x_BTF))
