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
   variance, by the delete-one-speaker jackknife, is larger keeps its own. What seeds change for
   single speakers is in both parts, and is taken off once.
3. All pairs. The critical value is the 95 % quantile of the largest |t| of any pair where no arm
   differs, found by drawing from the model. It holds for all pairs at once, so the chance of any
   false claim in a sweep is at most 5 %, however the best arm was chosen.

Sources: Tukey's test of all pairs (Hochberg and Tamhane 1987, chapter 3); the jackknife of a ratio
of sums over clusters (Cochran 1977, section 6.17; Wolter 2007, chapter 4); an interval of a ratio
with the same t as the difference (Miettinen 1976). Simulations: `make bench ONLY=statistics`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.results.statistics.reference_draws import (
    LEVEL,
    SINGLE_DRAWS,
    draw_largest_t,
    draw_single_t,
)
from pipeline.results.statistics.variance import MIN_SPEAKERS, Variance, measure_variance
from pipeline.shapes import Float64, Int

POWER_QUANTILE = 0.8416  # of the normal distribution, for a power of 80 %
DRAWS, MIN_DRAWS = 4_000, 1_000
FULL_DRAWS_ARMS = 60  # so many arms get all draws
MAX_SEEDS_SUGGESTED = 100
MAX_SPEAKERS_SUGGESTED = 1_000


@dataclass(frozen=True, slots=True)
class ArmDifference:
    """The error rate of one arm less that of another, with its simultaneous 95 % interval."""

    difference: float
    low: float
    high: float
    p: float  # two-sided, adjusted for all pairs
    relative: float  # the difference as a share of the other arm's rate
    relative_low: float  # nan if one of the arms prints blanks only
    relative_high: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ArmInference:
    """The rates of K arms and what is known of their differences; `critical` is nan if nothing."""

    variance: Variance
    critical: float  # what |difference| / standard error must exceed
    largest_t: Float64[np.ndarray, " D"]  # drawn where no arm differs

    @property
    def rates(self) -> Float64[np.ndarray, " K"]:
        return self.variance.rates

    @property
    def speakers(self) -> int:
        return len(self.variance.totals)

    @property
    def can_decide(self) -> bool:
        return math.isfinite(self.critical)

    @cached_property
    def test_variance(self) -> Float64[np.ndarray, "K K"]:
        """Variance of each difference from the choice of speakers."""
        return self.variance.of_differences_over_speakers()

    @cached_property
    def seed_variance(self) -> Float64[np.ndarray, "K K"]:
        """Variance of each difference from the choice of seeds."""
        each = self.variance.of_seeds
        return np.asarray(each[:, None] + each)

    def difference(self, arm: int, reference: int) -> ArmDifference:
        """Return the rate of `arm` less the rate of `reference`.

        An error rate is at least 0 and, but for insertions, at most 1; so are the limits.
        """
        rate, other = float(self.rates[arm]), float(self.rates[reference])
        difference = rate - other
        relative = difference / other if other else math.nan
        if not self.can_decide:
            nan = math.nan
            return ArmDifference(difference, nan, nan, nan, relative, nan, nan)
        error = self.standard_error(arm, reference)
        t = abs(difference) / error if error else math.inf if difference else 0.0
        p = float((1 + (self.largest_t >= t).sum()) / (1 + len(self.largest_t)))
        half = self.critical * error
        low, high = difference - half, difference + half
        factors = [math.nan, math.nan]
        # Blanks have no spread, so a ratio to them would not have the t of the difference.
        if self.variance.learnt[[arm, reference]].all():
            factors = [_ratio_limit(rate, other, sign * half) for sign in (-1, 1)]
        return ArmDifference(
            difference,
            -_end_at_one(-low, other),
            _end_at_one(high, rate),
            p,
            relative,
            factors[0] - 1,
            factors[1] - 1,
        )

    def standard_error(self, arm: int, reference: int) -> float:
        return math.sqrt(self.test_variance[arm, reference] + self.seed_variance[arm, reference])

    def rate_interval(self, arm: int, draws: int = SINGLE_DRAWS) -> tuple[float, float]:
        """Return the 95 % interval of an arm's mean rate, over seeds and speakers.

        It is an interval of the logarithm, for one arm alone. Its upper end is at most 1, unless
        the rate itself is above 1 because of insertions. (nan, nan) if chance is not known.
        """
        if (arm, draws) not in self._rate_intervals:
            self._rate_intervals[arm, draws] = self._draw_rate_interval(arm, draws)
        return self._rate_intervals[arm, draws]

    @cached_property
    def _rate_intervals(self) -> dict[tuple[int, int], tuple[float, float]]:
        return {}  # a report asks for each of them three times

    def _draw_rate_interval(self, arm: int, draws: int) -> tuple[float, float]:
        rate = float(self.rates[arm])
        speakers, seeds = self.variance.of_contrast(np.eye(len(self.rates))[arm])
        if not math.isfinite(seeds) or self.speakers < MIN_SPEAKERS:
            return math.nan, math.nan
        if not speakers + seeds:
            return rate, rate
        parts = [(speakers, self.variance.speaker_freedom)]
        if self.variance.freedom:
            parts.append((seeds, float(self.variance.freedom)))
        drawn = draw_single_t(parts, draws, 0)
        half = float(np.quantile(drawn, LEVEL)) * math.sqrt(speakers + seeds) / rate
        return rate * math.exp(-half), _end_at_one(rate * math.exp(half), rate)

    def smallest_detectable(self, arm: int, reference: int) -> float:
        """Return the difference of rates that this sweep would have shown with a power of 80 %."""
        return (self.critical + POWER_QUANTILE) * self.standard_error(arm, reference)

    def seeds_to_show(self, difference: float, arm: int, reference: int) -> int | None:
        """Return the seeds per arm that would show `difference`; None: only more speakers would."""
        left = self._allowed_variance(difference) - float(self.test_variance[arm, reference])
        pair = [arm, reference]
        of_one = float((self.variance.of_seeds * self.variance.seeds)[pair].sum())
        needed = of_one / left if left > 0 else math.inf
        return math.ceil(round(needed, 6)) if needed <= MAX_SEEDS_SUGGESTED else None

    def speakers_to_show(self, difference: float, arm: int, reference: int) -> int | None:
        """Return the test speakers that would show `difference`; None: not without more seeds."""
        left = self._allowed_variance(difference) - float(self.seed_variance[arm, reference])
        of_one = float(self.test_variance[arm, reference]) * self.speakers
        needed = of_one / left if left > 0 else math.inf
        return math.ceil(round(needed, 6)) if needed <= MAX_SPEAKERS_SUGGESTED else None

    def _allowed_variance(self, difference: float) -> float:
        return (difference / (self.critical + POWER_QUANTILE)) ** 2


def compare_arms(
    errors: Sequence[Int[np.ndarray, "_ U"]],
    totals: Int[np.ndarray, " U"],
    speakers: Sequence[str],
    *,
    folds: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> ArmInference:
    """Compare all pairs of arms; `errors` holds (seeds, utterances) counts of each arm.

    `folds`: the utterances are of folds, not of speakers, and each fold has its own networks. Then
    the variance over folds holds that over seeds, and one run of each fold is enough.
    Nothing is decided where no arm has two seeds or the test set has fewer than three speakers.
    """
    variance = measure_variance(errors, totals, speakers)
    if folds:
        variance = replace(variance, deviation=0.0, freedom=1, noise=0.0)
    return _infer(variance, draws, seed)


def assume_deviation(variance: Variance, deviation: float, freedom: int) -> ArmInference | None:
    """Return what could be shown if seeds deviated as elsewhere; None if speakers are too few."""
    found = _infer(replace(variance, deviation=deviation, freedom=freedom), DRAWS, 0)
    return found if found.can_decide else None


def _infer(variance: Variance, draws: int, seed: int) -> ArmInference:
    arms, speakers = variance.counts.shape
    if variance.freedom == 0 or speakers < MIN_SPEAKERS or arms < 2:
        return ArmInference(variance, math.nan, np.zeros(0))
    # The work grows with the square of the arms; a thousand draws give the quantile within 2 %.
    affordable = max(MIN_DRAWS, draws * FULL_DRAWS_ARMS // arms)
    largest_t = draw_largest_t(variance, min(draws, affordable), seed)
    return ArmInference(variance, float(np.quantile(largest_t, LEVEL)), largest_t)


def _ratio_limit(rate: float, other: float, half: float) -> float:
    """Return exp(log(rate / other) + half / M), a limit of the ratio of two rates.

    With their logarithmic mean M, the logarithm of the ratio has the t of the difference.
    """
    if not rate or not other:
        return math.nan
    mean = other if math.isclose(rate, other) else (rate - other) / math.log(rate / other)
    return math.exp(min(math.log(rate / other) + half / mean, 700.0))


def _end_at_one(high: float, rate: float) -> float:
    """Return the end of an interval, which is at most 1 unless insertions bring `rate` above it."""
    return high if rate > 1 else min(high, 1.0)
