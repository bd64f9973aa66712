"""Padded frames for tests of layers."""

import torch
from torch import Tensor

LENGTHS = torch.tensor([7, 3, 5])


def frames(features: int = 4) -> Tensor:
    """Return padded frames; the padding holds random values, which no layer may read."""
    return torch.randn(3, 7, features) * 3 + 1
