"""Health: what the outputs of a network look like, beyond being right or wrong.

In:   log probabilities (B, S, C), true lengths; activations at the clamp's ends; frames.
Out:  `Health`, sums over valid steps that add up over batches; shares, divided last.
Not here: what the numbers mean (escape.py).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.corpus.text import BLANK
from pipeline.runs.rows import CLAMPED_LAYERS
from pipeline.shapes import Float, Float64, Int
from pipeline.training.network.layers import make_valid_mask

_STEP_SUM_COUNT = 3  # of a Health, before the activations
_PROBABILITIES_START = _STEP_SUM_COUNT + 3 * len(CLAMPED_LAYERS)  # before the probabilities


@dataclass(frozen=True, eq=False)
class OutputStats:
    # steps, blank argmax, entropy; of each layer: activations, at 0, at the ceiling; probabilities
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
        activations: Float[Tensor, "L 3"],
    ) -> "OutputStats":
        """Of the logarithms of the outputs' probabilities."""
        steps = make_valid_mask(lengths_B, logs_BSC.shape[1]).flatten().nonzero()[:, 0]
        logs = logs_BSC.flatten(0, 1).index_select(0, steps)  # half of a mask's time
        probabilities = logs.exp()
        sums = torch.cat(
            [
                lengths_B.sum()[None],
                (logs[:, BLANK] == logs.amax(-1)).sum()[None],
                -(probabilities * logs).sum(dtype=torch.float64)[None],
                activations.flatten(),
                probabilities.sum(0, dtype=torch.float64),
            ]
        )
        return cls(sums.double().cpu().numpy())

    def __add__(self, other: "OutputStats") -> "OutputStats":
        return OutputStats(self.sums + other.sums)

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
    def ceiling_share(self) -> float:
        """Share of all activations at the clamp, where no gradient passes."""
        count, _, ceiling = self._clamp_counts.sum(0)
        return _ratio(ceiling, count)

    @property
    def saturation_columns(self) -> dict[str, float]:
        """Of each layer the share that a ReLU holds at zero, and the share at the ceiling."""
        return {
            f"saturation_{layer}_{end}": _ratio(at_end, counts[0])
            for layer, counts in zip(CLAMPED_LAYERS, self._clamp_counts, strict=True)
            for end, at_end in zip(("zero", "ceiling"), counts[1:], strict=True)
        }

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
