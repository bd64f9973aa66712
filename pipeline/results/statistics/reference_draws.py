"""Reference draws: sweeps of the same shape whose arms are equal, drawn from the model of chance.

In:   components of variance.
Out:  the largest |t| of any pair in each drawn sweep; |t| of single arms. NumPy only.
Not here: the statistics of the real sweep (inference.py), its components (variance.py).

Each drawn sweep estimates its variances as the real one does, so the quantile of its |t| allows for
few seeds, few speakers, speakers of unequal size, and pooling.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pipeline.results.statistics.variance import Variance, variance_of_differences
from pipeline.shapes import Float64

LEVEL = 0.95  # of the intervals that quantiles of the draws give
SINGLE_DRAWS = 40_000
EVEN_WEIGHT = 10  # degrees of freedom
MAX_DRAWN_VALUES = 4_000_000  # drawn at once
MAX_COMPARED_VALUES = 250_000  # pairs compared at once: several arrays of 2 MB


def draw_largest_t(variance: Variance, draws: int, seed: int) -> Float64[np.ndarray, " D"]:
    """Return the largest |t| of all pairs of arms in each of `draws` sweeps."""
    rng = np.random.default_rng(seed)
    arms, speakers = variance.counts.shape
    per_arm = (1 / variance.seeds).astype(np.float32)
    inverse = per_arm[:, None] + per_arm
    at_once = max(1, MAX_DRAWN_VALUES // (arms * (arms + speakers)))
    compared = max(1, MAX_COMPARED_VALUES // arms**2)
    found = []
    for begun in range(0, draws, at_once):
        size = min(at_once, draws - begun)
        moved = _draw_over_speakers(rng, variance, size)
        shared = _draw_over_seeds(rng, variance, size)
        of_seeds = variance.deviation**2 * rng.chisquare(variance.freedom, size) / variance.freedom
        for start in range(0, size, compared):
            part = slice(start, start + compared)
            rates, of_differences = _measure_over_speakers(variance, moved[part])
            of_differences -= np.float32(variance.noise) * inverse
            np.maximum(of_differences, 0, out=of_differences)
            of_differences += of_seeds[part, None, None].astype(np.float32) * inverse
            found.append(_largest_t(rates + shared[part].astype(np.float32), of_differences))
    return np.concatenate(found)


def _largest_t(rates_DK: np.ndarray, variances_DKK: np.ndarray) -> Float64[np.ndarray, " D"]:
    """Return the largest |difference| / standard error; 0 / 0 counts as 0."""
    squares = rates_DK[:, :, None] - rates_DK[:, None, :]
    squares *= squares
    squares /= np.maximum(variances_DKK, np.finfo(np.float32).tiny)
    return np.asarray(np.sqrt(squares.max((1, 2)).astype(np.float64)))


def _draw_over_speakers(rng: np.random.Generator, variance: Variance, size: int) -> np.ndarray:
    """Return how far each speaker moves each arm's rate, (D, K, G).

    How strongly each speaker favours arms is estimated from the arms. Few arms estimate it badly,
    and equal strengths, which have the heavier tails, are given more weight.
    """
    share_G = variance.share
    arms, speakers = variance.counts.shape
    even_G = share_G**2 / (share_G**2).sum()
    weight = (arms - 1) / (arms - 1 + EVEN_WEIGHT)
    parts_G = (
        weight * variance.interaction_by_speaker + (1 - weight) * even_G * variance.interaction
    )
    spread_G = np.sqrt(parts_G).astype(np.float32)
    return np.asarray(rng.standard_normal((size, arms, speakers), dtype=np.float32) * spread_G)


def _measure_over_speakers(variance: Variance, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rates (D, K) less 1, and the estimated variance (D, K, K) of each difference."""
    arms, speakers = moved.shape[1:]
    rates = moved.sum(2)
    moved = moved - rates[:, :, None] * variance.share.astype(np.float32)
    correction = speakers / (speakers - 1)
    gram = correction * (moved @ moved.transpose(0, 2, 1))
    trace = np.trace(gram, axis1=1, axis2=2)
    pooled = 2 * (trace - gram.sum((1, 2)) / arms) / max(arms - 1, 1)
    return rates, np.maximum(variance_of_differences(gram), pooled[:, None, None])


def _draw_over_seeds(rng: np.random.Generator, variance: Variance, size: int) -> np.ndarray:
    """Return what the part of the seeds that all speakers share adds to the rates, (D, K)."""
    shared = max(variance.deviation**2 - variance.noise, 0.0)
    return rng.standard_normal((size, len(variance.seeds))) * np.sqrt(shared / variance.seeds)


def draw_single_t(
    parts: Sequence[tuple[float, float]], draws: int, seed: int
) -> Float64[np.ndarray, " D"]:
    """Return |t| of one rate whose variance is a sum; `parts`: variance and degrees of freedom."""
    chisquares, normal = _draw_parts(tuple(freedom for _, freedom in parts), draws, seed)
    squared = np.zeros(draws)
    for (variance, freedom), chisquare in zip(parts, chisquares, strict=True):
        squared += variance * chisquare / freedom
    total = math.sqrt(sum(variance for variance, _ in parts))
    return np.asarray(total * normal / np.sqrt(np.maximum(squared, np.finfo(float).tiny)))


@lru_cache(maxsize=4)
def _draw_parts(
    freedoms: Sequence[float], draws: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return chi-squares of each freedom, and |normal|; the arms of a sweep share the draws."""
    rng = np.random.default_rng(seed)
    chisquares = [rng.chisquare(freedom, draws) for freedom in freedoms]
    return chisquares, np.abs(rng.standard_normal(draws))
