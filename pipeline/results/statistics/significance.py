"""Significance: how much of an error rate, or of a difference of two, may be chance. NumPy only.

In:   errors and reference lengths of each utterance, as in hypotheses.csv.
Out:  intervals, the probability of improvement, a matched-pairs test.
Not here: counting errors (decoding/scoring.py), arms and their seeds (inference.py).

The bootstrap is that of Bisani and Ney (ICASSP 2004): utterances are drawn with replacement, and
their counts are added before dividing. Utterances of the same speaker resemble each other; with
`groups`, whole speakers are drawn, and the intervals are wider and more honest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.shapes import Float64, Int, Shaped

_MAX_DRAWN_INDICES = 2_000_000  # held in memory at once: 16 MB


@dataclass(frozen=True, slots=True)
class Improvement:
    difference: float  # rate of b minus rate of a: negative if b is better
    low: float
    high: float
    probability: float  # share of the draws in which b is better; a tie counts half


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    difference: float  # mean errors per segment, b minus a
    z: float
    p: float  # two-sided


def bootstrap_interval(
    errors: Int[np.ndarray, " U"],
    totals: Int[np.ndarray, " U"],
    groups: Sequence[str] | None = None,
    *,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the interval of sum(errors) / sum(totals); (nan, nan) if all totals are 0."""
    counts_UK = _pool_by_group(np.stack([errors, totals], axis=1), groups)
    errors_D, totals_D = _resample(counts_UK, draws, seed).T
    return _percentile_interval(_divide_counts(errors_D, totals_D), level)


def paired_bootstrap(
    errors_a: Int[np.ndarray, " U"],
    errors_b: Int[np.ndarray, " U"],
    totals: Int[np.ndarray, " U"],
    groups: Sequence[str] | None = None,
    *,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Improvement:
    """Compare two systems on the same utterances; each draw uses the same ones for both."""
    change = errors_b - errors_a
    counts_UK = _pool_by_group(np.stack([change, totals], axis=1), groups)
    change_D, totals_D = _resample(counts_UK, draws, seed).T
    differences_D = _divide_counts(change_D, totals_D)
    low, high = _percentile_interval(differences_D, level)
    return Improvement(
        difference=float(change.sum() / totals.sum()) if totals.sum() else math.nan,
        low=low,
        high=high,
        probability=_share_negative(differences_D),
    )


def mapsswe(errors_a: Int[np.ndarray, " U"], errors_b: Int[np.ndarray, " U"]) -> MatchedPairs:
    """Matched pairs sentence-segment word error test (Gillick and Cox 1989), two-sided.

    The test assumes that the errors of different segments are independent. The statistic is
    approximately normal from about 50 segments.
    """
    change = errors_b - errors_a
    count = len(change)
    if count < 2:
        return MatchedPairs(float(change.mean()) if count else math.nan, math.nan, math.nan)
    mean, error = float(change.mean()), float(change.std(ddof=1)) / math.sqrt(count)
    z = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return MatchedPairs(mean, z, math.erfc(abs(z) / math.sqrt(2)))


def _pool_by_group(counts_UK: Int[np.ndarray, "U K"], groups: Sequence[str] | None) -> np.ndarray:
    """Return counts summed within each group, or unchanged without groups."""
    if groups is None:
        return counts_UK
    names, indices = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(indices) != len(counts_UK):
        raise ValueError(f"{len(indices)} groups for {len(counts_UK)} utterances")
    pooled = np.zeros((len(names), counts_UK.shape[1]), counts_UK.dtype)
    np.add.at(pooled, indices, counts_UK)
    return pooled


def _resample(counts_UK: Int[np.ndarray, "U K"], draws: int, seed: int) -> np.ndarray:
    """Return counts (D, K); each is a sum over U rows that were drawn with replacement."""
    size = len(counts_UK)
    if not size:
        return counts_UK
    rng = np.random.default_rng(seed)
    columns = np.ascontiguousarray(counts_UK.T)
    block = max(1, _MAX_DRAWN_INDICES // size)  # draws at once
    sums = []
    for start in range(0, draws, block):
        drawn_DU = rng.integers(size, size=(min(block, draws - start), size))
        sums.append(np.stack([column[drawn_DU].sum(1) for column in columns], axis=1))
    return np.concatenate(sums)


def _divide_counts(
    errors_D: Shaped[np.ndarray, " D"], totals_D: Shaped[np.ndarray, " D"]
) -> Float64[np.ndarray, " R"]:
    """Return the rates of the draws whose total is not 0."""
    valid = totals_D > 0
    return np.asarray(errors_D[valid] / totals_D[valid], np.float64)


def _share_negative(differences_D: Float64[np.ndarray, " D"]) -> float:
    """Return the share below 0, in which each 0 counts half; nan if there is none."""
    return float(((1 - np.sign(differences_D)) / 2).mean()) if len(differences_D) else math.nan


def _percentile_interval(rates_R: Float64[np.ndarray, " R"], level: float) -> tuple[float, float]:
    if not len(rates_R):
        return math.nan, math.nan
    outside = (1 - level) / 2
    low, high = np.quantile(rates_R, [outside, 1 - outside])
    return float(low), float(high)
