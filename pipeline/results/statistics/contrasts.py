"""Contrasts: weighted sums of the arms' rates, with the chance of seeds and speakers.

In:   components of variance, weights of the arms.   Out: estimates with 95 % intervals. NumPy only.
Not here: all pairs of arms at once (inference.py), which weights mean what (factorial.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.results.statistics.reference_draws import LEVEL, SINGLE_DRAWS, draw_single_t
from pipeline.results.statistics.variance import MIN_SPEAKERS, Variance
from pipeline.shapes import Float64


@dataclass(frozen=True, slots=True)
class Estimate:
    """A sum of rates; the interval and p are nan where chance is not known."""

    value: float
    low: float
    high: float
    p: float  # two-sided, that the sum is 0


def estimate_contrast(
    variance: Variance, weights: Float64[np.ndarray, " K"], *, family: int = 1
) -> Estimate:
    """Return the weighted sum of the rates, adjusted for `family` such sums (Bonferroni)."""
    value = float(weights @ variance.rates)
    of_speakers, of_seeds = variance.of_contrast(weights)
    speakers = len(variance.totals)
    if not variance.freedom or speakers < MIN_SPEAKERS:
        return Estimate(value, math.nan, math.nan, math.nan)
    error = math.sqrt(of_speakers + of_seeds)
    if not error:
        return Estimate(value, value, value, 0.0 if value else 1.0)
    parts = [
        (of_speakers, variance.speaker_freedom),
        (of_seeds, float(variance.freedom)),
    ]
    drawn = draw_single_t(parts, SINGLE_DRAWS, 0)
    half = float(np.quantile(drawn, 1 - (1 - LEVEL) / family)) * error
    beyond = float((1 + (drawn >= abs(value) / error).sum()) / (1 + SINGLE_DRAWS))
    return Estimate(value, value - half, value + half, min(1.0, family * beyond))
