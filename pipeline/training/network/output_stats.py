"""Output statistics: signs of how training goes that do not need the transcripts.

In:   log-probabilities (B, S, C), true lengths; numbers of activations at the ends of the clamp.
Out:  `OutputStats`: sums over valid steps, which add up over batches; shares, divided at the end.
Not here: what the numbers mean (runs/plateau.py), how columns are named (loop/metrics.py).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float, Float64, Int
from pipeline.training.network.masks import make_valid_mask
from pipeline.training.network.model import CLAMP_COUNT_ROWS

# Places in `OutputStats.sums`.
_STEP_SUM_COUNT = 3
_PROBABILITIES_START = _STEP_SUM_COUNT + 3 * CLAMP_COUNT_ROWS


@dataclass(frozen=True, eq=False)
class OutputStats:
    """Sums over valid steps, in one array, so that one copy brings them from a GPU.

    They are: steps, steps whose most probable class is the blank, entropies in nats; for each
    clamped layer its activations, those at 0 and those at the ceiling; the probability of each
    class.
    """

    sums: Float64[np.ndarray, " V"]

    @classmethod
    def empty(cls, classes: int) -> "OutputStats":
        return cls(np.zeros(_PROBABILITIES_START + classes))

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        logs_BSC: Float[Tensor, "B S C"],
        lengths_B: Int[Tensor, " B"],
        clamp_counts: Float[Tensor, "L 3"],
    ) -> "OutputStats":
        """Return the sums of one batch, from the logarithms of its outputs' probabilities."""
        steps = make_valid_mask(lengths_B, logs_BSC.shape[1]).flatten().nonzero()[:, 0]
        logs = logs_BSC.flatten(0, 1).index_select(
            0, steps
        )  # takes half the time of a boolean index
        probabilities = logs.exp()
        sums = torch.cat(
            [
                lengths_B.sum()[None],
                (logs[:, BLANK] == logs.amax(-1)).sum()[None],
                -(probabilities * logs).sum(dtype=torch.float64)[None],
                clamp_counts.flatten(),
                probabilities.sum(0, dtype=torch.float64),
            ]
        )
        return cls(sums.double().cpu().numpy())

    def __add__(self, other: "OutputStats") -> "OutputStats":
        return OutputStats(self.sums + other.sums)

    @property
    def blank_argmax(self) -> float:
        """Share of steps whose most probable class is the blank: 1 on the blank plateau."""
        return self._per_step(self.sums[1])

    @property
    def blank_posterior(self) -> float:
        """Mean probability of the blank."""
        return self._per_step(self._probabilities[BLANK])

    @property
    def input_dependence(self) -> float:
        """H(mean p) - mean H(p) in nats: 0 if every step has the same output."""
        if not self.sums[0]:
            return math.nan
        mean = self._probabilities / self._probabilities.sum()
        entropy = -float((mean * np.log(np.maximum(mean, 1e-300))).sum())
        return max(entropy - self._per_step(self.sums[2]), 0.0)

    @property
    def ceiling_share(self) -> float:
        """Share of all activations at the ceiling of the clamp, where no gradient passes."""
        count, _, ceiling = self._clamp_counts.sum(0)
        return _ratio(ceiling, count)

    @property
    def clamp_shares(self) -> list[tuple[float, float]]:
        """For each clamped layer the shares of activations at 0 and at the ceiling."""
        return [
            (_ratio(zero, count), _ratio(ceiling, count))
            for count, zero, ceiling in self._clamp_counts
        ]

    @property
    def _clamp_counts(self) -> Float64[np.ndarray, "L 3"]:
        return self.sums[_STEP_SUM_COUNT:_PROBABILITIES_START].reshape(-1, 3)

    @property
    def _probabilities(self) -> Float64[np.ndarray, " C"]:
        return self.sums[_PROBABILITIES_START:]

    def _per_step(self, total: float) -> float:
        return _ratio(total, self.sums[0])


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
