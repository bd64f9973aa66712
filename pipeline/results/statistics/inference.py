"""Inference: which differences of arms are more than chance of seeds, utterances and speakers.

In:   the errors of each arm's runs on one test set, reference lengths, speakers.
Out:  rates, simultaneous intervals and adjusted p-values of all pairs of arms. NumPy only.
Not here: two single runs (significance.py); which runs are an arm (comparison/arms.py).

The model, in three parts.

1. Seeds. Training again with another seed multiplies the rate of an arm by a random factor. Its
   relative deviation is taken to be the same for all arms and is pooled over them, each arm's runs
   about their own mean: nine arms of three seeds have 18 degrees of freedom. Arms that print
   blanks only have no spread, and are left out of the pool.
2. Speakers. The test set is a sample of speakers. How much one speaker favours one arm is pooled
   over the arms too, as in a two-way layout of arms by speakers; a pair of arms whose own
   variance, by the delete-one-speaker jackknife, is larger keeps its own.
3. All pairs. The critical value is the 95 % quantile of the largest |t| of any pair where no arm
   differs, found by drawing from the model. It holds for all pairs at once, so the chance of any
   false claim in a sweep is at most 5 %, however the best arm was chosen.

Sources: Tukey's test of all pairs (Hochberg and Tamhane 1987, chapter 3); the jackknife of a ratio
of sums over clusters (Cochran 1977, section 6.17; Wolter 2007, chapter 4). Simulations:
tests/results/statistics/test_inference.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.shapes import Float64, Int

LEVEL = 0.95
POWER_QUANTILE = 0.8416  # of the normal distribution, for a power of 80 %
DRAWS = 4_000
MAX_DRAWN_VALUES = 4_000_000  # held at once: 32 MB
PLATEAU_RATE = 0.9  # an arm above it prints blanks, and has no spread over seeds
MIN_SPEAKERS = 3
MAX_SEEDS_SUGGESTED = 100


@dataclass(frozen=True, slots=True)
class ArmDifference:
    """The error rate of one arm less that of another, with its simultaneous 95 % interval."""

    difference: float
    low: float
    high: float
    p: float  # two-sided, adjusted for all pairs

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ArmInference:
    """The rates of K arms and what is known of their differences; `critical` is nan if nothing."""

    rates: Float64[np.ndarray, " K"]  # means over the arm's seeds
    seeds: Int[np.ndarray, " K"]
    seed_deviation: float  # relative, pooled over arms; nan where no arm has two seeds
    seed_freedom: int  # degrees of freedom of seed_deviation
    speakers: int
    critical: float  # what |difference| / standard error must exceed
    test_variance: Float64[np.ndarray, "K K"]  # of differences, from the choice of speakers
    seed_variance: Float64[np.ndarray, "K K"]  # of differences, from the choice of seeds
    largest_t: Float64[np.ndarray, " D"]  # drawn where no arm differs

    @property
    def can_decide(self) -> bool:
        return math.isfinite(self.critical)

    def difference(self, arm: int, reference: int) -> ArmDifference:
        """Return the rate of `arm` less the rate of `reference`."""
        difference = float(self.rates[arm] - self.rates[reference])
        error = self.standard_error(arm, reference)
        if not self.can_decide:
            return ArmDifference(difference, math.nan, math.nan, math.nan)
        t = abs(difference) / error if error else math.inf if difference else 0.0
        p = float((1 + (self.largest_t >= t).sum()) / (1 + len(self.largest_t)))
        half = self.critical * error
        return ArmDifference(difference, difference - half, difference + half, p)

    def standard_error(self, arm: int, reference: int) -> float:
        return math.sqrt(self.test_variance[arm, reference] + self.seed_variance[arm, reference])

    def not_told_apart_from(self, reference: int) -> list[int]:
        """Return the arms whose difference from `reference` is not shown, itself among them."""
        arms = range(len(self.rates))
        return [arm for arm in arms if not self.difference(arm, reference).is_shown]

    def smallest_detectable(self, arm: int, reference: int) -> float:
        """Return the difference of rates that this sweep would have shown with a power of 80 %."""
        return (self.critical + POWER_QUANTILE) * self.standard_error(arm, reference)

    def seeds_to_show(self, difference: float, arm: int, reference: int) -> int | None:
        """Return the seeds per arm that would show `difference`; None: only more speakers would."""
        error = difference / (self.critical + POWER_QUANTILE)
        left = error**2 - float(self.test_variance[arm, reference])
        rates = self.rates[[arm, reference]]
        needed = self.seed_deviation**2 * float((rates**2).sum()) / left if left > 0 else math.inf
        return math.ceil(round(needed, 6)) if needed <= MAX_SEEDS_SUGGESTED else None


def compare_arms(
    errors: Sequence[Int[np.ndarray, "_ U"]],
    totals: Int[np.ndarray, " U"],
    speakers: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> ArmInference:
    """Compare all pairs of arms; `errors` holds (seeds, utterances) counts of each arm.

    Nothing is decided where no arm has two seeds or the test set has fewer than three speakers.
    """
    runs = [each.sum(1) / totals.sum() for each in errors]
    rates = np.array([each.mean() for each in runs])
    seeds = np.array([len(each) for each in runs])
    learnt = rates < PLATEAU_RATE
    deviation, freedom = _pool_seed_deviation(runs, rates, learnt)
    counts_KG, totals_G = _sum_by_speaker([each.mean(0) for each in errors], totals, speakers)
    influence_KG = _influence(counts_KG, totals_G, rates)
    spread_G = _pool_interaction(influence_KG, learnt)
    of_mean = np.where(learnt, deviation * rates, 0.0) ** 2 / seeds
    decides = freedom > 0 and len(totals_G) >= MIN_SPEAKERS and len(rates) > 1
    share_G = totals_G / totals.sum()
    even_G = share_G * math.sqrt((spread_G**2).sum() / (share_G**2).sum())
    # Few arms give a rough estimate of each speaker's spread, with which the critical value comes
    # out too small; so it is at least that of speakers who all favour arms equally.
    drawn = [
        _draw_largest_t(each, share_G, seeds, deviation, freedom, draws=draws, seed=seed)
        for each in (spread_G, even_G)
        if decides
    ]
    largest_t = max(drawn, key=lambda each: np.quantile(each, LEVEL), default=np.zeros(0))
    return ArmInference(
        rates=rates,
        seeds=seeds,
        seed_deviation=deviation,
        seed_freedom=freedom,
        speakers=len(totals_G),
        critical=float(np.quantile(largest_t, LEVEL)) if decides else math.nan,
        test_variance=np.maximum(
            _jackknife_variance(counts_KG, totals_G),
            _pooled_variance(influence_KG, spread_G, rates, learnt),
        ),
        seed_variance=of_mean[:, None] + of_mean,
        largest_t=largest_t,
    )


def _pool_seed_deviation(
    runs: Sequence[Float64[np.ndarray, " _"]], rates: Float64[np.ndarray, " K"], learnt: np.ndarray
) -> tuple[float, int]:
    """Return the relative standard deviation over seeds, and its degrees of freedom."""
    pooled = [
        run / rate - 1 for run, rate, ok in zip(runs, rates, learnt, strict=True) if ok and rate
    ]
    freedom = sum(len(each) - 1 for each in pooled)
    if not freedom:
        return math.nan, 0
    return math.sqrt(sum(float((each**2).sum()) for each in pooled) / freedom), freedom


def _sum_by_speaker(
    errors: Sequence[Float64[np.ndarray, " U"]],
    totals: Int[np.ndarray, " U"],
    speakers: Sequence[str],
) -> tuple[Float64[np.ndarray, "K G"], Float64[np.ndarray, " G"]]:
    names, places = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    sums = np.zeros((len(errors) + 1, len(names)))
    for row, values in zip(sums, [*errors, totals], strict=True):
        np.add.at(row, places, values)
    return sums[:-1], sums[-1]


def _influence(
    counts_KG: Float64[np.ndarray, "K G"],
    totals_G: Float64[np.ndarray, " G"],
    rates: Float64[np.ndarray, " K"],
) -> Float64[np.ndarray, "K G"]:
    """Return how far each speaker moves each arm's rate, relative to it; a row sums to zero."""
    moved = (counts_KG - rates[:, None] * totals_G) / totals_G.sum()
    return np.asarray(moved / np.where(rates > 0, rates, 1.0)[:, None])


def _pool_interaction(
    influence_KG: Float64[np.ndarray, "K G"], learnt: np.ndarray
) -> Float64[np.ndarray, " G"]:
    """Return the standard deviation over arms of each speaker's influence.

    The mean over arms, which all arms share, moves no difference.
    """
    chosen = influence_KG[learnt] if learnt.any() else influence_KG
    return np.asarray(chosen.std(0, ddof=1) if len(chosen) > 1 else np.zeros(chosen.shape[1]))


def _pooled_variance(
    influence_KG: Float64[np.ndarray, "K G"],
    spread_G: Float64[np.ndarray, " G"],
    rates: Float64[np.ndarray, " K"],
    learnt: np.ndarray,
) -> Float64[np.ndarray, "K K"]:
    """Return the variance of differences if every arm interacts with the speakers as strongly."""
    correction = influence_KG.shape[1] / max(influence_KG.shape[1] - 1, 1)
    one = correction * float((spread_G**2).sum())
    shared = correction * float((influence_KG[learnt].mean(0) ** 2).sum()) if learnt.any() else 0.0
    squares = rates**2
    apart = (rates[:, None] - rates) ** 2
    return np.asarray(one * (squares[:, None] + squares) + shared * apart)


def _jackknife_variance(
    counts_KG: Float64[np.ndarray, "K G"], totals_G: Float64[np.ndarray, " G"]
) -> Float64[np.ndarray, "K K"]:
    """Return the variance of each difference of rates, leaving out one speaker at a time."""
    speakers = len(totals_G)
    if speakers < 2:
        return np.zeros((len(counts_KG), len(counts_KG)))
    left_KG = (counts_KG.sum(1, keepdims=True) - counts_KG) / (totals_G.sum() - totals_G)
    centred = left_KG - left_KG.mean(1, keepdims=True)
    return _variance_of_differences((speakers - 1) / speakers * centred @ centred.T)


def _variance_of_differences(
    covariance: Float64[np.ndarray, "*D K K"],
) -> Float64[np.ndarray, "*D K K"]:
    diagonal = np.diagonal(covariance, axis1=-2, axis2=-1)
    sums: Float64[np.ndarray, "*D K K"] = diagonal[..., :, None] + diagonal[..., None, :]
    return np.asarray(np.maximum(sums - 2 * covariance, 0.0))


def _draw_largest_t(
    spread_G: Float64[np.ndarray, " G"],
    share_G: Float64[np.ndarray, " G"],
    seeds: Int[np.ndarray, " K"],
    deviation: float,
    freedom: int,
    *,
    draws: int,
    seed: int,
) -> Float64[np.ndarray, " D"]:
    """Return the largest |t| of all pairs in sweeps of the same shape whose arms are equal.

    In relative units: every rate is 1. Each draw has interactions and seeds of its own, and
    estimates its variances from them as `compare_arms` does.
    """
    rng = np.random.default_rng(seed)
    arms, speakers = len(seeds), len(spread_G)
    correction = speakers / (speakers - 1)
    upper = np.triu_indices(arms, 1)
    inverse = (1 / seeds)[:, None] + 1 / seeds
    at_once = max(1, MAX_DRAWN_VALUES // (arms * (arms + speakers)))
    found = []
    for begun in range(0, draws, at_once):
        size = min(at_once, draws - begun)
        moved = rng.standard_normal((size, arms, speakers)) * spread_G * math.sqrt(correction)
        rates = moved.sum(2)
        influence = moved - rates[:, :, None] * share_G
        own = correction * _variance_of_differences(influence @ influence.transpose(0, 2, 1))
        interaction = influence - influence.mean(1, keepdims=True)
        pooled = 2 * correction * (interaction**2).sum((1, 2)) / max(arms - 1, 1)
        chi = rng.chisquare(freedom, size) / freedom
        variance = np.maximum(own, pooled[:, None, None])
        variance = variance + deviation**2 * chi[:, None, None] * inverse
        rates = rates + rng.standard_normal((size, arms)) * deviation / np.sqrt(seeds)
        difference = np.abs(rates[:, :, None] - rates[:, None])[:, upper[0], upper[1]]
        error = np.sqrt(np.maximum(variance[:, upper[0], upper[1]], np.finfo(float).tiny))
        found.append((difference / error).max(1))
    return np.concatenate(found)
