"""Health: what the outputs of a network look like, beyond being right or wrong.

In:   logits (B, S, C), true lengths; activations at the clamp's ends.
Out:  `Health`, sums over valid steps that add up over batches; shares, divided last.
Not here: what the numbers mean (escape.py).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from pipeline.corpus.text import BLANK
from pipeline.training.layers import valid

_SCALARS = 6  # of a Health, before the probabilities


@dataclass(frozen=True, eq=False)
class Health:
    sums: Float64[np.ndarray, " V"]  # steps, blank argmax, entropy, activations…, probabilities…

    @classmethod
    def empty(cls, classes: int) -> "Health":
        return cls(np.zeros(_SCALARS + classes))

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        logits_BSC: Float[Tensor, "B S C"],
        lengths_B: Int[Tensor, " B"],
        activations: Float[Tensor, "3"],
    ) -> "Health":
        logits = logits_BSC[valid(lengths_B, logits_BSC.shape[1])].float()
        logs = logits.log_softmax(-1)
        probabilities = logs.exp()
        sums = torch.cat(
            [
                lengths_B.sum()[None],
                (logits.argmax(-1) == BLANK).sum()[None],
                -(probabilities * logs).sum(dtype=torch.float64)[None],
                activations,
                probabilities.sum(0, dtype=torch.float64),
            ]
        )
        return cls(sums.double().cpu().numpy())

    def __add__(self, other: "Health") -> "Health":
        return Health(self.sums + other.sums)

    @property
    def blank_argmax(self) -> float:
        """Share of steps whose most probable class is the blank: 1 on the plateau."""
        return self._per_step(self.sums[1])

    @property
    def blank_posterior(self) -> float:
        return self._per_step(self._probabilities[BLANK])

    @property
    def input_dependence(self) -> float:
        """H(mean p) - mean H(p), nats: 0 where every step has the same output."""
        if not self.sums[0]:
            return math.nan
        mean = self._probabilities / self._probabilities.sum()
        entropy = -float((mean * np.log(np.maximum(mean, 1e-300))).sum())
        return max(entropy - self._per_step(self.sums[2]), 0.0)

    @property
    def at_zero(self) -> float:
        """Share of activations that a ReLU holds at zero."""
        return self._per_activation(self.sums[4])

    @property
    def at_ceiling(self) -> float:
        """Share of activations at the clamp, where no gradient passes."""
        return self._per_activation(self.sums[5])

    @property
    def _probabilities(self) -> Float64[np.ndarray, " C"]:
        return self.sums[_SCALARS:]

    def _per_step(self, total: float) -> float:
        return float(total / self.sums[0]) if self.sums[0] else math.nan

    def _per_activation(self, total: float) -> float:
        return float(total / self.sums[3]) if self.sums[3] else math.nan
