"""Significance: how much of an error rate, or of a difference of two, may be chance. NumPy only.

In:   errors and reference lengths of each utterance, as in hypotheses.csv.
Out:  intervals, the probability of improvement, a matched-pairs test.
Not here: counting errors (decoding/scoring.py), arms and their seeds (inference.py).

The bootstrap is that of Bisani and Ney (ICASSP 2004): utterances are drawn with replacement, and
their counts are added before dividing. Utterances of the same speaker resemble each other; with
`groups`, whole speakers are drawn, and the intervals are wider and more honest.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.shapes import Float64, Int

_MAX_DRAWN_INDICES = 500_000  # held in memory at once: 4 MB
_MAX_SUMS = 500_000  # of draws and rates, held in memory at once: 4 MB, which stay in the cache
_MAX_KEPT_TIMES = 4_000_000  # numbers kept for the next call: 8 MB
_EXACT_IN_FLOAT32 = 2**24  # whole numbers up to this


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
    columns_UR = errors[:, None], totals[:, None]
    return bootstrap_intervals(*columns_UR, groups, draws=draws, seed=seed, level=level)[0]


def bootstrap_intervals(
    errors_UR: Int[np.ndarray, "U R"],
    totals_UR: Int[np.ndarray, "U R"],
    groups: Sequence[str] | None = None,
    *,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[tuple[float, float]]:
    """Return the interval of each of R rates; all rates are computed from the same draws."""
    intervals = []
    block = max(1, _MAX_SUMS // draws)  # rates at once
    for start in range(0, errors_UR.shape[1], block):
        errors_UK = errors_UR[:, start : start + block]
        totals_UT, of_rate = _distinct_columns(totals_UR[:, start : start + block])
        counts = np.concatenate([errors_UK, totals_UT], axis=1)
        errors_KD, totals_TD = np.split(
            _resample(_pool_by_group(counts, groups), draws, seed), [errors_UK.shape[1]]
        )
        intervals += _percentile_intervals(errors_KD, totals_TD[of_rate], level)
    return intervals


def _distinct_columns(counts_UR: Int[np.ndarray, "U R"]) -> tuple[np.ndarray, list[int]]:
    """Return the columns without repetition, and where each column is among them.

    The runs of a sweep have the same references.
    """
    places: dict[bytes, int] = {}
    of_column = [places.setdefault(column.tobytes(), len(places)) for column in counts_UR.T]
    first = [of_column.index(place) for place in range(len(places))]
    return counts_UR[:, first], of_column


def paired_bootstraps(
    errors_a: Int[np.ndarray, " U"],
    errors_b_UR: Int[np.ndarray, "U R"],
    totals: Int[np.ndarray, " U"],
    groups: Sequence[str] | None = None,
    *,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Improvement]:
    """Compare each of R systems with one, on the same draws."""
    change_UR = errors_b_UR - errors_a[:, None]
    total = int(totals.sum())
    found = []
    block = max(1, _MAX_SUMS // draws)  # systems at once
    for start in range(0, change_UR.shape[1], block):
        part_UR = change_UR[:, start : start + block]
        counts_UK = np.concatenate([part_UR, totals[:, None]], axis=1)
        sums_KD = _resample(_pool_by_group(counts_UK, groups), draws, seed)
        changes_RD, totals_D = sums_KD[:-1, sums_KD[-1] > 0], sums_KD[-1, sums_KD[-1] > 0]
        limits = _percentile_intervals(changes_RD, np.tile(totals_D, (len(changes_RD), 1)), level)
        for change_D, change, (low, high) in zip(changes_RD, part_UR.sum(0), limits, strict=True):
            difference = float(change) / total if total else math.nan
            found.append(Improvement(difference, low, high, _share_negative(change_D)))
    return found


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
    """Return counts (K, D); each is a sum over U rows that were drawn with replacement."""
    size, columns = counts_UK.shape
    if not size:
        return np.zeros((columns, 0))
    # BLAS multiplies no integers. Both kinds are exact; the shorter one is faster.
    is_small = size * np.abs(counts_UK).max(initial=0) < _EXACT_IN_FLOAT32
    kind = np.float32 if is_small else np.float64
    counts_KU = np.ascontiguousarray(counts_UK.T, kind)
    sums_KD = np.empty((columns, draws))
    start = 0
    for times_DU in _drawn_times(size, draws, seed):
        end = start + len(times_DU)
        times_UD = times_DU.T.astype(kind, copy=False)
        np.matmul(counts_KU, times_UD, out=sums_KD[:, start:end])
        start = end
    return sums_KD


def _drawn_times(size: int, draws: int, seed: int) -> Iterable[np.ndarray]:
    """Return blocks (D, U) of how often each of `size` rows is drawn in each draw."""
    if size * draws <= _MAX_KEPT_TIMES:
        return _kept_times(size, draws, seed)
    return _draw_times(size, draws, seed)


@lru_cache(maxsize=4)
def _kept_times(size: int, draws: int, seed: int) -> list[np.ndarray]:
    """The tables of a sweep ask for the same draws thousands of times."""
    return [times_DU.astype(np.uint16) for times_DU in _draw_times(size, draws, seed)]


def _draw_times(size: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    block = max(1, _MAX_DRAWN_INDICES // size)  # draws at once
    for start in range(0, draws, block):
        count = min(block, draws - start)
        drawn_DU = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
        times = np.bincount(drawn_DU.ravel(), minlength=count * size)
        yield times.reshape(count, size).astype(np.float64)


def _share_negative(differences_D: Float64[np.ndarray, " D"]) -> float:
    """Return the share below 0, in which each 0 counts half; nan if there is none."""
    return float(((1 - np.sign(differences_D)) / 2).mean()) if len(differences_D) else math.nan


def _percentile_intervals(
    errors_RD: Float64[np.ndarray, "R D"], totals_RD: Float64[np.ndarray, "R D"], level: float
) -> list[tuple[float, float]]:
    """Return the interval of each of R rates; draws whose total is 0 have no rate."""
    if not errors_RD.size:
        return [(math.nan, math.nan)] * len(errors_RD)
    if not (totals_RD > 0).all():
        return [
            _percentile_intervals(errors_D[None, ok_D], totals_D[None, ok_D], level)[0]
            for errors_D, totals_D, ok_D in zip(errors_RD, totals_RD, totals_RD > 0, strict=True)
        ]
    rates_RD = np.sort(errors_RD / totals_RD, axis=1)  # in a third of the time of np.quantile
    places = np.array([(1 - level) / 2, (1 + level) / 2]) * (rates_RD.shape[1] - 1)
    below, above = (
        rates_RD[:, np.floor(places).astype(int)],
        rates_RD[:, np.ceil(places).astype(int)],
    )
    return [(low, high) for low, high in (below + places % 1 * (above - below)).tolist()]
